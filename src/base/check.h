// SPDX-License-Identifier: Apache-2.0
//
// Assertions for programmer errors. `check` stays on in release builds and
// stops the process with the place and the condition: stopping early is better
// than serving wrong bytes. What peers, files, memory shortage or users can
// cause is never a check; it is a status.

#ifndef BASE_CHECK_H
#define BASE_CHECK_H

#include "base/attributes.h"

#define check(condition)                                  \
    do {                                                  \
        if (__builtin_expect(!(condition), 0)) {          \
            check_failed(__FILE__, __LINE__, #condition); \
        }                                                 \
    } while (0)

// Prints the place and the condition to standard error and aborts.
NO_RETURN void
check_failed(const char *file, int line, const char *condition);

#endif
