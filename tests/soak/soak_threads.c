// SPDX-License-Identifier: Apache-2.0
//
// The threads of one process of the soak: writers, readers and a keeper, who
// also makes trouble. Writers own keys (key modulo WRITERS), so that one thread
// alone moves a truth on. Everything shared is atomic; no lock.

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/units.h"
#include "soak_life.h"

#define WRITERS 2
#define BATCH SOAK_BATCH
#define VIEWS 3

// What a thread is doing, for the watchdog.
enum operation {
    OPERATION_PUT,
    OPERATION_REMOVE,
    OPERATION_PUT_BATCH,
    OPERATION_PUT_QUEUE,
    OPERATION_GET,
    OPERATION_GET_BATCH,
    OPERATION_ACQUIRE,
    OPERATION_PREFETCH,
    OPERATION_LOOK,
    OPERATION_FLUSH,
    OPERATION_DRAIN,
    OPERATION_EVICT,
    OPERATION_PROTECT,
};

static void
begin(struct thread *thread, enum operation operation)
{
    struct life *life = thread->life;
    struct soak_truth *truth = life->arena->truth;

    atomic_store(&truth->operation[life->process][thread->number],
                 (int)operation);
    atomic_store(&truth->began_ns[life->process][thread->number],
                 clock_steady_ns(clock_system()));
    soak_count(truth, SOAK_OPERATIONS, 1);
}

static void
rest(struct thread *thread)
{
    struct life *life = thread->life;

    atomic_store(&life->arena->truth->began_ns[life->process][thread->number],
                 0);
}

// What a busy or ailing store may answer.
bool
soak_is_refusal(struct life *life, enum cascade_status status)
{
    const struct soak_kind *kind = life->arena->kind;

    if (status == CASCADE_CLOSED) {
        atomic_store(&life->lease_lost, true);
        return true;
    }
    return status == CASCADE_NO_SPACE || status == CASCADE_TIMEOUT ||
           (kind->faulty &&
            (status == CASCADE_IO || status == CASCADE_CORRUPT));
}

// ---------------------------------------------------------------------------
// Writers

static void
settle_put(struct thread *thread, uint32_t key, uint64_t state,
           enum cascade_status status)
{
    struct life *life = thread->life;
    struct soak_truth *truth = life->arena->truth;
    bool fixed = life->arena->kind->fixed;

    if (status == CASCADE_OK) {
        soak_count(truth, SOAK_PUTS, 1);
        atomic_store(&life->acknowledged[key], true);
        atomic_store(&truth->unsure[key], false);
        atomic_store(&truth->done[key], state);
        return;
    }
    atomic_store(&truth->unsure[key], true);
    soak_count(truth, SOAK_REFUSED, 1);
    if (!soak_is_refusal(life, status) && !fixed) {
        soak_unexpected(life->arena, "put", status);
    } else if (!soak_is_refusal(life, status)) {
        // Bytes that follow from the key never differ.
        soak_unexpected(life->arena, "put of the same bytes", status);
    }
}

// The next state of a key of this thread; removals apart.
static uint64_t
next_state(struct thread *thread, uint32_t key)
{
    const struct soak_arena *arena = thread->life->arena;

    return arena->kind->fixed ? 1 : atomic_load(&arena->truth->tried[key]) + 1;
}

static uint32_t
own_key(struct thread *thread)
{
    return soak_pick(&thread->random, SOAK_KEYS / WRITERS) * WRITERS +
           thread->number;
}

static void
remove_one(struct thread *thread, uint32_t key, uint64_t state)
{
    struct life *life = thread->life;
    struct soak_truth *truth = life->arena->truth;
    enum cascade_status status;
    char text[32];

    begin(thread, OPERATION_REMOVE);
    if (!life->arena->kind->fixed) {
        atomic_store(&truth->tried[key], state);
    }
    status = cascade_remove(life->store, soak_name(key, text));
    if (status != CASCADE_OK && status != CASCADE_NOT_FOUND) {
        soak_unexpected(life->arena, "remove", status);
    } else if (!life->arena->kind->fixed) {
        atomic_store(&truth->done[key], state);
    }
}

