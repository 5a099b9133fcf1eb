// SPDX-License-Identifier: Apache-2.0
//
// A store on several ranks of an MPI, through the public interface: every rank
// runs the same scenarios. Each must hold on every rank; a rank on which one
// does not says so and ends the job.

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "cascade/cascade.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define LARGE (24 * MIB + 12345)

struct job {
    struct cascade *store;
    int rank;
    int count;
};

static void
must(const struct job *job, enum cascade_status status, const char *what)
{
    if (status != CASCADE_OK) {
        (void)fprintf(stderr, "rank %d: %s: %s: %s\n", job->rank, what,
                      cascade_status_name(status), cascade_error_message());
        exit(1);
    }
}

static void
hold(const struct job *job, bool condition, const char *what)
{
    if (!condition) {
        (void)fprintf(stderr, "rank %d: not so: %s\n", job->rank, what);
        exit(1);
    }
}

static void
meet(const struct job *job)
{
    must(job, cascade_barrier(job->store, NULL), "barrier");
}

static struct cascade_key
key_of(const char *text)
{
    return (struct cascade_key){.data = text, .bytes = strlen(text)};
}

static void
fill(uint64_t seed, uint8_t *data, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 8) {
        uint64_t word = (seed * 0x9e3779b97f4a7c15u) ^
                        ((uint64_t)i * 0xd1b54a32d192ed03u);
        size_t left = bytes - i < 8 ? bytes - i : 8;

        memcpy(data + i, &word, left);
    }
}

static void
put(const struct job *job, const char *key, uint64_t seed, size_t bytes,
    uint32_t flags, struct cascade_put_result *result)
{
    struct cascade_put_options options = {.size = sizeof(options),
                                          .flags = flags};
    struct cascade_put_result done = {0};
    uint8_t *data = malloc(bytes);
    struct cascade_const_span span = {.data = data, .bytes = bytes};

    check(data != NULL);
    fill(seed, data, bytes);
    must(job, cascade_put(job->store, key_of(key), &span, 1, &options, &done),
         key);
    free(data);
    if (result != NULL) {
        *result = done;
    }
}

// Every byte is compared.
static enum cascade_status
get(const struct job *job, const char *key, uint64_t seed, size_t bytes)
{
    uint8_t *data = malloc(bytes);
    uint8_t *wanted = malloc(bytes);
    struct cascade_span span = {.data = data, .bytes = bytes};
    size_t got = 0;
    enum cascade_status status;

    check(data != NULL && wanted != NULL);
    memset(data, 0xa5, bytes);
    fill(seed, wanted, bytes);
    status = cascade_get(job->store, key_of(key), &span, 1, NULL, &got);
    if (status == CASCADE_OK) {
        hold(job, got == bytes && memcmp(data, wanted, bytes) == 0,
             "the bytes are those that were put");
    }
    free(wanted);
    free(data);
    return status;
}

static struct cascade_stats
stats_of(const struct job *job)
{
    struct cascade_stats stats = {.size = sizeof(stats)};

    must(job, cascade_stats_read(job->store, &stats), "stats");
    return stats;
}

// --- scenarios

// A prompt stored by rank 0 and read by all others: local after three reads.
static void
share_a_prompt(const struct job *job)
{
    struct cascade_stats before;
    struct cascade_stats after;

    if (job->rank == 0) {
        put(job, "prompt", 1, 256 * KIB, CASCADE_PUT_PREFIX, NULL);
        put(job, "large", 2, LARGE, 0, NULL);
    }
    meet(job);
    before = stats_of(job);
    for (int i = 0; i < 5; i++) {
        must(job, get(job, "prompt", 1, 256 * KIB), "prompt");
    }
    after = stats_of(job);
    if (job->rank != 0) {
        hold(job,
             after.hits[CASCADE_TIER_REMOTE_DRAM] -
                     before.hits[CASCADE_TIER_REMOTE_DRAM] ==
                 3,
             "three reads come from rank 0");
        hold(job, after.promotions - before.promotions == 1, "one promotion");
    }
    must(job, get(job, "large", 2, LARGE), "large");
    meet(job);
}

