// SPDX-License-Identifier: Apache-2.0
//
// See the header.

#include "remote_fixture.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/units.h"

#define JOB 99
#define WAIT_NS UINT64_C(20000000000)
#define ROUNDS 4
#define MEETINGS_MAX 10

const struct fixture_kind fixture_near = {.rung = TIER_REMOTE_ANY};
const struct fixture_kind fixture_read = {
    .capabilities = FABRIC_READ | FABRIC_BULK,
    .far = true,
    .bounce_bytes = FIXTURE_BOUNCE_BYTES,
};
const struct fixture_kind fixture_fetch = {
    .capabilities = FABRIC_BULK,
    .far = true,
    .bounce_bytes = FIXTURE_BOUNCE_BYTES,
};

static void
answer_ask(struct fixture_rank *rank, struct tier_remote_ask *ask)
{
    struct tier_pin pin = {.memory = NULL};
    enum cascade_status status = CASCADE_NOT_FOUND;

    assert_int_equal(pthread_mutex_lock(&rank->lock), 0);
    for (uint32_t i = 0; status == CASCADE_NOT_FOUND && i < rank->count; i++) {
        if (block_id_equal(&rank->blocks[i].id, &ask->id)) {
            status = tier_dram_table.pin(rank->dram, &rank->blocks[i].place,
                                         &pin);
        }
    }
    assert_int_equal(pthread_mutex_unlock(&rank->lock), 0);
    ask->granted(ask, status, &pin);
}

static void
ask(void *context, struct tier_remote_ask *question)
{
    struct fixture_rank *rank = context;
    bool defer;

    assert_int_equal(pthread_mutex_lock(&rank->lock), 0);
    rank->asks++;
    defer = rank->defer;
    if (defer) {
        rank->deferred = question;
    }
    assert_int_equal(pthread_mutex_unlock(&rank->lock), 0);
    if (!defer) {
        answer_ask(rank, question);
    }
}

static void
touched(void *context, const uint32_t *slots, size_t count)
{
    struct fixture_rank *rank = context;

    (void)slots;
    assert_int_equal(pthread_mutex_lock(&rank->lock), 0);
    rank->touches += (uint32_t)count;
    assert_int_equal(pthread_mutex_unlock(&rank->lock), 0);
}

static void
damaged(void *context, const struct block_id *id,
        const struct block_place *place)
{
    struct fixture_rank *rank = context;

    (void)id;
    assert_int_equal(pthread_mutex_lock(&rank->lock), 0);
    rank->damages++;
    rank->damaged = *place;
    assert_int_equal(pthread_mutex_unlock(&rank->lock), 0);
}

static void
open_rank(struct fixture *fixture, const struct fixture_kind *kind,
          uint16_t number)
{
    struct fixture_rank *rank = &fixture->ranks[number];
    const struct tier_dram_options dram = {
        .capacity_bytes = kind->dram_bytes != 0 ? kind->dram_bytes : 64 * MIB,
        .blocks_max = FIXTURE_BLOCKS,
        .rank = number,
        .shares_words = true,
        .allocator = allocator_system(),
    };
    const struct fabric_node_options node = {
        .allocator = allocator_system(),
        .clock = clock_system(),
        .job = JOB,
        .rank = number,
        .rank_count = FIXTURE_RANKS,
        .disabled = kind->far,
    };
    const struct fabric_port_options port = {
        .allocator = allocator_system(),
        .clock = clock_system(),
        .fabric = fabric_local_rank(fixture->local, number, kind->capabilities),
        .ring = fabric_local_ring,
        .doorbell = fabric_local_doorbell(fixture->local, number),
        .ring_context = fixture->local,
    };
    struct tier_remote_options remote = {
        .allocator = allocator_system(),
        .clock = clock_system(),
        .capabilities = kind->capabilities,
        .subject = FIXTURE_SUBJECT,
        .rung = kind->rung,
        .lease_ns = FIXTURE_LEASE_NS,
        .bounce_bytes = kind->bounce_bytes,
        .ask = ask,
        .touched = touched,
        .damaged = damaged,
        .context = rank,
    };

    assert_int_equal(pthread_mutex_init(&rank->lock, NULL), 0);
    assert_int_equal(tier_dram_open(&dram, &rank->dram), CASCADE_OK);
    assert_int_equal(fabric_node_open(&node, &rank->node), CASCADE_OK);
    fabric_node_offer(rank->node, FABRIC_NODE_ARENA,
                      arena_file(tier_dram_arena(rank->dram)),
                      arena_bytes(tier_dram_arena(rank->dram)));
    fabric_node_offer(rank->node, FABRIC_NODE_WORDS,
                      tier_dram_words_file(rank->dram),
                      tier_dram_words_bytes(rank->dram));
    fabric_local_expose(fixture->local, number,
                        arena_memory(tier_dram_arena(rank->dram)),
                        arena_bytes(tier_dram_arena(rank->dram)));
    assert_int_equal(fabric_port_open(&port, &rank->port), CASCADE_OK);
    remote.port = rank->port;
    remote.node = rank->node;
    remote.dram = rank->dram;
    assert_int_equal(tier_remote_open(&remote, &rank->remote), CASCADE_OK);
}