static void
put_one(struct thread *thread, uint32_t key, uint64_t state)
{
    struct life *life = thread->life;
    const struct soak_kind *kind = life->arena->kind;
    struct cascade_put_options options = {
        .flags = soak_pick(&thread->random, 8) == 0 ? CASCADE_PUT_PREFIX : 0};
    size_t bytes = soak_bytes(kind, key, state);
    size_t cut = bytes / 3;
    struct cascade_const_span spans[2] = {
        {.data = thread->buffers[0], .bytes = cut},
        {.data = thread->buffers[0] + cut, .bytes = bytes - cut}};
    char text[32];
    char above[32];

    if (key >= WRITERS && soak_pick(&thread->random, 2) == 0) {
        options.parent = soak_name(key - WRITERS, above);
        options.depth = key;
    }
    soak_fill(kind, key, state, thread->buffers[0]);
    begin(thread, OPERATION_PUT);
    atomic_store(&life->arena->truth->tried[key], state);
    settle_put(thread, key, state,
               cascade_put(life->store, soak_name(key, text), spans, 2,
                           &options, NULL));
}

// Several keys in one batch, or in a submission that is waited for.
static void
put_batch(struct thread *thread, struct cascade_queue *queue)
{
    struct life *life = thread->life;
    const struct soak_kind *kind = life->arena->kind;
    struct cascade_item items[BATCH];
    struct cascade_const_span spans[BATCH];
    uint64_t states[BATCH];
    uint32_t keys[BATCH];
    char names[BATCH][32];
    enum cascade_status status;
    uint32_t first = own_key(thread);

    memset(items, 0, sizeof(items));
    for (unsigned i = 0; i < BATCH; i++) {
        keys[i] = (first + i * WRITERS) % SOAK_KEYS;
        states[i] = next_state(thread, keys[i]);
        states[i] += !kind->fixed && states[i] % SOAK_REMOVED == 0 ? 1 : 0;
        soak_fill(kind, keys[i], states[i], thread->buffers[i]);
        spans[i] = (struct cascade_const_span){
            .data = thread->buffers[i],
            .bytes = soak_bytes(kind, keys[i], states[i])};
        items[i].operation = CASCADE_OPERATION_PUT;
        items[i].key = soak_name(keys[i], names[i]);
        items[i].put_spans = &spans[i];
        items[i].put_span_count = 1;
        atomic_store(&life->arena->truth->tried[keys[i]], states[i]);
    }
    if (queue != NULL) {
        struct cascade_completion completion;
        size_t count = 0;

        begin(thread, OPERATION_PUT_QUEUE);
        status = cascade_submit(queue, items, BATCH, NULL, NULL, NULL);
        check(status == CASCADE_OK);
        while (count == 0) {
            (void)!cascade_queue_wait(queue, &completion, 1, NS_PER_S, &count);
        }
        status = completion.status;
    } else {
        begin(thread, OPERATION_PUT_BATCH);
        status = cascade_batch(life->store, items, BATCH, NULL);
    }
    if (status != CASCADE_OK && !soak_is_refusal(life, status)) {
        soak_unexpected(life->arena, "batch", status);
    }
    for (unsigned i = 0; i < BATCH; i++) {
        settle_put(thread, keys[i], states[i],
                   status == CASCADE_OK ? items[i].status : status);
    }
}

static void *
run_writer(void *context)
{
    struct thread *thread = context;
    struct life *life = thread->life;
    bool fixed = life->arena->kind->fixed;
    struct cascade_queue *queue = NULL;

    check(cascade_queue_open(life->store, 4, &queue) == CASCADE_OK);
    while (!atomic_load(&life->stop)) {
        uint32_t key = own_key(thread);
        uint64_t state = next_state(thread, key);
        uint32_t dice = soak_pick(&thread->random, 10);

        if (dice == 0) {
            put_batch(thread, NULL);
        } else if (dice == 1) {
            put_batch(thread, queue);
        } else if (fixed ? key % 8 == 7 && dice < 4
                         : state % SOAK_REMOVED == 0) {
            remove_one(thread, key, state);
        } else {
            put_one(thread, key, state);
        }
    }
    rest(thread);
    check(cascade_queue_close(queue) == CASCADE_OK);
    return NULL;
}

