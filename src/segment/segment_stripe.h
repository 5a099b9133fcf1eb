// SPDX-License-Identifier: Apache-2.0
//
// Layout of a writer's folder on Lustre, set once, before its first file; files
// inherit it. Elsewhere nothing is done. Not a requirement: a folder without it
// works with the site's default.
//
// Large blocks are spread over several targets, so that one read drives them
// all; small ones are not. The request is the file system's own (ioctl on the
// folder with struct lov_user_md_v1, lustre_user.h of the Lustre sources), so
// that no tool has to be run.

#ifndef SEGMENT_SEGMENT_STRIPE_H
#define SEGMENT_SEGMENT_STRIPE_H

#include <stdbool.h>
#include <stdint.h>

// Blocks from this size on are worth spreading.
#define SEGMENT_STRIPE_LARGE_BYTES ((uint64_t)56 * 1000 * 1000)

struct segment_stripe {
    uint32_t bytes; // of one stripe
    uint16_t count; // of targets
};

// Pure: what suits blocks of that size.
struct segment_stripe
segment_stripe_choose(uint64_t block_bytes);

// Sets the layout of an open folder if it lies on Lustre. False if it does not,
// or refused; then its files have the default layout.
bool
segment_stripe_apply(int directory, struct segment_stripe stripe);

#endif
