// SPDX-License-Identifier: Apache-2.0
//
// What a store among ranks costs while nothing is asked of it, and what the
// first question after such a while costs; and what a block in the memory of a
// rank of the same node costs that was read before. Run by 2 ranks:
//   cluster_idle quick|full
// Numbers are printed; what is demanded is that the second read of a near block
// asks nobody.

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cluster/cluster.h"
#include "store/store_cluster.h"

#define BLOCK_BYTES ((size_t)1 << 20)
#define QUESTIONS_MAX 200

struct job {
    struct cascade *store;
    bool full;
};

static void
must(enum cascade_status status)
{
    if (status != CASCADE_OK) {
        (void)fprintf(stderr, "%s: %s\n", cascade_status_name(status),
                      cascade_error_message());
        exit(1);
    }
}

static void
meet(const struct job *job)
{
    must(cascade_barrier(job->store, NULL));
}

static void
rest(uint64_t milliseconds)
{
    struct timespec nap = {
        .tv_sec = (time_t)(milliseconds / 1000),
        .tv_nsec = (long)(milliseconds % 1000) * 1000000,
    };

    (void)nanosleep(&nap, NULL);
}

static int
compare(const void *left, const void *right)
{
    const uint64_t *a = left;
    const uint64_t *b = right;

    return *a < *b ? -1 : *a > *b;
}

static double
percentile_us(uint64_t *values, size_t count, unsigned percent)
{
    qsort(values, count, sizeof(*values), compare);
    return (double)values[(count - 1) * percent / 100] / 1000;
}

// Nanoseconds that the engine thread of this process has run; its name begins
// with "fabric".
static uint64_t
engine_ns(void)
{
    DIR *tasks = opendir("/proc/self/task");
    const struct dirent *task;
    uint64_t sum_ns = 0;

    expect(tasks != NULL);
    while ((task = readdir(tasks)) != NULL) {
        char path[300];
        char name[32] = "";
        unsigned long long ran_ns = 0;
        FILE *file;

        (void)snprintf(path, sizeof(path), "/proc/self/task/%s/comm",
                       task->d_name);
        file = fopen(path, "r");
        if (file == NULL) {
            continue;
        }
        if (fgets(name, sizeof(name), file) == NULL) {
            name[0] = '\0';
        }
        (void)fclose(file);
        if (strncmp(name, "fabric ", 7) != 0) {
            continue;
        }
        (void)snprintf(path, sizeof(path), "/proc/self/task/%s/schedstat",
                       task->d_name);
        file = fopen(path, "r");
        if (file != NULL) {
            expect(fscanf(file, "%llu", &ran_ns) == 1);
            (void)fclose(file);
            sum_ns += ran_ns;
        }
    }
    (void)closedir(tasks);
    return sum_ns;
}

static void
measure_idle(const struct job *job)
{
    uint64_t begun_ns;
    uint64_t ran_ns;

    meet(job);
    rest(2000); // until it has come to rest
    begun_ns = cluster_now_ns();
    ran_ns = engine_ns();
    rest(job->full ? 10000 : 500);
    ran_ns = engine_ns() - ran_ns;
    printf("rank %u: the engine thread of an idle store takes %.2f %% of a "
           "core\n",
           (unsigned)cascade_rank(job->store),
           100 * (double)ran_ns / (double)(cluster_now_ns() - begun_ns));
    meet(job);
}

// Keys that are nowhere, whose home is the other rank: each question goes there
// and back. Both have been idle before each.
static void
measure_questions(const struct job *job)
{
    struct store_cluster *cluster = job->store->cluster;
    size_t count = job->full ? QUESTIONS_MAX : 10;
    uint64_t times[QUESTIONS_MAX];
    uint32_t number = 0;

    meet(job);
    for (size_t at = 0; at < count && cascade_rank(job->store) == 0; at++) {
        struct cascade_key key = {.data = &number, .bytes = sizeof(number)};
        struct block_key digest;
        uint64_t begun_ns;

        do {
            number++;
            block_key_of(job->store->settings.namespace_name, key.data,
                         key.bytes, &digest);
        } while (store_cluster_key_home(cluster, &digest) != 1);
        rest(45);
        begun_ns = cluster_now_ns();
        expect(cascade_exists(job->store, key) == CASCADE_NOT_FOUND);
        times[at] = cluster_now_ns() - begun_ns;
    }
    if (cascade_rank(job->store) == 0) {
        printf("a question to an idle rank: p50 %.1f us, p99 %.1f us\n",
               percentile_us(times, count, 50),
               percentile_us(times, count, 99));
    }
    meet(job);
}

static uint64_t
grants(const struct job *job)
{
    struct tier_remote_usage usage;

    tier_remote_usage(job->store->cluster->remote, &usage);
    return usage.grants;
}

// Rank 1 has the block, rank 0 reads it again and again.
static void
measure_near(const struct job *job)
{
    struct cascade_key key = {.data = "near", .bytes = 4};
    size_t count = job->full ? QUESTIONS_MAX : 20;
    uint64_t times[QUESTIONS_MAX];
    uint8_t *data = malloc(BLOCK_BYTES);

    expect(data != NULL);
    if (cascade_rank(job->store) == 1) {
        struct cascade_const_span span = {.data = data, .bytes = BLOCK_BYTES};

        cluster_fill(data, BLOCK_BYTES, 7);
        must(cascade_put(job->store, key, &span, 1, NULL, NULL));
    }
    meet(job);
    for (size_t at = 0; at < count && cascade_rank(job->store) == 0; at++) {
        struct cascade_span span = {.data = data, .bytes = BLOCK_BYTES};
        size_t bytes = 0;
        uint64_t begun_ns = cluster_now_ns();

        must(cascade_get(job->store, key, &span, 1, NULL, &bytes));
        times[at] = cluster_now_ns() - begun_ns;
        expect(cluster_is_filled(data, BLOCK_BYTES, 7));
    }
    meet(job);
    if (cascade_rank(job->store) == 0) {
        printf("a read of 1 MiB from near memory: first %.1f us, then p50 %.1f "
               "us\n",
               (double)times[0] / 1000,
               percentile_us(times + 1, count - 1, 50));
    } else if (fabric_node_is_near(job->store->cluster->node, 0)) {
        expect(grants(job) == 1);
    }
    meet(job);
    free(data);
}

static struct cascade *
open_store(void)
{
    static const char *const pairs[][2] = {
        {"dram_capacity", "64MiB"},
        {"max_blocks", "16384"},
        {"stats_page", "false"},
        {"promotion_threshold", "1000000"}, // read from afar for ever
    };
    struct cascade_options *options = cascade_options_create();
    struct cascade *store = NULL;

    expect(options != NULL);
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        must(cascade_options_set(options, pairs[i][0], pairs[i][1]));
    }
    must(cascade_options_load_environment(options));
    must(cascade_open(options, &store));
    cascade_options_destroy(options);
    return store;
}

int
main(int count, char **names)
{
    struct job job = {
        .full = count > 1 && strcmp(names[1], "full") == 0,
        .store = open_store(),
    };

    expect(cascade_rank_count(job.store) == 2);
    measure_near(&job);
    measure_idle(&job);
    measure_questions(&job);
    must(cascade_close(job.store));
    return 0;
}
