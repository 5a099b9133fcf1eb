// SPDX-License-Identifier: Apache-2.0
//
// The alignment unit that the fixtures give to segment files when a test does
// not choose one: $CASCADE_TEST_ALIGNMENT, so that the suites run as on a
// machine of 64 KiB pages; else 0, which asks the file system.

#ifndef SUPPORT_ALIGNMENT_H
#define SUPPORT_ALIGNMENT_H

#include <stdint.h>

uint32_t
alignment_of_tests(void);

#endif