void
fixture_open(struct fixture *fixture, const struct fixture_kind *kind)
{
    memset(fixture, 0, sizeof(*fixture));
    fixture->local = fabric_local_make(FIXTURE_RANKS);
    for (uint16_t i = 0; i < FIXTURE_RANKS; i++) {
        open_rank(fixture, kind, i);
    }
    for (uint16_t i = 0; i < FIXTURE_RANKS; i++) {
        for (uint16_t j = 0; j < FIXTURE_RANKS; j++) {
            bool near = i != j && !kind->far;

            // A busy machine may need more than one try.
            for (int k = 0; k < MEETINGS_MAX; k++) {
                struct fabric_node_address address;

                fabric_node_own_address(fixture->ranks[j].node, &address);
                if (fabric_node_meet(fixture->ranks[i].node, j, &address) ==
                    near) {
                    break;
                }
            }
            assert_int_equal(fabric_node_is_near(fixture->ranks[i].node, j),
                             near);
        }
        assert_int_equal(fabric_port_start(fixture->ranks[i].port), CASCADE_OK);
    }
}

void
fixture_close(struct fixture *fixture)
{
    for (uint16_t i = 0; i < FIXTURE_RANKS; i++) {
        fabric_port_stop(fixture->ranks[i].port);
    }
    for (uint16_t i = 0; i < FIXTURE_RANKS; i++) {
        struct fixture_rank *rank = &fixture->ranks[i];

        fabric_port_close(rank->port);
        tier_remote_close(rank->remote);
        fabric_node_close(rank->node);
        assert_true(tier_dram_is_valid(rank->dram));
        assert_int_equal(tier_dram_close(rank->dram), CASCADE_OK);
        assert_int_equal(pthread_mutex_destroy(&rank->lock), 0);
    }
    fabric_local_free(fixture->local);
}

void
fixture_fill(uint8_t *memory, uint64_t bytes, uint64_t content)
{
    uint64_t random = content * 2 + 1;

    for (uint64_t i = 0; i < bytes; i += sizeof(random)) {
        uint64_t left = units_min(sizeof(random), bytes - i);

        random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
        memcpy(memory + i, &random, left);
    }
}

struct fixture_block *
fixture_put(struct fixture *fixture, uint64_t bytes, uint64_t content)
{
    struct fixture_rank *rank = &fixture->ranks[0];
    uint8_t *data = malloc(bytes + 1);
    const struct cascade_const_span span = {.data = data, .bytes = bytes};
    const struct block_label label = {.depth = 0};
    struct block_digest digest;
    struct tier_slot slot;
    struct fixture_block *block;

    assert_non_null(data);
    fixture_fill(data, bytes, content);
    assert_int_equal(tier_dram_table.reserve(rank->dram, bytes, &slot),
                     CASCADE_OK);
    assert_int_equal(
        tier_dram_table.write(rank->dram, &slot, &span, 1,
                              BLOCK_DIGEST_ID | BLOCK_DIGEST_CHECKSUM, &digest),
        CASCADE_OK);
    assert_int_equal(pthread_mutex_lock(&rank->lock), 0);
    assert_true(rank->count < FIXTURE_BLOCKS);
    block = &rank->blocks[rank->count++];
    block->id = digest.id;
    assert_int_equal(tier_dram_table.commit(rank->dram, &slot, &label, &digest,
                                            &block->place),
                     CASCADE_OK);
    assert_int_equal(pthread_mutex_unlock(&rank->lock), 0);
    free(data);
    return block;
}

