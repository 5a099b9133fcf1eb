// SPDX-License-Identifier: Apache-2.0
//
// What all ranks know: the list of protected keys, at every rank, whatever
// becomes of a key, a rank or a connection; and a clear whose rank is lost before
// it has told all.

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/error.h"
#include "store/store_cluster.h"
#include "store_ranks.h"

#define BLOCK ((size_t)20000)
#define LISTED_MAX 64
#define LOST_NS (5 * NS_PER_MS)

struct listed {
    size_t count;
    char names[LISTED_MAX][32];
};

static bool
see(void *context, const struct cascade_entry *entry)
{
    struct listed *listed = context;
    char *name = listed->names[listed->count];

    check(listed->count < LISTED_MAX && entry->protected_prefix);
    check(entry->key.bytes > 0 && entry->key.bytes < 32);
    check(entry->bytes == BLOCK);
    memcpy(name, entry->key.data, entry->key.bytes);
    name[entry->key.bytes] = '\0';
    listed->count++;
    return true;
}

static int
compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

// The protected keys are these, separated by spaces and in order.
static void
list_is(struct cascade *store, const char *wanted)
{
    struct listed listed = {.count = 0};
    char text[LISTED_MAX * 32] = "";
    size_t used = 0;

    store_ranks_must(cascade_list_protected(store, NULL, see, &listed), "list");
    qsort(listed.names, listed.count, sizeof(listed.names[0]), compare);
    for (size_t i = 0; i < listed.count; i++) {
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s",
                                 i > 0 ? " " : "", listed.names[i]);
    }
    if (strcmp(text, wanted) != 0) {
        (void)fprintf(stderr, "rank %d lists '%s' instead of '%s'\n",
                      cascade_rank(store), text, wanted);
        abort();
    }
}

static void
sync_all(struct cascade *store)
{
    store_ranks_must(cascade_sync(store, NULL), "sync");
    store_ranks_meet(store);
}

static void
live(uint64_t seed, uint16_t count, const char *const *pairs,
     store_rank_life *life)
{
    static const struct fabric_sim_options options = {.lost_after_ns = LOST_NS};
    static struct store_ranks ranks;

    store_ranks_make(&ranks, seed, count, &options);
    store_ranks_run(&ranks, count, false, pairs, life);
    store_ranks_remove(&ranks);
}

static void
protect_and_lift(struct store_ranks *ranks, uint16_t rank,
                 struct cascade *store)
{
    (void)ranks;
    list_is(store, "");
    if (rank == 0) {
        store_ranks_put(store, "a", 1, BLOCK, CASCADE_PUT_PREFIX, NULL);
        store_ranks_put(store, "b", 2, BLOCK, 0, NULL);
    }
    sync_all(store);
    list_is(store, "a");
    store_ranks_meet(store);
    if (rank == 1) {
        store_ranks_must(cascade_protect(store, store_name("b"), NULL), "b");
        store_ranks_put(store, "c", 3, BLOCK, CASCADE_PUT_PREFIX, NULL);
    }
    sync_all(store);
    list_is(store, "a b c");
    store_ranks_meet(store);
    if (rank == 2) {
        store_ranks_must(cascade_unprotect(store, store_name("a")), "a");
    }
    sync_all(store);
    list_is(store, "b c");
    store_ranks_meet(store);
    if (rank == 3) {
        store_ranks_must(cascade_remove(store, store_name("b")), "b");
        // Bound to other bytes, and not protected any more.
        store_ranks_put(store, "c", 4, BLOCK, 0, NULL);
        store_ranks_put(store, "d", 5, BLOCK, CASCADE_PUT_PREFIX, NULL);
    }
    sync_all(store);
    list_is(store, "d");
    store_ranks_meet(store);
    if (rank == 1) {
        store_ranks_must(cascade_clear(store), "clear");
    }
    sync_all(store);
    list_is(store, "");
    store_ranks_meet(store);
    if (rank == 2) {
        store_ranks_put(store, "a", 6, BLOCK, CASCADE_PUT_PREFIX, NULL);
    }
    sync_all(store);
    list_is(store, "a");
    store_ranks_meet(store);
}

static void
test_all_list_what_is_protected(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed < 6; seed++) {
        live(seed, 4, NULL, protect_and_lift);
    }
}