// ---------------------------------------------------------------------------
// Readers

static void
take_answer(struct thread *thread, uint32_t key, uint64_t from,
            enum cascade_status status, const void *data, size_t bytes,
            const char *what)
{
    struct life *life = thread->life;

    if (status == CASCADE_OK) {
        soak_judge(life->arena, key, from, data, bytes, what);
    } else if (status == CASCADE_NOT_FOUND) {
        soak_judge(life->arena, key, from, NULL, 0, what);
    } else if (soak_is_refusal(life, status)) {
        soak_count(life->arena->truth, SOAK_REFUSED, 1);
    } else {
        soak_unexpected(life->arena, what, status);
    }
}

static void
get_one(struct thread *thread, uint32_t key)
{
    struct life *life = thread->life;
    uint64_t from = atomic_load(&life->arena->truth->done[key]);
    size_t cut = soak_pick(&thread->random, 4096);
    struct cascade_span spans[2] = {
        {.data = thread->buffers[0], .bytes = cut},
        {.data = thread->buffers[0] + cut, .bytes = SOAK_BYTES_MAX - cut}};
    size_t bytes = 0;
    char text[32];
    enum cascade_status status;

    begin(thread, OPERATION_GET);
    status = cascade_get(life->store, soak_name(key, text), spans, 2, NULL,
                         &bytes);
    take_answer(thread, key, from, status, thread->buffers[0], bytes, "get");
}

static void
get_batch(struct thread *thread)
{
    struct life *life = thread->life;
    struct cascade_item items[BATCH];
    struct cascade_span spans[BATCH];
    uint64_t from[BATCH];
    uint32_t keys[BATCH];
    char names[BATCH][32];
    enum cascade_status status;

    memset(items, 0, sizeof(items));
    for (unsigned i = 0; i < BATCH; i++) {
        keys[i] = soak_pick(&thread->random, SOAK_KEYS);
        from[i] = atomic_load(&life->arena->truth->done[keys[i]]);
        spans[i] = (struct cascade_span){.data = thread->buffers[i],
                                         .bytes = SOAK_BYTES_MAX};
        items[i].operation = CASCADE_OPERATION_GET;
        items[i].key = soak_name(keys[i], names[i]);
        items[i].get_spans = &spans[i];
        items[i].get_span_count = 1;
    }
    begin(thread, OPERATION_GET_BATCH);
    status = cascade_batch(life->store, items, BATCH, NULL);
    for (unsigned i = 0; i < BATCH; i++) {
        take_answer(thread, keys[i], from[i],
                    status == CASCADE_OK ? items[i].status : status,
                    thread->buffers[i], items[i].bytes, "batch get");
    }
}

struct held {
    struct cascade_view view;
    uint32_t key;
    uint64_t state;
};

// A view is what it was, however long it is held.
static void
let_go(struct thread *thread, struct held *held)
{
    const struct soak_arena *arena = thread->life->arena;

    if (held->state != 0 &&
        soak_state(arena->kind, held->key, held->state, held->state,
                   held->view.data, held->view.bytes) == 0) {
        soak_count(arena->truth, SOAK_WRONG, 1);
        (void)fprintf(stderr, "%s: WRONG BYTES: a view of key %u changed\n",
                      arena->kind->name, held->key);
    }
    cascade_release(thread->life->store, &held->view);
    held->state = 0;
}

static void
acquire_one(struct thread *thread, struct held *held, uint32_t key)
{
    struct life *life = thread->life;
    struct soak_truth *truth = life->arena->truth;
    uint64_t from = atomic_load(&truth->done[key]);
    enum cascade_status status;
    char text[32];

    let_go(thread, held);
    memset(held, 0, sizeof(*held));
    begin(thread, OPERATION_ACQUIRE);
    status = cascade_acquire(life->store, soak_name(key, text), NULL,
                             &held->view);
    take_answer(thread, key, from, status, held->view.data, held->view.bytes,
                "acquire");
    if (status == CASCADE_OK) {
        held->key = key;
        held->state = soak_state(life->arena->kind, key, from,
                                 atomic_load(&truth->tried[key]),
                                 held->view.data, held->view.bytes);
    }
}

