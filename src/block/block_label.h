// SPDX-License-Identifier: Apache-2.0
//
// What is written beside a payload so that a restart can bring the binding
// back: the key, its version, what it is bound to, and the hints of its put.

#ifndef BLOCK_LABEL_H
#define BLOCK_LABEL_H

#include <stddef.h>
#include <stdint.h>

#include "block/block_id.h"
#include "block/block_key.h"
#include "block/block_version.h"

enum block_label_flags {
    BLOCK_LABEL_PROTECTED = 1, // the binding protects its content
    BLOCK_LABEL_REMOVAL = 2,   // the key was removed; id is zero
    BLOCK_LABEL_CLEAR = 4,     // all bindings of lower version are void
    BLOCK_LABEL_SURROGATE = 8, // id is made of key and version, not of content
    BLOCK_LABEL_BIND = 16,     // a binding without payload
    BLOCK_LABEL_NO_KEY = 32,   // payload only: binds nothing
};

struct block_label {
    struct block_id id;
    struct block_key key;
    struct block_key parent; // zero = none
    struct block_version version;
    const void *key_data; // NULL if only the digest is known
    uint32_t key_bytes;   // 0 if only the digest is known
    uint32_t flags;       // enum block_label_flags
    uint32_t depth;
    uint32_t turn;
    uint32_t request_class;
    float expected_reuse;
};

#endif