// A restart: those who open learn what is protected.
static void
put_and_flush(struct store_ranks *ranks, uint16_t rank, struct cascade *store)
{
    (void)ranks;
    if (rank == 1) {
        store_ranks_put(store, "kept", 1, BLOCK, CASCADE_PUT_PREFIX, NULL);
        store_ranks_put(store, "plain", 2, BLOCK, 0, NULL);
        store_ranks_put(store, "lifted", 3, BLOCK, CASCADE_PUT_PREFIX, NULL);
        store_ranks_must(cascade_unprotect(store, store_name("lifted")),
                         "lifted");
    }
    store_ranks_meet(store);
    if (rank == 0) {
        store_ranks_must(cascade_flush(store, NULL), "flush");
    }
    store_ranks_meet(store);
}

static void
list_at_once(struct store_ranks *ranks, uint16_t rank, struct cascade *store)
{
    (void)ranks;
    (void)rank;
    list_is(store, "kept");
    store_ranks_meet(store);
}

static void
test_an_open_announces_what_is_protected(void **state)
{
    static struct store_ranks ranks;

    (void)state;
    store_ranks_make(&ranks, 7, 3, NULL);
    store_ranks_run(&ranks, 3, true, NULL, put_and_flush);
    fabric_sim_destroy(ranks.sim);
    ranks.sim = fabric_sim_create(8, 4, NULL);
    ranks.count = 4;
    store_ranks_run(&ranks, 4, true, NULL, list_at_once);
    store_ranks_remove(&ranks);
}

// --- more keys than the list has room for

static bool
count_one(void *context, const struct cascade_entry *entry)
{
    size_t *count = context;

    check(entry->protected_prefix);
    ++*count;
    return true;
}

static void
protect_too_many(struct store_ranks *ranks, uint16_t rank,
                 struct cascade *store)
{
    struct store_registry_usage usage;
    size_t count = 0;
    char key[32];

    (void)ranks;
    for (unsigned i = 0; i < 10; i++) {
        struct cascade_put_result result;

        (void)snprintf(key, sizeof(key), "k-%u-%u", (unsigned)rank, i);
        store_ranks_put(store, key, rank * 100u + i, BLOCK, CASCADE_PUT_PREFIX,
                        &result);
        check(result.protected_prefix);
    }
    sync_all(store);
    check(cascade_list_protected(store, NULL, count_one, &count) ==
          CASCADE_NO_SPACE);
    check(strstr(cascade_error_message(), "24 protected keys") != NULL);
    check(count == 16);
    store_cluster_registry_usage(store->cluster, &usage);
    check(usage.listed == 16 && usage.missing == 24);
    store_ranks_meet(store);
    // Those that are not listed are protected all the same, and lifted in turn.
    for (unsigned i = 0; i < 10; i++) {
        (void)snprintf(key, sizeof(key), "k-%u-%u", (unsigned)rank, i);
        store_ranks_must(cascade_unprotect(store, store_name(key)), key);
    }
    sync_all(store);
    list_is(store, "");
    store_ranks_meet(store);
}

static void
test_a_full_list_says_so(void **state)
{
    static const char *const pairs[] = {"max_blocks", "16",
                                        "prefix_fraction_max", "1", NULL};

    (void)state;
    live(11, 4, pairs, protect_too_many);
}

// --- ranks that do not hear

// The n-th name whose home is that rank.
static void
name_with_home(const struct cascade *store, unsigned number, uint16_t home,
               char key[32])
{
    for (unsigned i = 0;; i++) {
        struct block_key digest;

        (void)snprintf(key, 32, "n-%u", i);
        block_key_of(store->settings.namespace_name, key, strlen(key), &digest);
        if (store_cluster_key_home(store->cluster, &digest) == home &&
            number-- == 0) {
            return;
        }
    }
}

static void
sync_in_vain(struct store_ranks *ranks, uint16_t rank, struct cascade *store)
{
    struct cascade_call call = {.size = sizeof(call),
                                .timeout_ns = 200 * NS_PER_MS};
    char key[32];

    name_with_home(store, 0, 1, key);
    if (rank == 0) {
        // Rank 0 reaches all, but the home of the key does not reach rank 2.
        fabric_sim_cut(ranks->sim, 1, 2);
        store_ranks_put(store, key, 1, BLOCK, CASCADE_PUT_PREFIX, NULL);
        check(cascade_sync(store, &call) == CASCADE_TIMEOUT);
        fabric_sim_heal(ranks->sim, 1, 2);
    }
    sync_all(store);
    list_is(store, key);
    store_ranks_meet(store);
}

static void
test_sync_waits_until_its_deadline(void **state)
{
    static const char *const pairs[] = {"dedup", "off", NULL};

    (void)state;
    live(21, 3, pairs, sync_in_vain);
}

// --- a rank is lost

