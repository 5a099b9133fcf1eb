// SPDX-License-Identifier: Apache-2.0
//
// How a failed check ends the process. Takes no lock and no memory.

#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>

void
check_failed(const char *file, int line, const char *condition)
{
    (void)fprintf(stderr, "cascade: %s:%d: check failed: %s\n", file, line,
                  condition);
    abort();
}
