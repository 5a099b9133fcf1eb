// SPDX-License-Identifier: Apache-2.0
//
// See directory_fixture.h.

#include "directory_fixture.h"

#include "base/check.h"

#define OTHER_TAG 9

struct block_key
directory_fixture_key(uint32_t number)
{
    struct block_key key;

    block_key_of("test", &number, sizeof(number), &key);
    return key;
}

struct block_id
directory_fixture_id(uint32_t number)
{
    struct block_id id;

    block_id_of(&number, sizeof(number), &id);
    return id;
}

struct block_place
directory_fixture_place(uint32_t slot, uint32_t generation)
{
    return (struct block_place){
        .tier = CASCADE_TIER_LOCAL_DRAM,
        .slot = slot,
        .generation = generation,
        .offset = (uint64_t)slot * 4096,
        .bytes = DIRECTORY_FIXTURE_BYTES,
    };
}

struct block_version
directory_fixture_version(uint64_t time_ns)
{
    return (struct block_version){time_ns, OTHER_TAG};
}

void
directory_fixture_end(struct directory *directory)
{
    check(directory_is_valid(directory));
    directory_destroy(directory);
}
