// SPDX-License-Identifier: Apache-2.0
//
// The key heap. A free unit's first four bytes hold the next free handle of its
// class. The mutex covers the lists; the bytes belong to the holder of a handle.

#include "directory/directory_keys.h"

#include <string.h>

#include "base/check.h"
#include "base/error.h"

// Room for keys of this size on average; engines use hashes of 32 to 64 bytes.
#define AVERAGE_UNITS 3

static uint32_t
units_of(uint32_t bytes)
{
    return (bytes + DIRECTORY_KEY_CLASS_BYTES - 1) / DIRECTORY_KEY_CLASS_BYTES;
}

static uint8_t *
unit_at(const struct directory_keys *keys, uint32_t handle)
{
    return keys->memory + (size_t)handle * DIRECTORY_KEY_CLASS_BYTES;
}

enum cascade_status
directory_keys_init(struct directory_keys *keys,
                    const struct allocator *allocator, uint32_t key_count)
{
    uint64_t units = (uint64_t)key_count * AVERAGE_UNITS;

    if (units < DIRECTORY_KEY_CLASSES) {
        units = DIRECTORY_KEY_CLASSES;
    }
    if (units > UINT32_MAX - 1) {
        units = UINT32_MAX - 1;
    }
    keys->memory = allocator_array(allocator, (size_t)units,
                                   DIRECTORY_KEY_CLASS_BYTES);
    if (keys->memory == NULL) {
        return error_set(CASCADE_NO_MEMORY,
                         "no memory for %u keys; lower max_blocks", key_count);
    }
    keys->units = (uint32_t)units;
    keys->used = 0;
    for (size_t i = 0; i < DIRECTORY_KEY_CLASSES; i++) {
        keys->first_free[i] = DIRECTORY_NO_KEY;
    }
    check(pthread_mutex_init(&keys->lock, NULL) == 0);
    return CASCADE_OK;
}

void
directory_keys_fini(struct directory_keys *keys,
                    const struct allocator *allocator)
{
    if (keys->memory != NULL) {
        allocator_release(allocator, keys->memory);
        (void)pthread_mutex_destroy(&keys->lock);
        keys->memory = NULL;
    }
}

uint32_t
directory_keys_add(struct directory_keys *keys, const void *key, uint32_t bytes)
{
    uint32_t units = units_of(bytes);
    uint32_t handle;

    check(bytes >= 1 && bytes <= CASCADE_KEY_BYTES_MAX);
    pthread_mutex_lock(&keys->lock);
    handle = keys->first_free[units - 1];
    if (handle != DIRECTORY_NO_KEY) {
        memcpy(&keys->first_free[units - 1], unit_at(keys, handle),
               sizeof(handle));
    } else if (keys->units - keys->used >= units) {
        handle = keys->used;
        keys->used += units;
    }
    pthread_mutex_unlock(&keys->lock);
    if (handle != DIRECTORY_NO_KEY) {
        memcpy(unit_at(keys, handle), key, bytes);
    }
    return handle;
}

void
directory_keys_remove(struct directory_keys *keys, uint32_t handle,
                      uint32_t bytes)
{
    uint32_t units = units_of(bytes);

    pthread_mutex_lock(&keys->lock);
    memcpy(unit_at(keys, handle), &keys->first_free[units - 1], sizeof(handle));
    keys->first_free[units - 1] = handle;
    pthread_mutex_unlock(&keys->lock);
}

const uint8_t *
directory_keys_at(const struct directory_keys *keys, uint32_t handle)
{
    return unit_at(keys, handle);
}
