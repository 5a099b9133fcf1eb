// SPDX-License-Identifier: Apache-2.0
//
// Readers, viewers, rebinders, removers and evictors in threads of their own
// over little DRAM and a cold tier. Every block says whose it is and which
// version, and every byte follows from that; a get must give a version that was
// current at some moment of the call. The control runs the same with pins that
// end at once, and must fail. Then: processes that write in several threads and
// are killed, over and over.
//
// Usage: [seed] [rounds].

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "store_fixture.h"

#define KEYS 48
#define WRITERS 2
#define BYTES_MAX 60000
#define VIEWS 6
#define KILLS 6

static uint64_t seed = 20261124;
static unsigned rounds = 2;
static bool is_control; // ends at the first wrong bytes

// States of a key go up by one with each change; those that divide by REMOVED
// are removals.
#define REMOVED 11

struct stress {
    struct cascade *store;
    _Atomic uint64_t tried[KEYS]; // a call that makes this state has begun
    _Atomic uint64_t done[KEYS];  // the call that made this state has ended
    _Atomic uint64_t writers_left;
    _Atomic uint64_t gets;
    _Atomic uint64_t misses;
    _Atomic bool wrong;
    unsigned changes; // of each writer
};

struct actor {
    struct stress *stress;
    uint64_t random;
    unsigned number;
    pthread_t thread;
};

static uint32_t
pick(struct actor *actor, uint32_t below)
{
    actor->random = actor->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(actor->random >> 33) % below;
}

static uint64_t
content_seed(uint32_t key, uint64_t state)
{
    return (uint64_t)key << 40 | state;
}

static size_t
content_bytes(uint32_t key, uint64_t state)
{
    return 16 +
           (content_seed(key, state) * 2654435761u >> 7) % (BYTES_MAX - 16);
}

static void
content_make(uint32_t key, uint64_t state, uint8_t *data)
{
    uint64_t words[2] = {key, state};

    store_fill(content_seed(key, state), data, content_bytes(key, state));
    memcpy(data, words, sizeof(words));
}

// The state that the bytes are; 0 if they are no block of this key.
static uint64_t
content_state(uint32_t key, const uint8_t *data, size_t bytes)
{
    static _Thread_local uint8_t expected[BYTES_MAX];
    uint64_t words[2];

    if (bytes < sizeof(words)) {
        return 0;
    }
    memcpy(words, data, sizeof(words));
    if (words[0] != key || words[1] == 0 || words[1] % REMOVED == 0 ||
        content_bytes(key, words[1]) != bytes) {
        return 0;
    }
    content_make(key, words[1], expected);
    return memcmp(expected, data, bytes) == 0 ? words[1] : 0;
}

static struct cascade_key
name_of(uint32_t key, char text[16])
{
    (void)snprintf(text, 16, "key %u", key);
    return store_name(text);
}

static void
complain(struct stress *stress, uint32_t key, uint64_t from, uint64_t seen,
         uint64_t to, const char *what)
{
    if (!atomic_exchange(&stress->wrong, true)) {
        (void)fprintf(stderr, "key %u: %s: state %llu, allowed %llu to %llu\n",
                      key, what, (unsigned long long)seen,
                      (unsigned long long)from, (unsigned long long)to);
    }
}

static void *
run_writer(void *context)
{
    struct actor *actor = context;
    struct stress *stress = actor->stress;
    uint8_t *data = malloc(BYTES_MAX);

    check(data != NULL);
    for (unsigned i = 0; i < stress->changes && !stress->wrong; i++) {
        uint32_t key = pick(actor, KEYS / WRITERS) * WRITERS + actor->number;
        uint64_t next = atomic_load(&stress->done[key]) + 1;
        char text[16];
        enum cascade_status status;

        atomic_store(&stress->tried[key], next);
        if (next % REMOVED == 0) {
            status = cascade_remove(stress->store, name_of(key, text));
            check(status == CASCADE_OK || status == CASCADE_NOT_FOUND);
        } else {
            struct cascade_const_span span = {.data = data};
            struct cascade_put_options options = {
                .flags = pick(actor, 8) == 0 ? CASCADE_PUT_PREFIX : 0};

            content_make(key, next, data);
            span.bytes = content_bytes(key, next);
            status = cascade_put(stress->store, name_of(key, text), &span, 1,
                                 &options, NULL);
            check(status == CASCADE_OK);
        }
        atomic_store(&stress->done[key], next);
    }
    atomic_fetch_sub(&stress->writers_left, 1);
    free(data);
    return NULL;
}

