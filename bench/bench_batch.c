// SPDX-License-Identifier: Apache-2.0
//
// Batches: putting all blocks of source, and getting all into target as one
// call. Shared by the drivers in memory and on the cold tier.

#include "base/allocator.h"
#include "base/error.h"
#include "base/units.h"
#include "bench/bench.h"
#include "bench/content.h"

#define PUT_BATCH ((size_t)1024)

struct put_batch {
    struct cascade_item items[PUT_BATCH];
    struct cascade_const_span spans[PUT_BATCH];
    uint8_t keys[PUT_BATCH][BENCH_KEY_BYTES];
};

static enum cascade_status
put_some(struct bench_run *run, struct put_batch *batch, size_t first,
         size_t count)
{
    enum cascade_status status;

    for (size_t i = 0; i < count; i++) {
        batch->spans[i] = (struct cascade_const_span){
            .data = run->source.data + (first + i) * run->block_bytes,
            .bytes = run->block_bytes,
        };
        batch->items[i] = (struct cascade_item){
            .size = sizeof(batch->items[i]),
            .operation = CASCADE_OPERATION_PUT,
            .key = bench_key(0, first + i, batch->keys[i]),
            .put_spans = &batch->spans[i],
            .put_span_count = 1,
        };
    }
    status = cascade_batch(run->store, batch->items, count, NULL);
    for (size_t i = 0; i < count && status == CASCADE_OK; i++) {
        if (batch->items[i].status != CASCADE_OK) {
            status = error_set(batch->items[i].status,
                               "a put of the preparation: %s",
                               cascade_status_sentence(batch->items[i].status));
        }
    }
    return status;
}

enum cascade_status
bench_put_all(struct bench_run *run)
{
    struct put_batch *batch = allocator_array(allocator_system(), 1,
                                              sizeof(*batch));
    enum cascade_status status = CASCADE_OK;

    if (batch == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory for a batch");
    }
    for (size_t i = 0; i < run->blocks && status == CASCADE_OK;
         i += PUT_BATCH) {
        status = put_some(run, batch, i, units_min(PUT_BATCH, run->blocks - i));
    }
    allocator_release(allocator_system(), batch);
    return status;
}

enum cascade_status
bench_make_items(struct bench_run *run)
{
    const struct allocator *allocator = allocator_system();

    run->items = allocator_array(allocator, run->blocks, sizeof(*run->items));
    run->spans = allocator_array(allocator, run->blocks, sizeof(*run->spans));
    run->keys = allocator_array(allocator, run->blocks, BENCH_KEY_BYTES);
    if (run->items == NULL || run->spans == NULL || run->keys == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory for a batch");
    }
    for (size_t i = 0; i < run->blocks; i++) {
        run->spans[i] = (struct cascade_span){
            .data = run->target.data + i * run->block_bytes,
            .bytes = run->block_bytes,
        };
        run->items[i] = (struct cascade_item){
            .size = sizeof(run->items[i]),
            .operation = CASCADE_OPERATION_GET,
            .key = bench_key(0, i, run->keys[i]),
            .get_spans = &run->spans[i],
            .get_span_count = 1,
        };
    }
    return CASCADE_OK;
}

enum cascade_status
bench_work_batch(struct bench_run *run, struct bench_sample *sample)
{
    const struct cascade_call call = {
        .size = sizeof(call),
        .timeout_ns = BENCH_CALL_NS,
    };
    bool *missed = allocator_array(allocator_system(), run->blocks, 1);
    enum cascade_status status;
    uint64_t start_ns;
    uint64_t cpu_ns;

    if (missed == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory for a round");
    }
    content_poison(run->target.data, run->blocks * run->block_bytes);
    cpu_ns = bench_cpu_ns();
    start_ns = bench_now();
    status = cascade_batch(run->store, run->items, run->blocks, &call);
    sample->work.ns = bench_now() - start_ns;
    sample->cpu_ns = bench_cpu_ns() - cpu_ns;
    if (run->round > 0) {
        bench_note_latency(&run->latencies, sample->work.ns);
    }
    for (size_t i = 0; i < run->blocks && status == CASCADE_OK; i++) {
        enum cascade_status item = run->items[i].status;

        if (item != CASCADE_OK && item != CASCADE_NOT_FOUND) {
            status = error_set(item, "a get of the batch: %s",
                               cascade_status_sentence(item));
        }
        missed[i] = item == CASCADE_NOT_FOUND ||
                    run->items[i].bytes != run->block_bytes;
    }
    if (status == CASCADE_OK) {
        bench_compare_target(run, 0, missed, sample);
    }
    allocator_release(allocator_system(), missed);
    return status;
}