// Every rank puts the same blocks: bytes are stored once, and counted exactly.
static void
put_the_same(const struct job *job)
{
    struct cascade_stats all = {.size = sizeof(all)};
    struct cascade_stats before = {.size = sizeof(before)};
    char key[64];

    meet(job);
    must(job, cascade_stats_read_all(job->store, NULL, &before), "stats");
    meet(job);
    for (unsigned b = 0; b < 16; b++) {
        struct cascade_put_result result;

        (void)snprintf(key, sizeof(key), "same-%d-%u", job->rank, b);
        put(job, key, 100 + b, 64 * KIB, 0, &result);
        hold(job, result.stored, "stored");
    }
    meet(job);
    must(job, cascade_stats_read_all(job->store, NULL, &all), "stats");
    hold(job,
         all.tier_blocks[CASCADE_TIER_LOCAL_DRAM] -
                 before.tier_blocks[CASCADE_TIER_LOCAL_DRAM] ==
             16,
         "sixteen blocks are stored once");
    hold(job,
         all.dedup_hits - before.dedup_hits == 16u * (unsigned)job->count - 16u,
         "all others were deduplicated");
    for (int r = 0; r < job->count; r++) {
        (void)snprintf(key, sizeof(key), "same-%d-%u", r, 7u);
        must(job, get(job, key, 107, 64 * KIB), key);
    }
    meet(job);
}

// Ten shared prefixes and memory pressure on all: all stay, and are served.
static void
keep_prefixes(const struct job *job)
{
    char key[64];

    if (job->rank == 0) {
        for (unsigned p = 0; p < 10; p++) {
            struct cascade_put_result result;

            (void)snprintf(key, sizeof(key), "prefix-%u", p);
            put(job, key, 500 + p, 256 * KIB, CASCADE_PUT_PREFIX, &result);
            hold(job, result.protected_prefix, "protected");
        }
    }
    meet(job);
    for (unsigned b = 0; b < 800; b++) {
        (void)snprintf(key, sizeof(key), "filler-%d-%u", job->rank, b);
        put(job, key, 10000 + (unsigned)job->rank * 1000 + b, 128 * KIB, 0,
            NULL);
    }
    meet(job);
    for (unsigned p = 0; p < 10; p++) {
        (void)snprintf(key, sizeof(key), "prefix-%u", p);
        must(job, get(job, key, 500 + p, 256 * KIB), key);
    }
    meet(job);
}

// Rank 0 puts more than its memory holds, as fast as it can, and others have
// room: how much of what it evicts they take depends on the speed of the machine
// (it is printed; what must be taken is a matter of the simulation). What is in
// its own memory is there, and what is found is right.
static void
spill(const struct job *job)
{
    const unsigned count = 1024; // twice what its memory holds
    unsigned found = 0;
    char key[64];

    for (unsigned b = 0; b < count && job->rank == 0; b++) {
        (void)snprintf(key, sizeof(key), "spill-%u", b);
        put(job, key, 30000 + b, 128 * KIB, 0, NULL);
    }
    meet(job);
    for (unsigned b = 0; b < count && job->rank == 0; b++) {
        enum cascade_status status;

        (void)snprintf(key, sizeof(key), "spill-%u", b);
        status = get(job, key, 30000 + b, 128 * KIB);
        hold(job, status == CASCADE_OK || status == CASCADE_NOT_FOUND, key);
        found += status == CASCADE_OK;
    }
    if (job->rank == 0) {
        (void)printf("%u of %u blocks are there\n", found, count);
        hold(job, found > count * 2 / 5, "what fits into memory is there");
    }
    meet(job);
}

// The last rank binds a key anew while all read: only old or new, and the new
// one once the put has returned.
static void
bind_anew(const struct job *job)
{
    if (job->rank == 0) {
        put(job, "moving", 1, 4 * KIB, 0, NULL);
    }
    meet(job);
    for (unsigned round = 2; round < 10; round++) {
        must(job, get(job, "moving", round - 1, 4 * KIB), "moving");
        meet(job);
        if (job->rank == job->count - 1) {
            put(job, "moving", round, 4 * KIB, 0, NULL);
        }
        meet(job);
    }
    if (job->rank == 0) {
        must(job, cascade_remove(job->store, key_of("moving")), "remove");
    }
    meet(job);
    hold(job, get(job, "moving", 9, 4 * KIB) == CASCADE_NOT_FOUND, "removed");
    meet(job);
}