static bool
may_be_absent(uint64_t from, uint64_t to)
{
    for (uint64_t state = from; state <= to; state++) {
        if (state % REMOVED == 0) {
            return true;
        }
    }
    return false;
}

static void
judge(struct stress *stress, uint32_t key, uint64_t from, const uint8_t *data,
      size_t bytes, const char *what)
{
    uint64_t to = atomic_load(&stress->tried[key]);
    uint64_t seen = data != NULL ? content_state(key, data, bytes) : 0;

    if (data == NULL) {
        atomic_fetch_add(&stress->misses, 1);
        if (!may_be_absent(from, to)) {
            complain(stress, key, from, 0, to, "nothing");
        }
    } else if (seen < from || seen > to || seen == 0) {
        complain(stress, key, from, seen, to, what);
    }
    atomic_fetch_add(&stress->gets, 1);
}

static void *
run_reader(void *context)
{
    struct actor *actor = context;
    struct stress *stress = actor->stress;
    uint8_t *data = malloc(BYTES_MAX);

    check(data != NULL);
    while (atomic_load(&stress->writers_left) > 0 && !stress->wrong) {
        uint32_t key = pick(actor, KEYS);
        uint64_t from = atomic_load(&stress->done[key]);
        struct cascade_span span = {.data = data, .bytes = BYTES_MAX};
        size_t bytes = 0;
        char text[16];
        enum cascade_status status = cascade_get(
            stress->store, name_of(key, text), &span, 1, NULL, &bytes);

        check(status == CASCADE_OK || status == CASCADE_NOT_FOUND);
        judge(stress, key, from, status == CASCADE_OK ? data : NULL, bytes,
              "wrong bytes");
    }
    free(data);
    return NULL;
}

struct held {
    struct cascade_view view;
    uint32_t key;
    uint64_t state;
};

static void
let_go(struct stress *stress, struct held *held)
{
    if (held->view.data == NULL) {
        return;
    }
    if (content_state(held->key, held->view.data, held->view.bytes) !=
        held->state) {
        complain(stress, held->key, held->state, 0, held->state,
                 "a view changed");
    }
    cascade_release(stress->store, &held->view);
}

static void *
run_viewer(void *context)
{
    struct actor *actor = context;
    struct stress *stress = actor->stress;
    struct held held[VIEWS];

    memset(held, 0, sizeof(held));
    while (atomic_load(&stress->writers_left) > 0 && !stress->wrong) {
        struct held *one = &held[pick(actor, VIEWS)];
        uint32_t key = pick(actor, KEYS);
        uint64_t from;
        char text[16];
        enum cascade_status status;

        let_go(stress, one);
        from = atomic_load(&stress->done[key]);
        status = cascade_acquire(stress->store, name_of(key, text), NULL,
                                 &one->view);
        if (status == CASCADE_NO_SPACE) {
            continue;
        }
        check(status == CASCADE_OK || status == CASCADE_NOT_FOUND);
        judge(stress, key, from, status == CASCADE_OK ? one->view.data : NULL,
              one->view.bytes, "a view of wrong bytes");
        if (status == CASCADE_OK) {
            one->key = key;
            one->state = content_state(key, one->view.data, one->view.bytes);
        }
    }
    for (size_t i = 0; i < VIEWS; i++) {
        let_go(stress, &held[i]);
    }
    return NULL;
}

