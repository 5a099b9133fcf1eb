// SPDX-License-Identifier: Apache-2.0
//
// The alignment unit of the tests' segment files. See alignment.h.

#include "support/alignment.h"

#include <stdlib.h>

uint32_t
alignment_of_tests(void)
{
    const char *text = getenv("CASCADE_TEST_ALIGNMENT");

    return text == NULL ? 0 : (uint32_t)strtoul(text, NULL, 10);
}
