// SPDX-License-Identifier: Apache-2.0
//
// What may be found after a power cut. See crash_model.h.

#include "crash/crash_model.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "block/block_digest.h"
#include "support/file_sectors.h"

#define BYTES_MAX (4u << 20)

void
crash_model_init(struct crash_model *model)
{
    memset(model->keys, 0, sizeof(model->keys));
    for (uint32_t key = 0; key < CRASH_KEYS; key++) {
        model->keys[key].count = 1;
    }
    model->content_count = 1;
    model->checked = 0;
    model->wrong[0] = '\0';
}

static void
fill(uint8_t *memory, uint64_t salt, uint64_t bytes)
{
    uint64_t state = salt;

    for (uint64_t at = 0; at < bytes; at += 8) {
        uint64_t word = file_sectors_next(&state);

        memcpy(memory + at, &word, bytes - at < 8 ? bytes - at : 8);
    }
}

uint32_t
crash_model_content(struct crash_model *model, uint64_t salt, uint64_t bytes)
{
    struct crash_content *content = &model->contents[model->content_count];
    uint32_t same;
    void *memory;

    check(model->content_count < CRASH_CONTENTS_MAX && bytes <= BYTES_MAX);
    content->salt = salt;
    content->bytes = bytes;
    memory = crash_model_bytes(model, model->content_count);
    block_id_of(memory, bytes, &content->id);
    // Contents without bytes are all the same one.
    same = crash_model_find(model, &content->id);
    if (same != 0) {
        return same;
    }
    content->checksum = block_digest_checksum(NULL, memory, bytes, NULL);
    return model->content_count++;
}

void *
crash_model_bytes(const struct crash_model *model, uint32_t content)
{
    static _Alignas(4096) uint8_t memory[BYTES_MAX];

    fill(memory, model->contents[content].salt, model->contents[content].bytes);
    return memory;
}

uint32_t
crash_model_find(const struct crash_model *model, const struct block_id *id)
{
    for (uint32_t i = model->content_count; i > 1; i--) {
        if (block_id_equal(&model->contents[i - 1].id, id)) {
            return i - 1;
        }
    }
    return 0;
}

void
crash_model_push(struct crash_model *model, uint32_t key, uint32_t state)
{
    struct crash_key *one = &model->keys[key];

    check(one->count < CRASH_STATES_MAX);
    one->states[one->count++] = state;
}

void
crash_model_synced(struct crash_model *model)
{
    for (uint32_t key = 0; key < CRASH_KEYS; key++) {
        struct crash_key *one = &model->keys[key];

        one->states[0] = one->states[one->count - 1];
        one->count = 1;
    }
}

bool
crash_model_found(struct crash_model *model, uint32_t key, uint32_t state,
                  bool settled, const char *how)
{
    struct crash_key *one = &model->keys[key];
    bool allowed = false;

    model->checked++;
    for (uint32_t i = 0; i < one->count; i++) {
        allowed = allowed || one->states[i] == state;
    }
    if (!allowed) {
        crash_model_complain(model,
                             "key %u was found as %u (%s); acknowledged was "
                             "%u, and the last of %u tried since was %u",
                             key, state, how, one->states[0], one->count - 1,
                             one->states[one->count - 1]);
        return false;
    }
    if (settled) {
        one->count = 0;
    }
    crash_model_push(model, key, state);
    return true;
}

void
crash_model_complain(struct crash_model *model, const char *format, ...)
{
    va_list arguments;

    if (model->wrong[0] != '\0') {
        return;
    }
    va_start(arguments, format);
    (void)vsnprintf(model->wrong, sizeof(model->wrong), format, arguments);
    va_end(arguments);
}
