// SPDX-License-Identifier: Apache-2.0
//
// The key heap: the callers' key bytes, kept so that records on segments can
// carry them and lists can show them. Bounded: when it is full a key is known
// by its digest only, which is enough to serve it. Classes of 32 bytes, a free
// list each, one mutex.

#ifndef DIRECTORY_KEYS_H
#define DIRECTORY_KEYS_H

#include <pthread.h>
#include <stdint.h>

#include "base/allocator.h"
#include "cascade/cascade.h"

#define DIRECTORY_KEY_CLASS_BYTES 32
#define DIRECTORY_KEY_CLASSES \
    (CASCADE_KEY_BYTES_MAX / DIRECTORY_KEY_CLASS_BYTES)
#define DIRECTORY_NO_KEY UINT32_MAX

struct directory_keys {
    pthread_mutex_t lock;
    uint8_t *memory;
    uint32_t units; // of DIRECTORY_KEY_CLASS_BYTES
    uint32_t used;
    uint32_t first_free[DIRECTORY_KEY_CLASSES];
};

enum cascade_status
directory_keys_init(struct directory_keys *keys,
                    const struct allocator *allocator, uint32_t key_count);

void
directory_keys_fini(struct directory_keys *keys,
                    const struct allocator *allocator);

// Keeps the bytes; DIRECTORY_NO_KEY if there is no room.
uint32_t
directory_keys_add(struct directory_keys *keys, const void *key,
                   uint32_t bytes);

void
directory_keys_remove(struct directory_keys *keys, uint32_t handle,
                      uint32_t bytes);

// The bytes, valid while the owner of the handle keeps it.
const uint8_t *
directory_keys_at(const struct directory_keys *keys, uint32_t handle);

#endif
