// SPDX-License-Identifier: Apache-2.0
//
// Cases of remote memory. `remote_near` reads blocks of another rank of the same
// node by their hints: both ranks are in this process, but the reader has a
// mapping of its own, as a process of its own would. The limit copies the same
// bytes from private memory into the same target, block by block.

#include "base/arena.h"
#include "base/check.h"
#include "base/error.h"
#include "base/pool.h"
#include "base/units.h"
#include "bench/bench.h"
#include "bench/content.h"
#include "tier/tier_remote.h"

#define RANKS 2

struct remote_state {
    struct tier_dram *dram;
    struct fabric_node *owner;
    struct fabric_node *reader;
    struct fabric_port *port;
    struct pool *pool;
    struct tier_remote *remote;
    struct block_place *places;
};

static uint64_t
memory_bytes(const struct bench_run *run)
{
    return 3 * run->blocks * (run->block_bytes + 4 * KIB);
}

// --- a fabric with nobody else: hints need none

static void
start(void *self, const struct fabric_sink *sink)
{
    (void)self;
    (void)sink;
}

static enum cascade_status
send_nowhere(void *self, uint16_t to, const void *data, size_t bytes)
{
    (void)self;
    (void)to;
    (void)data;
    (void)bytes;
    return CASCADE_OK;
}

static bool
progress(void *self)
{
    (void)self;
    return false;
}

static void
close_nothing(void *self)
{
    (void)self;
}

static const struct fabric_table nowhere_table = {
    .name = "nowhere",
    .start = start,
    .send = send_nowhere,
    .progress = progress,
    .close = close_nothing,
};

// --- two ranks

static enum cascade_status
open_owner(struct bench_run *run, struct remote_state *state,
           const struct fabric_node_options *options)
{
    const struct tier_dram_options dram = {
        .capacity_bytes = run->blocks * (run->block_bytes + 4 * KIB),
        .blocks_max = (uint32_t)run->blocks,
        .huge_pages = true,
        .shares_words = true,
        .allocator = allocator_system(),
        .pool = state->pool,
    };
    enum cascade_status status = tier_dram_open(&dram, &state->dram);

    if (status == CASCADE_OK) {
        status = fabric_node_open(options, &state->owner);
    }
    if (status != CASCADE_OK) {
        return status;
    }
    while (arena_populate_step(tier_dram_arena(state->dram), 64 * MIB)) {
    }
    fabric_node_offer(state->owner, FABRIC_NODE_ARENA,
                      arena_file(tier_dram_arena(state->dram)),
                      arena_bytes(tier_dram_arena(state->dram)));
    fabric_node_offer(state->owner, FABRIC_NODE_WORDS,
                      tier_dram_words_file(state->dram),
                      tier_dram_words_bytes(state->dram));
    return CASCADE_OK;
}

static enum cascade_status
open_reader(struct remote_state *state, struct fabric_node_options *options)
{
    const struct fabric_port_options port = {
        .allocator = allocator_system(),
        .clock = clock_system(),
        .fabric = {.table = &nowhere_table,
                   .capabilities = FABRIC_RELIABLE,
                   .rank = 1,
                   .rank_count = RANKS,
                   .job = 1,
                   .incarnation = 1},
    };
    struct tier_remote_options remote = {
        .allocator = allocator_system(),
        .clock = clock_system(),
        .pool = state->pool,
    };
    struct fabric_node_address address;
    enum cascade_status status;

    options->rank = 1;
    status = fabric_node_open(options, &state->reader);
    if (status == CASCADE_OK) {
        status = fabric_port_open(&port, &state->port);
    }
    if (status == CASCADE_OK) {
        remote.node = state->reader;
        remote.port = state->port;
        status = tier_remote_open(&remote, &state->remote);
    }
    if (status == CASCADE_OK) {
        status = fabric_port_start(state->port);
    }
    if (status == CASCADE_OK) {
        fabric_node_own_address(state->owner, &address);
        if (!fabric_node_meet(state->reader, 0, &address)) {
            status = error_set(CASCADE_UNSUPPORTED, "no memory of the node: %s",
                               fabric_node_reason(state->reader, 0));
        }
    }
    return status;
}