static void
look(struct thread *thread, uint32_t key)
{
    struct life *life = thread->life;
    enum cascade_status status;
    char text[32];

    if (soak_pick(&thread->random, 2) == 0) {
        begin(thread, OPERATION_PREFETCH);
        status = cascade_prefetch(life->store, soak_name(key, text), NULL);
    } else {
        begin(thread, OPERATION_LOOK);
        status = cascade_exists(life->store, soak_name(key, text));
    }
    if (status != CASCADE_OK && status != CASCADE_NOT_FOUND &&
        !soak_is_refusal(life, status)) {
        soak_unexpected(life->arena, "prefetch or exists", status);
    }
}

static void *
run_reader(void *context)
{
    struct thread *thread = context;
    struct life *life = thread->life;
    struct held held[VIEWS];

    memset(held, 0, sizeof(held));
    while (!atomic_load(&life->stop)) {
        uint32_t key = soak_pick(&thread->random, SOAK_KEYS);
        uint32_t dice = soak_pick(&thread->random, 8);

        if (atomic_load(&life->arena->truth->done[key]) == 0 &&
            soak_pick(&thread->random, 16) != 0) {
            (void)sched_yield(); // mostly what is there
        } else if (dice == 0) {
            get_batch(thread);
        } else if (dice < 3) {
            acquire_one(thread, &held[soak_pick(&thread->random, VIEWS)], key);
        } else if (dice == 3) {
            look(thread, key);
        } else {
            get_one(thread, key);
        }
    }
    for (unsigned i = 0; i < VIEWS; i++) {
        let_go(thread, &held[i]);
    }
    rest(thread);
    return NULL;
}

// ---------------------------------------------------------------------------
// Housekeeping

// Where the disk fails, a store under pressure may drop what it could not write.
// It says so; then a flush promises nothing about that.
bool
soak_has_dropped(struct life *life)
{
    struct cascade_stats stats = {.size = sizeof(stats)};

    return life->arena->kind->faulty &&
           (cascade_stats_read(life->store, &stats) != CASCADE_OK ||
            stats.cold_writes_dropped > 0 || stats.corrupt_blocks > 0);
}

// The states that a flush that begins now makes safe: those acknowledged.
void
soak_note_acknowledged(struct life *life, uint64_t *states)
{
    const struct soak_arena *arena = life->arena;
    char text[32];

    for (uint32_t key = 0; key < SOAK_KEYS; key++) {
        states[key] = atomic_load(&arena->truth->done[key]);
        if (arena->kind->fixed) {
            states[key] = atomic_load(&life->acknowledged[key]) && key % 8 != 7;
        } else if (arena->kind->faulty &&
                   cascade_exists(life->store, soak_name(key, text)) !=
                       CASCADE_OK) {
            states[key] = 0;
        }
    }
}

static void
flush(struct thread *thread)
{
    struct life *life = thread->life;
    struct soak_truth *truth = life->arena->truth;
    uint64_t before[SOAK_KEYS];
    enum cascade_status status;

    soak_note_acknowledged(life, before);
    begin(thread, OPERATION_FLUSH);
    status = cascade_flush(life->store, NULL);
    if (status == CASCADE_OK && !soak_has_dropped(life)) {
        for (uint32_t key = 0; key < SOAK_KEYS; key++) {
            uint64_t known = atomic_load(&truth->flushed[key]);

            while (known < before[key] &&
                   !atomic_compare_exchange_weak(&truth->flushed[key], &known,
                                                 before[key])) {
            }
        }
        soak_count(truth, SOAK_FLUSHES, 1);
    } else if (status == CASCADE_OK || soak_is_refusal(life, status)) {
        soak_count(truth, SOAK_REFUSED, 1);
    } else {
        soak_unexpected(life->arena, "flush", status);
    }
}

