// SPDX-License-Identifier: Apache-2.0
//
// What clang-tidy must be told, because it looks at one file at a time: that
// error_set returns the status it was given and error_set_errno never OK. Put
// in front of each file by scripts/lint; no part of the build.

#ifndef SCRIPTS_ANALYZER_HINTS_H
#define SCRIPTS_ANALYZER_HINTS_H

#include "base/error.h"

static inline enum cascade_status
analyzer_known(enum cascade_status returned, enum cascade_status known)
{
    (void)returned;
    return known;
}

#define error_set(status, ...) \
    analyzer_known(error_set(status, __VA_ARGS__), status)
#define error_set_errno(...) \
    analyzer_known(error_set_errno(__VA_ARGS__), CASCADE_IO)

#endif