static void *
run_evictor(void *context)
{
    struct actor *actor = context;
    struct stress *stress = actor->stress;

    while (atomic_load(&stress->writers_left) > 0 && !stress->wrong) {
        char text[16];
        struct cascade_key key = name_of(pick(actor, KEYS), text);
        enum cascade_status status = CASCADE_OK;

        switch (pick(actor, 8)) {
        case 0:
            status = cascade_evict(stress->store, CASCADE_TIER_LOCAL_DRAM, NULL,
                                   NULL);
            break;
        case 1:
            status = cascade_flush(stress->store, NULL);
            break;
        case 2:
            status = cascade_protect(stress->store, key, NULL);
            break;
        case 3:
            status = cascade_prefetch(stress->store, key, NULL);
            break;
        default:
            status = cascade_unprotect(stress->store, key);
            break;
        }
        check(status == CASCADE_OK || status == CASCADE_NOT_FOUND ||
              status == CASCADE_NO_SPACE);
    }
    return NULL;
}

static void
run_actors(struct stress *stress)
{
    void *(*const roles[])(void *) = {run_writer, run_writer, run_reader,
                                      run_reader, run_viewer, run_evictor};
    struct actor actors[sizeof(roles) / sizeof(roles[0])];

    stress->writers_left = WRITERS;
    for (unsigned i = 0; i < sizeof(roles) / sizeof(roles[0]); i++) {
        actors[i] = (struct actor){
            .stress = stress, .random = seed + i * 7919, .number = i};
        check(pthread_create(&actors[i].thread, NULL, roles[i], &actors[i]) ==
              0);
    }
    for (unsigned i = 0; i < sizeof(roles) / sizeof(roles[0]); i++) {
        check(pthread_join(actors[i].thread, NULL) == 0);
    }
}

// True if all was right.
static bool
run_stress(const char *const *pairs, unsigned changes)
{
    struct store_world world;
    struct stress stress;
    bool right;

    memset(&stress, 0, sizeof(stress));
    store_world_make(&world);
    world.files.lazy = true;
    world.around.background = true;
    stress.changes = changes;
    for (size_t key = 0; key < KEYS; key++) {
        stress.tried[key] = REMOVED;
        stress.done[key] = REMOVED;
    }
    stress.store = store_start(&world, true, pairs);
    run_actors(&stress);
    right = !stress.wrong;
    if (right) {
        struct cascade_stats stats;

        // It pins what it writes.
        store_background_stop(stress.store);
        stats = store_stats_now(stress.store);

        print_message(
            "%llu gets right, %llu misses right, %llu evictions, "
            "%llu promotions\n",
            (unsigned long long)stress.gets, (unsigned long long)stress.misses,
            (unsigned long long)stats.evictions[CASCADE_TIER_LOCAL_DRAM],
            (unsigned long long)stats.promotions);
        assert_int_equal(stats.cold_writes_dropped, 0);
        assert_int_equal(stats.corrupt_blocks, 0);
        assert_int_equal(stats.views_out, 0);
        assert_int_equal(stats.pins, 0);
        assert_true(directory_is_valid(stress.store->directory));
        assert_true(tier_dram_is_valid(stress.store->dram));
        store_end(stress.store);
        store_world_remove(&world);
    } else {
        // What is left of it cannot be trusted; the process ends here or fails.
        scratch_remove(&world.scratch);
    }
    return right;
}

static void
test_stress(void **state)
{
    static const char *const crossing[] = {"dram_capacity", "1MiB", NULL};

    (void)state;
    for (unsigned i = 0; i < rounds; i++) {
        assert_true(run_stress(crossing, 2000));
    }
}

static void
test_stress_verifying(void **state)
{
    static const char *const always[] = {"dram_capacity", "1MiB", "verify",
                                         "always", NULL};

    (void)state;
    for (unsigned i = 0; i < rounds; i++) {
        assert_true(run_stress(always, 1500));
    }
}

static void
test_stress_surrogates(void **state)
{
    static const char *const by_key[] = {"dram_capacity", "1MiB", "dedup",
                                         "off", NULL};

    (void)state;
    for (unsigned i = 0; i < rounds; i++) {
        assert_true(run_stress(by_key, 1500));
    }
}

