// SPDX-License-Identifier: Apache-2.0
//
// An allocator that keeps large aligned blocks for the next one who asks, as
// they are: tests that open thousands of stores would spend their time on fresh
// pages otherwise. Such memory is for staging, whose first content nobody may
// rely on. One thread.

#ifndef SUPPORT_ALLOCATOR_KEEPING_H
#define SUPPORT_ALLOCATOR_KEEPING_H

#include "base/allocator.h"

// Lives for ever.
const struct allocator *
allocator_keeping(void);

#endif
