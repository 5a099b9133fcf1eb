// SPDX-License-Identifier: Apache-2.0
//
// Compiler attributes used by internal headers. Not for public headers, which
// carry their own in status.h.

#ifndef BASE_ATTRIBUTES_H
#define BASE_ATTRIBUTES_H

#define MUST_USE __attribute__((warn_unused_result))
#define PRINTF_LIKE(text, first) __attribute__((format(printf, text, first)))
#define NO_RETURN __attribute__((noreturn))
#define UNUSED __attribute__((unused))

#endif