// The control: a pin that ends at once. The table is constant, so its page is
// made writable first; only the child that does it is spoilt.
static struct tier_table honest;

static enum cascade_status
pin_for_a_moment(void *self, const struct block_place *place,
                 struct tier_pin *pin)
{
    enum cascade_status status = honest.pin(self, place, pin);

    if (status == CASCADE_OK) {
        struct tier_pin copy = *pin;

        honest.unpin(self, &copy);
    }
    return status;
}

static void
unpin_nothing(void *self, struct tier_pin *pin)
{
    (void)self;
    (void)pin;
}

// The honest one would stop the program: it sees that the pin is gone.
static enum cascade_status
read_regardless(void *self, const struct tier_pin *pin,
                const struct cascade_span *spans, size_t span_count,
                bool verify)
{
    (void)self;
    (void)verify;
    check(span_count == 1 && spans[0].bytes >= pin->place.bytes);
    memcpy(spans[0].data, pin->memory, pin->place.bytes);
    return CASCADE_OK;
}

static void
break_pins(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    // Volatile: a compiler that knows that the table is constant leaves out what
    // is written to it.
    volatile uintptr_t address = (uintptr_t)&tier_dram_table;
    uintptr_t begin = address & ~(page - 1);
    struct tier_table *table = (struct tier_table *)address;

    check(mprotect((void *)begin, 2 * page, PROT_READ | PROT_WRITE) == 0);
    honest = tier_dram_table;
    table->pin = pin_for_a_moment;
    table->unpin = unpin_nothing;
    table->read = read_regardless;
}

static void
test_control_without_pins(void **state)
{
    static const char *const crossing[] = {"dram_capacity", "1MiB", NULL};
    int ended = 0;
    pid_t child = fork();

    (void)state;
    assert_true(child >= 0);
    if (child == 0) {
        break_pins();
        is_control = true;
        _exit(run_stress(crossing, 20000) ? 0 : 3);
    }
    assert_int_equal(waitpid(child, &ended, 0), child);
    // By the bytes; or a check or the thread sanitizer (66) was faster.
    if (!(WIFEXITED(ended) &&
          (WEXITSTATUS(ended) == 3 || WEXITSTATUS(ended) == 66)) &&
        !(WIFSIGNALED(ended) && WTERMSIG(ended) == SIGABRT)) {
        fail_msg("the control without pins was not caught (%x)",
                 (unsigned)ended);
    }
    print_message("the control without pins was caught\n");
}

// What killed writers share with those who look after them.
struct killed {
    _Atomic uint64_t tried[KEYS];
    _Atomic uint64_t done[KEYS];
    _Atomic uint64_t flushed[KEYS];
    _Atomic int64_t changes_left;
    _Atomic uint64_t checked;
};

struct killed_actor {
    struct cascade *store;
    struct killed *killed;
    unsigned number;
    uint64_t random;
};

static void *
write_until_killed(void *context)
{
    struct killed_actor *actor = context;
    struct killed *killed = actor->killed;
    struct actor dice = {.random = actor->random};
    uint8_t *data = malloc(BYTES_MAX);

    check(data != NULL);
    for (;;) {
        uint32_t key = pick(&dice, KEYS / WRITERS) * WRITERS + actor->number;
        uint64_t next = atomic_load(&killed->tried[key]) + 1;
        struct cascade_const_span span = {.data = data};
        char text[16];

        next += next % REMOVED == 0 ? 1 : 0;
        atomic_store(&killed->tried[key], next);
        content_make(key, next, data);
        span.bytes = content_bytes(key, next);
        check(cascade_put(actor->store, name_of(key, text), &span, 1, NULL,
                          NULL) == CASCADE_OK);
        atomic_store(&killed->done[key], next);
        if (pick(&dice, 20) == 0) {
            uint64_t before[KEYS];

            for (uint32_t k = actor->number; k < KEYS; k += WRITERS) {
                before[k] = atomic_load(&killed->done[k]);
            }
            check(cascade_flush(actor->store, NULL) == CASCADE_OK);
            for (uint32_t k = actor->number; k < KEYS; k += WRITERS) {
                atomic_store(&killed->flushed[k], before[k]);
            }
        }
        if (atomic_fetch_sub(&killed->changes_left, 1) <= 0) {
            (void)kill(getpid(), SIGKILL);
        }
    }
    return NULL;
}

