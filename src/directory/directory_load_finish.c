// SPDX-License-Identifier: Apache-2.0
//
// The end of a load at an open: clears and the floor are applied, bindings
// without bytes become removals, protection is restored within the budget.
//
// Contents are looked at in the order of their records, with the references and
// bindings that were made beside them: that is the order in which they lie in
// memory, where the order of buckets is a new cache line for each.
//
// Invariant: each live binding has the one reference that names its content, so
// that who sees all contents sees all live bindings.
// Locks: no load is under way, and nobody is served yet. Threads of the pool have
// contents of their own, with all that names them; only chains are shared, and
// changed under the lock of their shard.

#include <string.h>

#include "base/check.h"
#include "base/units.h"
#include "directory/directory_table.h"

#define PART_RECORDS 8192

struct finish {
    struct directory *directory;
    struct block_version floor;
};

static void
delete_binding(struct directory *directory, struct binding *binding)
{
    struct directory_shard *shard = directory_key_shard(directory,
                                                        &binding->key);

    directory_shard_lock(shard);
    directory_binding_delete(directory, binding);
    directory_shard_unlock(shard);
}

static void
delete_content(struct directory *directory, struct content *content)
{
    struct block_id id = directory_content_id(content);
    struct directory_shard *shard = directory_id_shard(directory, &id);

    directory_shard_lock(shard);
    directory_content_delete(directory, content);
    directory_shard_unlock(shard);
}

static void
restore_protection(struct directory *directory, struct content *content,
                   struct reference *reference, struct binding *binding)
{
    if ((binding->flags & DIRECTORY_PROTECTED) != 0 &&
        !directory_reference_protect(directory, content, reference)) {
        binding->flags = (uint16_t)(binding->flags & ~DIRECTORY_PROTECTED);
        binding->flags |= DIRECTORY_PROTECTED_ELSEWHERE;
    }
}

// A live binding whose content nobody serves to it: `served` says that the
// content is there, and only the floor forbids it.
static void
end_binding(struct directory *directory, struct content *content,
            struct binding *binding, bool served)
{
    bool cleared = block_version_compare(binding->version,
                                         directory->clear_version) < 0;

    (void)directory_reference_delete(directory, content, &binding->key,
                                     binding->version);
    atomic_fetch_sub(&directory->live_keys, 1);
    if (cleared || !directory->options.rebind_allowed) {
        // Where nothing is rebound, its payload may be seen later, and is a
        // right answer then.
        delete_binding(directory, binding);
        return;
    }
    // Nothing older may be served in its place: it stays as a removal.
    memset(&binding->id, 0, sizeof(binding->id));
    // Below the floor that has to be written, for the next load may not know.
    binding->flags = (uint16_t)((binding->flags & DIRECTORY_DIRTY) |
                                DIRECTORY_REMOVED | DIRECTORY_OLDER |
                                (served ? DIRECTORY_DIRTY : 0));
    atomic_fetch_add(&directory->removals, 1);
}

static void
finish_content(const struct finish *finish, struct content *content)
{
    struct directory *directory = finish->directory;
    bool served = directory_content_has_place(content);
    uint32_t record = content->references;

    while (record != NO_RECORD) {
        struct reference *reference = &directory->references[record];
        struct binding *binding =
            &directory->bindings[reference->binding &
                                 ~(REFERENCE_PROTECTED | REFERENCE_GUEST)];

        record = reference->next;
        if (served &&
            block_version_compare(binding->version, finish->floor) >= 0 &&
            block_version_compare(binding->version, directory->clear_version) >=
                0) {
            restore_protection(directory, content, reference, binding);
        } else {
            end_binding(directory, content, binding, served);
        }
    }
    if (content->references == NO_RECORD) {
        delete_content(directory, content);
    }
}

static void
finish_part(void *context, size_t index)
{
    const struct finish *finish = context;
    struct directory *directory = finish->directory;
    uint64_t first = (uint64_t)index * PART_RECORDS;
    uint64_t end = units_min(first + PART_RECORDS,
                             directory->content_pool.used);

    for (uint64_t i = first; i < end; i++) {
        struct content *content = &directory->contents[i];

        if (content->protected_references != CONTENT_FREE) {
            finish_content(finish, content);
        }
    }
}

// Removals before the newest clear hide nothing that it does not hide.
static void
drop_cleared_removals(struct directory *directory)
{
    for (uint32_t s = 0; s < DIRECTORY_SHARDS; s++) {
        struct directory_shard *shard = &directory->key_shards[s];

        directory_shard_lock(shard);
        for (uint32_t b = 0; b < directory->key_buckets; b++) {
            uint32_t record = shard->buckets[b];

            while (record != NO_RECORD) {
                struct binding *binding = &directory->bindings[record];

                record = binding->next;
                if (directory_binding_is_removed(binding) &&
                    block_version_compare(binding->version,
                                          directory->clear_version) < 0) {
                    directory_binding_delete(directory, binding);
                    atomic_fetch_sub(&directory->removals, 1);
                }
            }
        }
        directory_shard_unlock(shard);
    }
}

void
directory_load_finish(struct directory *directory, struct block_version floor)
{
    const struct block_version none = {0, 0};
    struct finish finish = {.directory = directory, .floor = floor};
    size_t parts = (directory->content_pool.used + PART_RECORDS - 1) /
                   PART_RECORDS;

    check(directory->loads_ahead == 0);
    if (block_version_compare(directory->clear_version, none) > 0) {
        drop_cleared_removals(directory);
    }
    pool_parallel_for(directory->options.pool, finish_part, &finish, parts);
    directory->loaded = true;
}