void
fixture_remove(struct fixture *fixture, struct fixture_block *block)
{
    struct fixture_rank *rank = &fixture->ranks[0];

    assert_int_equal(pthread_mutex_lock(&rank->lock), 0);
    assert_int_equal(tier_dram_table.release(rank->dram, &block->place, false),
                     CASCADE_OK);
    assert_int_equal(pthread_mutex_unlock(&rank->lock), 0);
}

struct tier_remote_read
fixture_read_of(const struct fixture_block *block,
                const struct cascade_span *span)
{
    return (struct tier_remote_read){
        .rank = 0,
        .id = block->id,
        .bytes = block->place.bytes,
        .spans = span,
        .span_count = 1,
        .deadline_ns = clock_deadline_ns(clock_system(), WAIT_NS),
    };
}

// Something to be done on an engine thread, and waited for.
struct errand {
    struct fabric_post post;
    struct tier_remote *remote;
    uint64_t now_ns;
    int lost; // -1: a step
    _Atomic bool done;
};

static void
run_errand(struct fabric_post *post)
{
    struct errand *errand = post->context;

    if (errand->lost < 0) {
        tier_remote_step(errand->remote, errand->now_ns);
    } else {
        tier_remote_lost(errand->remote, (uint16_t)errand->lost);
    }
    atomic_store(&errand->done, true);
}

static void
do_errand(struct fixture_rank *rank, uint64_t now_ns, int lost)
{
    struct errand errand = {
        .post = {.run = run_errand},
        .remote = rank->remote,
        .now_ns = now_ns,
        .lost = lost,
    };

    errand.post.context = &errand;
    fabric_port_post(rank->port, &errand.post);
    while (!atomic_load(&errand.done)) {
        (void)sched_yield();
    }
}

void
fixture_step(struct fixture *fixture, uint16_t rank, uint64_t now_ns)
{
    do_errand(&fixture->ranks[rank], now_ns, -1);
}

void
fixture_lost(struct fixture *fixture, uint16_t rank, uint16_t lost)
{
    do_errand(&fixture->ranks[rank], 0, lost);
}

bool
fixture_wait_unpinned(struct fixture *fixture)
{
    uint64_t end = clock_deadline_ns(clock_system(), WAIT_NS);
    struct tier_remote_usage usage;

    do {
        tier_remote_usage(fixture->ranks[0].remote, &usage);
        (void)sched_yield();
    } while (
        (usage.pins_out > 0 || fabric_node_pins(fixture->ranks[0].node) > 0) &&
        clock_steady_ns(clock_system()) < end);
    return usage.pins_out == 0;
}

void *
fixture_job_run(void *context)
{
    struct fixture_job *job = context;
    uint64_t bytes = job->block->place.bytes;
    uint8_t *memory = malloc(bytes);
    uint8_t *right = malloc(bytes);
    const struct cascade_span span = {.data = memory, .bytes = bytes};

    fixture_fill(right, bytes, job->content);
    for (int i = 0; i < ROUNDS && job->status == CASCADE_OK; i++) {
        struct tier_remote_read read = fixture_read_of(job->block, &span);

        if (job->deadline_ns != 0) {
            read.deadline_ns = job->deadline_ns;
        }
        memset(memory, 0, bytes);
        job->status = tier_remote_read(job->fixture->ranks[1].remote, &read);
        job->given = read.given;
        if (job->status == CASCADE_OK) {
            job->wrong += memcmp(memory, right, bytes) != 0;
        }
    }
    free(memory);
    free(right);
    return NULL;
}

void
fixture_run_readers(struct fixture *fixture, struct fixture_job *jobs,
                    uint64_t deadline_ns)
{
    for (int i = 0; i < FIXTURE_READERS; i++) {
        jobs[i].fixture = fixture;
        jobs[i].deadline_ns = deadline_ns;
        jobs[i].status = CASCADE_OK;
        assert_int_equal(
            pthread_create(&jobs[i].thread, NULL, fixture_job_run, &jobs[i]),
            0);
    }
    for (int i = 0; i < FIXTURE_READERS; i++) {
        assert_int_equal(pthread_join(jobs[i].thread, NULL), 0);
    }
}