static void
check_after_kill(struct killed *killed, struct cascade *store)
{
    uint8_t *data = malloc(BYTES_MAX);

    check(data != NULL);
    for (uint32_t key = 0; key < KEYS; key++) {
        struct cascade_span span = {.data = data, .bytes = BYTES_MAX};
        uint64_t flushed = atomic_load(&killed->flushed[key]);
        uint64_t seen = 0;
        size_t bytes = 0;
        char text[16];
        enum cascade_status status = cascade_get(store, name_of(key, text),
                                                 &span, 1, NULL, &bytes);

        if (status == CASCADE_OK) {
            seen = content_state(key, data, bytes);
            check(seen != 0 && seen <= atomic_load(&killed->tried[key]));
        } else {
            check(status == CASCADE_NOT_FOUND);
        }
        if (seen < flushed) {
            (void)fprintf(stderr, "key %u: state %llu, flushed %llu\n", key,
                          (unsigned long long)seen,
                          (unsigned long long)flushed);
            _exit(2);
        }
        // What was not flushed is forgotten: this is the state from now on.
        atomic_store(&killed->done[key], seen);
        atomic_fetch_add(&killed->checked, 1);
    }
    free(data);
}

static void
live_and_die(struct store_world *world, struct killed *killed, uint64_t random)
{
    struct cascade *store = NULL;
    struct killed_actor actors[WRITERS];
    pthread_t threads[WRITERS];

    check(store_try(world, true, NULL, &store) == CASCADE_OK);
    check_after_kill(killed, store);
    for (unsigned i = 0; i < WRITERS; i++) {
        actors[i] = (struct killed_actor){.store = store,
                                          .killed = killed,
                                          .number = i,
                                          .random = random + i};
        check(pthread_create(&threads[i], NULL, write_until_killed,
                             &actors[i]) == 0);
    }
    (void)pthread_join(threads[0], NULL);
}

static void
test_killed_writers(void **state)
{
    struct store_world world;
    struct killed *killed = mmap(NULL, sizeof(*killed), PROT_READ | PROT_WRITE,
                                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct cascade *store;
    struct actor dice = {.random = seed};

    (void)state;
    assert_true(killed != MAP_FAILED);
    store_world_make(&world);
    world.files.lazy = true;
    world.around.background = true;
    for (unsigned i = 0; i < KILLS * rounds; i++) {
        int ended = 0;
        pid_t child;

        killed->changes_left = 50 + pick(&dice, 300);
        child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            live_and_die(&world, killed, seed + i * 31);
        }
        assert_int_equal(waitpid(child, &ended, 0), child);
        if (!WIFSIGNALED(ended) || WTERMSIG(ended) != SIGKILL) {
            fail_msg("life %u ended with %x", i, (unsigned)ended);
        }
    }
    store = store_start(&world, true, NULL);
    check_after_kill(killed, store);
    store_end(store);
    store_world_remove(&world);
    print_message("%u kills, %llu keys checked\n", KILLS * rounds,
                  (unsigned long long)killed->checked);
    (void)munmap(killed, sizeof(*killed));
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stress),
        cmocka_unit_test(test_stress_verifying),
        cmocka_unit_test(test_stress_surrogates),
        cmocka_unit_test(test_control_without_pins),
        cmocka_unit_test(test_killed_writers),
    };

    if (argc > 1) {
        seed = strtoull(argv[1], NULL, 10);
    }
    if (argc > 2) {
        rounds = (unsigned)strtoul(argv[2], NULL, 10);
    }
    print_message("seed %llu, %u rounds\n", (unsigned long long)seed, rounds);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