static void
hand_over(struct store_ranks *ranks, uint16_t rank, struct cascade *store)
{
    char of_lost[32];
    char of_other[32];
    char both[80];

    name_with_home(store, 0, 0, of_lost);
    name_with_home(store, 0, 2, of_other);
    if (rank == 0) {
        store_ranks_put(store, of_other, 1, BLOCK, CASCADE_PUT_PREFIX, NULL);
    }
    if (rank == 2) {
        store_ranks_put(store, of_lost, 2, BLOCK, CASCADE_PUT_PREFIX, NULL);
    }
    sync_all(store);
    (void)snprintf(both, sizeof(both), "%s %s",
                   strcmp(of_lost, of_other) < 0 ? of_lost : of_other,
                   strcmp(of_lost, of_other) < 0 ? of_other : of_lost);
    list_is(store, both);
    for (int i = 0; i < 4 && rank == 1; i++) {
        store_ranks_get(store, of_other, 1, BLOCK); // a guest from now on
    }
    store_ranks_meet(store);
    if (rank == 0) {
        fabric_sim_kill(ranks->sim, 0);
        return;
    }
    fabric_sim_sleep(ranks->sim, 4 * LOST_NS);
    store_ranks_must(cascade_sync(store, NULL), "sync");
    // Rank 1 keeps it now. Of the other key nobody can speak any more.
    {
        struct listed listed = {.count = 0};
        struct cascade_call call = {.size = sizeof(call),
                                    .timeout_ns = NS_PER_S};

        check(fabric_port_is_alive(store->cluster->port, 0) == false);
        store_ranks_get(store, of_other, 1, BLOCK);
        check(cascade_list_protected(store, &call, count_one, &listed.count) ==
              CASCADE_OK);
        check(listed.count == 1);
    }
    check(rank != 1 || store_stats_now(store).protected_blocks == 1);
    fabric_sim_sleep(ranks->sim, 4 * LOST_NS);
}

static void
test_the_list_survives_a_change_of_custody(void **state)
{
    (void)state;
    live(31, 3, NULL, hand_over);
}

// Rank 0 has told rank 1 only when it is lost.
static void
clear_and_die(struct store_ranks *ranks, uint16_t rank, struct cascade *store)
{
    char key[32];

    name_with_home(store, 0, 2, key);
    if (rank == 2) {
        store_ranks_put(store, key, 1, BLOCK, CASCADE_PUT_PREFIX, NULL);
    }
    sync_all(store);
    if (rank == 0) {
        struct block_version versions[3];
        struct block_version version;

        store_ranks_must(
            store_cluster_ask_all(store->cluster, DIRECTORY_SUBJECT_VERSION,
                                  NULL, 0, versions, sizeof(versions[0]),
                                  store_deadline(store, 0), "clear"),
            "versions");
        for (int r = 0; r < 3; r++) {
            directory_see_version(store->directory, versions[r]);
        }
        version = directory_next_version(store->directory);
        store_ranks_must(store_cluster_ask(store->cluster, 1,
                                           DIRECTORY_SUBJECT_CLEAR, &version,
                                           sizeof(version), NULL, 0,
                                           store_deadline(store, 0)),
                         "clear");
        fabric_sim_kill(ranks->sim, 0);
        return;
    }
    fabric_sim_sleep(ranks->sim, 4 * LOST_NS);
    store_ranks_miss(store, key);
    check(store_stats_now(store).protected_blocks == 0);
    store_ranks_must(cascade_sync(store, NULL), "sync");
    list_is(store, "");
    fabric_sim_sleep(ranks->sim, 4 * LOST_NS);
    if (rank == 2) {
        store_ranks_put(store, key, 3, BLOCK, 0, NULL);
    }
    fabric_sim_sleep(ranks->sim, 4 * LOST_NS);
    store_ranks_get(store, key, 3, BLOCK);
    fabric_sim_sleep(ranks->sim, 4 * LOST_NS);
}

static void
test_a_clear_outlives_who_asked_for_it(void **state)
{
    (void)state;
    for (uint64_t seed = 41; seed < 45; seed++) {
        live(seed, 3, NULL, clear_and_die);
    }
}

// --- whatever happens

#define RANDOM_KEYS 12u

