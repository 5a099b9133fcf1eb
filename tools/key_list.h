// SPDX-License-Identifier: Apache-2.0
//
// The keys of an open store, sorted by their bytes. A store that has just read
// its footers knows digests of keys only; the bytes are then looked up in the
// record headers of the segment files.

#ifndef TOOLS_KEY_LIST_H
#define TOOLS_KEY_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"
#include "cascade/cascade.h"

struct key_row {
    uint8_t digest[32];
    uint8_t *key; // NULL if only the digest is known
    size_t key_bytes;
    uint64_t bytes;
    uint8_t id[CASCADE_ID_BYTES];
    bool protected_prefix;
    bool in_memory;
    bool on_segments;
};

struct key_list {
    struct key_row *rows;
    size_t count;
    size_t room;
    size_t nameless; // rows without key
    bool full;       // the system gave no memory
};

// Fills a zeroed list; the caller releases it, also after a failure.
// NO_MEMORY, and what cascade_list answers.
enum cascade_status
key_list_fill(struct key_list *list, struct cascade *store) MUST_USE;

// Looks for the keys of rows without one in the segment files below the folder,
// and sorts the list. Files that cannot be read name nothing. NO_MEMORY.
enum cascade_status
key_list_name(struct key_list *list, char *cold_path) MUST_USE;

void
key_list_release(struct key_list *list);

#endif
