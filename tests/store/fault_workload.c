// SPDX-License-Identifier: Apache-2.0
//
// A workload among faults and its model. See fault_workload.h.

#include "fault_workload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

#define BYTES_MAX 700000

void
fault_model_init(struct fault_model *model)
{
    memset(model, 0, sizeof(*model));
    model->next_seed = 1;
    for (size_t k = 0; k < FAULT_KEYS; k++) {
        model->keys[k].count = 1;
    }
}

size_t
fault_bytes(uint64_t seed)
{
    static const size_t sizes[] = {100, 0, 4096, 70001, 5000, 300000, 40000};

    return sizes[seed % (sizeof(sizes) / sizeof(sizes[0]))];
}

static const char *
key_name(size_t key, char text[16])
{
    (void)snprintf(text, 16, "k%zu", key);
    return text;
}

static void
push(struct fault_key *key, uint64_t seed)
{
    check(key->count < FAULT_STATES_MAX);
    key->states[key->count++] = seed;
}

static void
complain(struct fault_model *model, size_t key, const char *what)
{
    (void)fprintf(stderr, "key k%zu: %s\n", key, what);
    model->wrong = true;
}

static void
put(struct fault_model *model, struct cascade *store, size_t key,
    uint32_t flags)
{
    struct fault_key *one = &model->keys[key];
    uint64_t seed = model->next_seed++;
    char text[16];
    enum cascade_status status = store_put_seed(
        store, key_name(key, text), seed, fault_bytes(seed), flags, NULL);

    push(one, seed);
    if (status == CASCADE_OK) {
        one->newest = seed;
        one->unsure = false;
    } else {
        one->unsure = true;
    }
}

static void
drop(struct fault_model *model, struct cascade *store, size_t key)
{
    struct fault_key *one = &model->keys[key];
    char text[16];
    enum cascade_status status = cascade_remove(
        store, store_name(key_name(key, text)));

    if (status == CASCADE_OK || status == CASCADE_NOT_FOUND) {
        push(one, 0);
        one->newest = 0;
        one->unsure = false;
    }
}

// The content that was got, by its bytes; 0 if none of the states has them.
static uint64_t
recognise(const struct fault_key *one, const uint8_t *data, size_t bytes)
{
    for (uint32_t i = one->count; i > 0; i--) {
        uint64_t seed = one->states[i - 1];

        if (seed != 0 && fault_bytes(seed) == bytes &&
            store_is(seed, data, bytes)) {
            return seed;
        }
    }
    return 0;
}

static enum cascade_status
get(struct cascade *store, size_t key, uint8_t *data, size_t *bytes)
{
    struct cascade_span span = {.data = data, .bytes = BYTES_MAX};
    char text[16];

    return cascade_get(store, store_name(key_name(key, text)), &span, 1, NULL,
                       bytes);
}

// In the session: the newest bytes, a miss or an error; never other bytes.
static void
look(struct fault_model *model, struct cascade *store, size_t key)
{
    static uint8_t data[BYTES_MAX];
    struct fault_key *one = &model->keys[key];
    size_t bytes = 0;
    uint64_t seen;
    char text[160];

    if (get(store, key, data, &bytes) != CASCADE_OK) {
        return;
    }
    seen = recognise(one, data, bytes);
    if (seen == 0 ||
        (seen != one->newest && !one->unsure && fault_bytes(seen) != 0)) {
        (void)snprintf(
            text, sizeof(text), "%zu bytes of content %llu, newest is %llu",
            bytes, (unsigned long long)seen, (unsigned long long)one->newest);
        complain(model, key, text);
        return;
    }
    model->gets_right++;
}

void
fault_flushed(struct fault_model *model)
{
    model->flushes++;
    for (size_t k = 0; k < FAULT_KEYS; k++) {
        struct fault_key *one = &model->keys[k];

        // What a failed call tried may still turn up.
        if (one->unsure) {
            continue;
        }
        one->states[0] = one->newest;
        one->count = 1;
    }
}

static void
flush(struct fault_model *model, struct cascade *store)
{
    if (cascade_flush(store, NULL) == CASCADE_OK) {
        fault_flushed(model);
    }
}

static void
look_at_all(struct fault_model *model, struct cascade *store)
{
    for (size_t k = 0; k < FAULT_KEYS; k++) {
        look(model, store, k);
    }
}

void
fault_workload(struct fault_model *model, struct cascade *store)
{
    for (size_t k = 0; k + 2 < FAULT_KEYS; k++) {
        put(model, store, k, k == 3 ? CASCADE_PUT_PREFIX : 0);
    }
    flush(model, store);
    look_at_all(model, store);
    put(model, store, 0, 0);
    put(model, store, 5, 0);
    drop(model, store, 1);
    if (cascade_evict(store, CASCADE_TIER_LOCAL_DRAM, NULL, NULL) ==
        CASCADE_OK) {
        fault_flushed(model);
    }
    look_at_all(model, store);
    put(model, store, 2, 0);
    put(model, store, 1, 0);
    put(model, store, FAULT_KEYS - 2, 0);
    drop(model, store, 4);
    (void)store_background_step(store);
    look_at_all(model, store);
    flush(model, store);
    put(model, store, 0, 0);
    put(model, store, FAULT_KEYS - 1, 0);
    look_at_all(model, store);
}

static bool
allows(const struct fault_key *one, uint64_t seen, bool may_forget)
{
    if (seen == 0 && may_forget) {
        return true;
    }
    for (uint32_t i = 0; i < one->count; i++) {
        if (one->states[i] == seen) {
            return true;
        }
    }
    return false;
}

bool
fault_check_restart(struct fault_model *model, struct cascade *store,
                    bool may_forget)
{
    uint8_t *data = malloc(BYTES_MAX);

    check(data != NULL);
    for (size_t k = 0; k < FAULT_KEYS; k++) {
        struct fault_key *one = &model->keys[k];
        size_t bytes = 0;
        enum cascade_status status = get(store, k, data, &bytes);
        uint64_t seen = 0;

        if (status == CASCADE_OK) {
            seen = recognise(one, data, bytes);
            if (seen == 0) {
                complain(model, k, "bytes that are no state since the flush");
                continue;
            }
        } else if (status != CASCADE_NOT_FOUND) {
            complain(model, k, cascade_error_message());
        }
        if (!allows(one, seen, may_forget)) {
            (void)fprintf(stderr, "found %llu, flushed %llu, newest %llu\n",
                          (unsigned long long)seen,
                          (unsigned long long)one->states[0],
                          (unsigned long long)one->newest);
            complain(model, k, "a flushed state is gone");
        }
    }
    free(data);
    return !model->wrong;
}