// Changes by all ranks at once, while pairs of ranks are cut from each other.
static void
change_at_random(struct store_ranks *ranks, uint16_t rank,
                 struct cascade *store)
{
    for (unsigned step = 0; step < 60; step++) {
        uint64_t number = fabric_sim_random(ranks->sim, RANDOM_KEYS);
        uint64_t what = fabric_sim_random(ranks->sim, 100);
        uint16_t other = (uint16_t)fabric_sim_random(ranks->sim, ranks->count);
        enum cascade_status status = CASCADE_OK;
        char key[32];

        (void)snprintf(key, sizeof(key), "r-%02u", (unsigned)number);
        if (what < 40) {
            status = store_put_seed(store, key, number, BLOCK,
                                    what < 20 ? CASCADE_PUT_PREFIX : 0, NULL);
        } else if (what < 60) {
            status = cascade_protect(store, store_name(key), NULL);
        } else if (what < 80) {
            status = cascade_unprotect(store, store_name(key));
        } else if (what < 92) {
            status = cascade_remove(store, store_name(key));
        } else if (what < 93) {
            status = cascade_clear(store);
        } else if (other != rank) {
            fabric_sim_cut(ranks->sim, rank, other);
            fabric_sim_sleep(ranks->sim, 30 * NS_PER_MS);
            fabric_sim_heal(ranks->sim, rank, other);
        }
        check(status == CASCADE_OK || status == CASCADE_NOT_FOUND ||
              status == CASCADE_TIMEOUT || status == CASCADE_BUSY ||
              status == CASCADE_NO_SPACE || status == CASCADE_STALE);
        fabric_sim_sleep(ranks->sim, fabric_sim_random(ranks->sim, NS_PER_MS));
    }
    // What timed out is settled, and what it left is known.
    fabric_sim_sleep(ranks->sim, 30 * NS_PER_S);
    sync_all(store);
    sync_all(store);
}

static void
all_list_what_is(struct store_ranks *ranks, uint16_t rank,
                 struct cascade *store)
{
    char wanted[LISTED_MAX * 32] = "";
    size_t used = 0;

    change_at_random(ranks, rank, store);
    for (unsigned number = 0; number < RANDOM_KEYS; number++) {
        struct cascade_location location;
        char key[32];

        (void)snprintf(key, sizeof(key), "r-%02u", number);
        if (cascade_locate(store, store_name(key), &location) == CASCADE_OK &&
            location.protected_prefix) {
            used += (size_t)snprintf(wanted + used, sizeof(wanted) - used,
                                     "%s%s", used > 0 ? " " : "", key);
        }
    }
    list_is(store, wanted);
    store_ranks_meet(store);
}

static void
test_lists_are_right_after_whatever_happened(void **state)
{
    static const char *const pairs[] = {"timeout", "1", "binding_lease", "1",
                                        NULL};

    (void)state;
    for (uint64_t seed = 61; seed < 71; seed++) {
        live(seed, 4, pairs, all_list_what_is);
    }
}

// --- what is counted

static void
read_and_put_again(struct store_ranks *ranks, uint16_t rank,
                   struct cascade *store)
{
    struct metric_values *metrics = store->metrics;

    (void)ranks;
    if (rank == 0) {
        store_ranks_put(store, "one", 1, BLOCK, CASCADE_PUT_PREFIX, NULL);
    }
    sync_all(store);
    if (rank == 1) {
        store_ranks_get(store, "one", 1, BLOCK);
        store_ranks_get(store, "one", 1, BLOCK);
        store_ranks_put(store, "two", 1, BLOCK, 0, NULL);
        (void)store_stats_now(store);
        check(metric_sum(metrics, METRIC_REMOTE_READS_TOTAL) == 2);
        check(metric_sum(metrics, METRIC_REMOTE_READ_BYTES_TOTAL) == 2 * BLOCK);
        check(metric_read(metrics, METRIC_DEDUP_REMOTE_HITS_TOTAL) == 1);
        check(metric_read(metrics, METRIC_DEDUP_REMOTE_SAVED_BYTES_TOTAL) ==
              BLOCK);
        check(metric_read(metrics, METRIC_FABRIC_MESSAGES_TOTAL) > 0);
        check(metric_read(metrics, METRIC_PROTECTED_KEYS_LISTED) == 1);
    }
    store_ranks_meet(store);
    if (rank == 0) {
        (void)store_stats_now(store);
        check(metric_read(metrics, METRIC_REMOTE_PINS_GIVEN_TOTAL) > 0);
        check(metric_sum(metrics, METRIC_REMOTE_READS_TOTAL) == 0);
    }
    store_ranks_meet(store);
}

static void
test_what_comes_from_others_is_counted(void **state)
{
    (void)state;
    live(51, 2, NULL, read_and_put_again);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_list_what_is_protected),
        cmocka_unit_test(test_an_open_announces_what_is_protected),
        cmocka_unit_test(test_a_full_list_says_so),
        cmocka_unit_test(test_sync_waits_until_its_deadline),
        cmocka_unit_test(test_the_list_survives_a_change_of_custody),
        cmocka_unit_test(test_a_clear_outlives_who_asked_for_it),
        cmocka_unit_test(test_lists_are_right_after_whatever_happened),
        cmocka_unit_test(test_what_comes_from_others_is_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