// --- a rank is killed

#define LOSE_BLOCKS 12u
#define LOSE_RANKS 3
#define LOSE_BYTES (300 * KIB)
#define LOSE_SECONDS 30
// So much that a flush of it takes several writes.
#define LOSE_BULK 150u

static uint64_t
seed_of(int rank, unsigned block, bool is_safe)
{
    return (is_safe ? 50000u : 60000u) + (unsigned)rank * 100u + block;
}

static void
name_of(char key[64], int rank, unsigned block, bool is_safe)
{
    (void)snprintf(key, 64, "%s-%d-%u", is_safe ? "safe" : "more", rank, block);
}

static void
put_own(const struct job *job, bool is_safe)
{
    char key[64];

    for (unsigned b = 0; b < LOSE_BLOCKS; b++) {
        name_of(key, job->rank, b, is_safe);
        put(job, key, seed_of(job->rank, b, is_safe), LOSE_BYTES, 0, NULL);
    }
}

// kill -9 of this process as soon as its flush writes.
static void *
die_while_it_writes(void *context)
{
    const struct job *job = context;
    uint64_t before = stats_of(job).cold_bytes_written;

    while (stats_of(job).cold_bytes_written == before) {
        (void)sched_yield();
    }
    (void)kill(getpid(), SIGKILL);
    return NULL;
}

// What the others do until the launcher ends them: no call may hang, and no
// byte may be wrong.
static NO_RETURN void
go_on_without(const struct job *job)
{
    time_t end = time(NULL) + LOSE_SECONDS;
    char key[64];

    for (unsigned i = 0; time(NULL) < end; i++) {
        int rank = (int)(i % LOSE_RANKS);
        unsigned block = i / LOSE_RANKS % LOSE_BLOCKS;

        name_of(key, rank, block, i % 2 == 0);
        (void)get(job, key, seed_of(rank, block, i % 2 == 0), LOSE_BYTES);
    }
    (void)fprintf(stderr, "rank %d: nobody ended the job\n", job->rank);
    _exit(0);
}

// Three ranks flush, put more, and one is killed: at once, or while all flush.
static NO_RETURN void
lose_a_rank(const struct job *job, bool is_flushing)
{
    struct cascade_call call = {.size = sizeof(call),
                                .timeout_ns = 10 * (uint64_t)1000000000};
    pthread_t thread;

    hold(job, job->count == LOSE_RANKS, "there are three ranks");
    put_own(job, true);
    meet(job);
    if (job->rank == 0) {
        must(job, cascade_flush(job->store, NULL), "flush");
    }
    meet(job);
    put_own(job, false);
    for (unsigned b = 0; b < LOSE_BULK && job->rank == 1 && is_flushing; b++) {
        char key[64];

        (void)snprintf(key, sizeof(key), "bulk-%u", b);
        put(job, key, 70000 + b, LOSE_BYTES, 0, NULL);
    }
    meet(job);
    if (job->rank == 1 && !is_flushing) {
        (void)kill(getpid(), SIGKILL);
    }
    if (job->rank == 1) {
        check(pthread_create(&thread, NULL, die_while_it_writes,
                             (void *)(uintptr_t)job) == 0);
    }
    if (job->rank == 0 && is_flushing) {
        enum cascade_status status = cascade_flush(job->store, &call);

        (void)fprintf(stderr, "the flush says %s\n",
                      cascade_status_name(status));
    }
    go_on_without(job);
}