static void
keep_house(struct thread *thread)
{
    struct life *life = thread->life;
    uint32_t key = soak_pick(&thread->random, SOAK_KEYS);
    enum cascade_status status;
    char text[32];

    switch (soak_pick(&thread->random, 8)) {
    case 0:
    case 1:
        flush(thread);
        return;
    case 2:
        begin(thread, OPERATION_DRAIN);
        status = cascade_drain(
            life->store, NS_PER_MS * (1 + soak_pick(&thread->random, 200)),
            NULL);
        soak_count(life->arena->truth, SOAK_DRAINS, 1);
        break;
    case 3:
        begin(thread, OPERATION_EVICT);
        status = cascade_evict(life->store, CASCADE_TIER_LOCAL_DRAM, NULL,
                               NULL);
        break;
    case 4:
    case 5:
        begin(thread, OPERATION_PROTECT);
        status = cascade_protect(life->store, soak_name(key, text), NULL);
        break;
    default:
        begin(thread, OPERATION_PROTECT);
        status = cascade_unprotect(life->store, soak_name(key, text));
        break;
    }
    if (status != CASCADE_OK && status != CASCADE_NOT_FOUND &&
        !soak_is_refusal(life, status)) {
        soak_unexpected(life->arena, "housekeeping", status);
    }
}

// Trouble for a moment, then peace.
static void
make_trouble(struct thread *thread)
{
    static const uint32_t calls[] = {FILE_FAULTY_PWRITE, FILE_FAULTY_PREAD,
                                     FILE_FAULTY_SYNC_DATA | FILE_FAULTY_SYNC,
                                     FILE_FAULTY_OPEN | FILE_FAULTY_RENAME};
    struct life *life = thread->life;
    struct file_faulty *files = &life->files;
    uint32_t dice = soak_pick(&thread->random, 5);
    uint32_t which = soak_pick(&thread->random, 4);
    int error = dice < 2 ? EIO : dice < 4 ? ENOSPC : 0;
    uint64_t calls_now = __atomic_load_n(&files->calls, __ATOMIC_RELAXED);

    if (which == 1 && error == ENOSPC) {
        error = EIO; // no read says that
    }
    soak_count(life->arena->truth,
               error == EIO      ? SOAK_EIO
               : error == ENOSPC ? SOAK_ENOSPC
                                 : SOAK_SHORT,
               1);
    __atomic_store_n(&files->error, error, __ATOMIC_RELAXED);
    __atomic_store_n(&files->counted, calls[which], __ATOMIC_RELAXED);
    __atomic_store_n(&files->fail_count, 1 + soak_pick(&thread->random, 4),
                     __ATOMIC_RELAXED);
    __atomic_store_n(&files->fail_from,
                     calls_now + 1 + soak_pick(&thread->random, 20),
                     __ATOMIC_RELAXED);
}

static void *
run_keeper(void *context)
{
    struct thread *thread = context;
    struct life *life = thread->life;

    while (!atomic_load(&life->stop)) {
        if (life->arena->kind->faulty && soak_pick(&thread->random, 4) == 0) {
            make_trouble(thread);
        }
        keep_house(thread);
    }
    rest(thread);
    return NULL;
}

void
soak_start_threads(struct life *life, struct thread *threads, uint64_t seed)
{
    static void *(*const roles[SOAK_THREADS])(void *) = {
        run_writer, run_writer, run_reader, run_reader, run_reader, run_keeper};

    for (unsigned i = 0; i < SOAK_THREADS; i++) {
        threads[i] = (struct thread){
            .life = life, .number = i, .random = {seed * 31 + i * 7919 + 1}};
        for (unsigned b = 0; b < BATCH; b++) {
            threads[i].buffers[b] = malloc(SOAK_BYTES_MAX);
            check(threads[i].buffers[b] != NULL);
        }
        check(pthread_create(&threads[i].thread, NULL, roles[i], &threads[i]) ==
              0);
    }
}
