// SPDX-License-Identifier: Apache-2.0
//
// Bytes that can be made again: a block's content follows from a number, at any
// offset, so that whatever comes back can be compared byte by byte without a
// copy having been kept. Fast, does not repeat, does not compress. Not for
// secrets. No state; any thread.

#ifndef BENCH_CONTENT_H
#define BENCH_CONTENT_H

#include <stddef.h>
#include <stdint.h>

// Writes the first `bytes` of content `number`.
void
content_fill(uint64_t number, void *data, size_t bytes);

// How many of the bytes differ from content `number`.
uint64_t
content_wrong_bytes(uint64_t number, const void *data, size_t bytes);

// Fills memory with what no content begins with, before bytes are read into it:
// a read that copies nothing cannot look right.
void
content_poison(void *data, size_t bytes);

#endif
