// SPDX-License-Identifier: Apache-2.0
//
// The request to Lustre. Stateless; no lock. The numbers and the layout are
// those of lustre_user.h, stable since Lustre 1.x.

#include "segment/segment_stripe.h"

#include <assert.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>

#include "base/units.h"

#define LUSTRE_SUPER_MAGIC 0x0bd00bd0
#define LUSTRE_LAYOUT_MAGIC 0x0bd10bd0u
#define LUSTRE_PATTERN_STRIPED 1u
#define LUSTRE_ANY_TARGET UINT16_MAX
#define LUSTRE_SET_LAYOUT _IOW('f', 154, long)

struct lustre_layout {
    uint32_t magic;
    uint32_t pattern;
    uint64_t object[2];
    uint32_t stripe_bytes;
    uint16_t stripe_count;
    uint16_t first_target;
};
static_assert(sizeof(struct lustre_layout) == 32, "layout of lustre_user.h");
static_assert(offsetof(struct lustre_layout, stripe_bytes) == 24,
              "layout of lustre_user.h");

struct segment_stripe
segment_stripe_choose(uint64_t block_bytes)
{
    if (block_bytes >= SEGMENT_STRIPE_LARGE_BYTES) {
        return (struct segment_stripe){.bytes = 16 * MIB, .count = 4};
    }
    return (struct segment_stripe){.bytes = 4 * MIB, .count = 1};
}

bool
segment_stripe_apply(int directory, struct segment_stripe stripe)
{
    struct lustre_layout layout = {
        .magic = LUSTRE_LAYOUT_MAGIC,
        .pattern = LUSTRE_PATTERN_STRIPED,
        .stripe_bytes = stripe.bytes,
        .stripe_count = stripe.count,
        .first_target = LUSTRE_ANY_TARGET,
    };
    struct statfs facts;

    return fstatfs(directory, &facts) == 0 &&
           facts.f_type == LUSTRE_SUPER_MAGIC &&
           ioctl(directory, LUSTRE_SET_LAYOUT, &layout) == 0;
}