// The next job: what was flushed is there, the rest is right or not there.
static void
find_what_was_flushed(const struct job *job)
{
    char key[64];

    for (int r = 0; r < LOSE_RANKS; r++) {
        for (unsigned b = 0; b < LOSE_BLOCKS; b++) {
            enum cascade_status status;

            name_of(key, r, b, true);
            must(job, get(job, key, seed_of(r, b, true), LOSE_BYTES), key);
            name_of(key, r, b, false);
            status = get(job, key, seed_of(r, b, false), LOSE_BYTES);
            hold(job, status == CASCADE_OK || status == CASCADE_NOT_FOUND, key);
        }
    }
    for (unsigned b = 0; b < LOSE_BULK; b++) {
        enum cascade_status status;

        (void)snprintf(key, sizeof(key), "bulk-%u", b);
        status = get(job, key, 70000 + b, LOSE_BYTES);
        hold(job, status == CASCADE_OK || status == CASCADE_NOT_FOUND, key);
    }
    meet(job);
    if (job->rank == 0) {
        put(job, "after", 1, LOSE_BYTES, 0, NULL);
        must(job, cascade_flush(job->store, NULL), "flush");
    }
    meet(job);
    must(job, get(job, "after", 1, LOSE_BYTES), "after");
    meet(job);
}

static struct cascade *
open_store(const char *cold_path, const char *rung)
{
    struct cascade_options *options = cascade_options_create();
    struct cascade *store = NULL;
    enum cascade_status status = CASCADE_OK;
    const char *const pairs[][2] = {
        {"dram_capacity", "64MiB"}, {"max_blocks", "16384"},
        {"stats_page", "false"},    {"fabric_rung", rung},
        {"cold_path", cold_path},   {"cold_capacity", "1GiB"},
        {"segment_size", "16MiB"},
    };

    check(options != NULL);
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        if (status == CASCADE_OK) {
            status = cascade_options_set(options, pairs[i][0], pairs[i][1]);
        }
    }
    if (status == CASCADE_OK) {
        status = cascade_options_load_environment(options);
    }
    if (status == CASCADE_OK) {
        status = cascade_open(options, &store);
    }
    if (status != CASCADE_OK) {
        (void)fprintf(stderr, "open: %s: %s\n", cascade_status_name(status),
                      cascade_error_message());
        exit(1);
    }
    cascade_options_destroy(options);
    return store;
}

static void
begin(struct job *job, const char *cold_path, const char *rung)
{
    job->store = open_store(cold_path, rung);
    job->rank = cascade_rank(job->store);
    job->count = cascade_rank_count(job->store);
    hold(job, job->count > 1, "there are several ranks");
}

static void
end(struct job *job)
{
    must(job, cascade_close(job->store), "close");
}

// cluster_store auto|near|read|fetch : in memory.
// cluster_store put PATH, cluster_store find PATH: two jobs on one cold path.
// cluster_store lose killed|flushing PATH, then found jobs PATH.
int
main(int argc, char **argv)
{
    struct job job;
    char key[64];

    if (argc == 2) {
        begin(&job, "", argv[1]);
        share_a_prompt(&job);
        put_the_same(&job);
        bind_anew(&job);
        if (strcmp(argv[1], "near") == 0) {
            spill(&job);
        }
        keep_prefixes(&job);
        end(&job);
    } else if (argc == 4 && strcmp(argv[1], "lose") == 0) {
        begin(&job, argv[3], "auto");
        lose_a_rank(&job, strcmp(argv[2], "flushing") == 0);
    } else if (argc == 3 && strcmp(argv[1], "found") == 0) {
        begin(&job, argv[2], "auto");
        find_what_was_flushed(&job);
        end(&job);
    } else if (argc == 3) {
        bool is_put = strcmp(argv[1], "put") == 0;

        begin(&job, argv[2], "auto");
        for (int r = 0; is_put && r < 8; r++) {
            if (r % job.count == job.rank) {
                (void)snprintf(key, sizeof(key), "cold-%d", r);
                put(&job, key, 900 + (unsigned)r, 300 * KIB, 0, NULL);
            }
        }
        meet(&job);
        if (is_put && job.rank == 0) {
            must(&job, cascade_flush(job.store, NULL), "flush");
        }
        for (int r = 0; !is_put && r < 8; r++) {
            (void)snprintf(key, sizeof(key), "cold-%d", r);
            must(&job, get(&job, key, 900 + (unsigned)r, 300 * KIB), key);
        }
        meet(&job);
        end(&job);
    } else {
        (void)fprintf(stderr, "usage: cluster_store auto|near|read|fetch, or "
                              "put|find|found PATH, or lose killed|flushing "
                              "PATH\n");
        return 2;
    }
    return 0;
}