static enum cascade_status
put_block(struct bench_run *run, struct remote_state *state, size_t index)
{
    const struct cascade_const_span span = {.data = run->source.data +
                                                    index * run->block_bytes,
                                            .bytes = run->block_bytes};
    const struct block_label label = {.depth = 0};
    struct block_digest digest;
    struct tier_slot slot;
    enum cascade_status status = tier_dram_table.reserve(
        state->dram, run->block_bytes, &slot);

    if (status == CASCADE_OK) {
        status = tier_dram_table.write(state->dram, &slot, &span, 1,
                                       BLOCK_DIGEST_CHECKSUM, &digest);
    }
    return status == CASCADE_OK
               ? tier_dram_table.commit(state->dram, &slot, &label, &digest,
                                        &state->places[index])
               : status;
}

static enum cascade_status
set_up(struct bench_run *run)
{
    const struct allocator *allocator = allocator_system();
    size_t bytes = run->blocks * run->block_bytes;
    struct fabric_node_options options = {.allocator = allocator,
                                          .clock = clock_system(),
                                          .job = 1,
                                          .rank_count = RANKS};
    struct remote_state *state = allocator_array(allocator, 1, sizeof(*state));
    enum cascade_status status;

    run->state = state;
    if (state == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory for a measurement");
    }
    state->places = allocator_array(allocator, run->blocks,
                                    sizeof(state->places[0]));
    status = state->places == NULL
                 ? error_set(CASCADE_NO_MEMORY, "no memory for places")
                 : buffer_take(bytes, &run->source);
    if (status == CASCADE_OK) {
        status = buffer_take(bytes, &run->target);
    }
    if (status == CASCADE_OK) {
        status = pool_create(allocator, "bench", run->threads - 1, 1,
                             &state->pool);
    }
    if (status == CASCADE_OK) {
        status = open_owner(run, state, &options);
    }
    if (status == CASCADE_OK) {
        status = open_reader(state, &options);
    }
    if (status != CASCADE_OK) {
        return status;
    }
    bench_fill_source(run, 0);
    for (size_t i = 0; i < run->blocks && status == CASCADE_OK; i++) {
        status = put_block(run, state, i);
    }
    return status;
}

static void
tear_down(struct bench_run *run)
{
    struct remote_state *state = run->state;

    if (state != NULL) {
        fabric_port_close(state->port);
        tier_remote_close(state->remote);
        fabric_node_close(state->reader);
        fabric_node_close(state->owner);
        check(tier_dram_close(state->dram) == CASCADE_OK);
        pool_destroy(state->pool);
        allocator_release(allocator_system(), state->places);
        allocator_release(allocator_system(), state);
        run->state = NULL;
    }
    bench_tear_down(run);
}

// --- reads

static enum cascade_status
read_blocks(struct bench_run *run, uint32_t thread, void *context)
{
    struct remote_state *state = run->state;
    bool *missed = context;
    size_t blocks = run->blocks / run->threads;

    for (size_t i = thread * blocks; i < (thread + 1) * blocks; i++) {
        const struct cascade_span span = {.data = run->target.data +
                                                  i * run->block_bytes,
                                          .bytes = run->block_bytes};
        struct tier_remote_read read = {
            .rank = 0,
            .bytes = run->block_bytes,
            .hint = &state->places[i],
            .spans = &span,
            .span_count = 1,
        };
        uint64_t start_ns = bench_now();
        enum cascade_status status = tier_remote_read(state->remote, &read);

        if (run->round > 0) {
            bench_note_latency(&run->latencies, bench_now() - start_ns);
        }
        if (status != CASCADE_OK) {
            return status;
        }
        missed[i] = false;
    }
    return CASCADE_OK;
}

static enum cascade_status
work(struct bench_run *run, struct bench_sample *sample)
{
    bool *missed = allocator_array(allocator_system(), run->blocks, 1);
    enum cascade_status status;

    if (missed == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory for a round");
    }
    content_poison(run->target.data, run->blocks * run->block_bytes);
    status = bench_parallel(run, read_blocks, missed, &sample->work.ns);
    sample->cpu_ns = run->parallel_cpu_ns;
    if (status == CASCADE_OK) {
        bench_compare_target(run, 0, missed, sample);
    }
    allocator_release(allocator_system(), missed);
    return status;
}

const struct bench_driver bench_driver_remote_near = {
    .name = "remote_near",
    .limit = "memcpy",
    .moves_bytes = true,
    .memory_bytes = memory_bytes,
    .set_up = set_up,
    .work = work,
    .limit_work = bench_limit_copy,
    .tear_down = tear_down,
};
