// SPDX-License-Identifier: Apache-2.0
//
// What may be found after a power cut: per key, the state that the last sync
// acknowledged and all that came since. States are numbers of contents; a
// content's bytes follow from its number, 0 is "absent".

#ifndef CRASH_MODEL_H
#define CRASH_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "block/block_id.h"

#define CRASH_KEYS 10
#define CRASH_STATES_MAX 256
#define CRASH_CONTENTS_MAX 1024
#define CRASH_WRONG_BYTES 512

struct crash_content {
    struct block_id id;
    uint64_t salt; // what its bytes follow from
    uint64_t bytes;
    uint32_t checksum;
};

struct crash_key {
    uint32_t states[CRASH_STATES_MAX]; // [0]: acknowledged as durable
    uint32_t count;
};

struct crash_model {
    struct crash_key keys[CRASH_KEYS];
    struct crash_content contents[CRASH_CONTENTS_MAX]; // [0] unused
    uint32_t content_count;
    uint64_t checked;              // states that were looked at
    char wrong[CRASH_WRONG_BYTES]; // "" = nothing yet
};

void
crash_model_init(struct crash_model *model);

// A new content of that many bytes.
uint32_t
crash_model_content(struct crash_model *model, uint64_t salt, uint64_t bytes);

// Its bytes, in memory that is valid until the next call, with room up to the
// next multiple of 4 KiB.
void *
crash_model_bytes(const struct crash_model *model, uint32_t content);

// The content with this id; 0 = none.
uint32_t
crash_model_find(const struct crash_model *model, const struct block_id *id);

// A call tried to bring the key into that state.
void
crash_model_push(struct crash_model *model, uint32_t key, uint32_t state);

// All that was tried so far is durable.
void
crash_model_synced(struct crash_model *model);

// The key was found in that state; `settled`: and cannot be found otherwise any
// more. False: that is wrong, and `wrong` says how.
bool
crash_model_found(struct crash_model *model, uint32_t key, uint32_t state,
                  bool settled, const char *how);

void
crash_model_complain(struct crash_model *model, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
