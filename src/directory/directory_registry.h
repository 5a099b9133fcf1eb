// SPDX-License-Identifier: Apache-2.0
//
// Protected keys, for looking at: a hashed table of fixed size, key -> (id,
// version, bytes, protected), that keeps the newest version of each, and the
// order in which they changed. Homes keep their own keys in one, to tell them to
// all ranks; every rank keeps those of all homes in another. Nothing rests on
// it: what may be dropped is the custodians' to know (docs/DIRECTORY_PROTOCOL.md).
//
// Invariant: what it says of a key is what it was told last. A key for which
// there is no room is not in it and is counted; it is never there with an old
// state. Keys whose protection was lifted stay, as lifted, until they are
// forgotten, so that others can be told.
//
// No lock: whoever wires it has one.

#ifndef DIRECTORY_REGISTRY_H
#define DIRECTORY_REGISTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/allocator.h"
#include "block/block_id.h"
#include "block/block_key.h"
#include "block/block_version.h"
#include "cascade/status.h"

struct directory_registry;

struct directory_registry_entry {
    struct block_key key;
    struct block_id id;
    struct block_version version;
    uint64_t bytes;
    bool is_protected; // false: lifted
};

// NO_MEMORY. At most `max` keys (at least 1).
enum cascade_status
directory_registry_create(const struct allocator *allocator, uint32_t max,
                          struct directory_registry **registry);

void
directory_registry_destroy(struct directory_registry *registry);

// What is told of one key takes the place of what was known of it, if it is not
// older. False: it is a new one and there is no room. The sequence rises in any
// case.
bool
directory_registry_note(struct directory_registry *registry,
                        const struct directory_registry_entry *entry);

// The number of changes so far.
uint64_t
directory_registry_sequence(const struct directory_registry *registry);

// The keys that changed after that sequence, the first one first, each as it is
// now; at most `room`. `*reached` is up to where that goes.
size_t
directory_registry_since(const struct directory_registry *registry,
                         uint64_t sequence,
                         struct directory_registry_entry *entries, size_t room,
                         uint64_t *reached);

// Lifted keys that did not change after that sequence go.
void
directory_registry_forget(struct directory_registry *registry,
                          uint64_t sequence);

// Keys of a version below go.
void
directory_registry_clear(struct directory_registry *registry,
                         struct block_version version);

// Keys that `is_wanted` does not want go.
void
directory_registry_filter(struct directory_registry *registry,
                          bool (*is_wanted)(void *context,
                                            const struct block_key *key),
                          void *context);

// Protected keys from `*cursor` on (start with 0), at most `room`; 0: the end.
// What stays meanwhile is shown once.
size_t
directory_registry_scan(const struct directory_registry *registry,
                        uint64_t *cursor,
                        struct directory_registry_entry *entries, size_t room);

struct directory_registry_usage {
    uint64_t protected_keys;
    uint64_t lifted_keys;
    uint64_t refused; // since the start, for want of room
};

void
directory_registry_usage(const struct directory_registry *registry,
                         struct directory_registry_usage *usage);

// For tests: every invariant.
bool
directory_registry_is_valid(const struct directory_registry *registry);

#endif
