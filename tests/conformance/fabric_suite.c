// SPDX-License-Identifier: Apache-2.0
//
// The cases, each between two barriers. A check that fails is counted and
// printed; the case goes on, so that no rank leaves the others waiting.

#include "conformance/fabric_suite.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"

#define SECOND_NS ((uint64_t)1000000000)
#define MILLISECOND_NS ((uint64_t)1000000)
#define CALLS 64
#define TAGS 16
#define THREADS_MAX 16
#define QUEUE_DEPTH_MAX 8192

enum subject {
    SUBJECT_ECHO = 1,
    SUBJECT_NOTICE = 2,  // numbered and patterned
    SUBJECT_REPORT = 3,  // how many notices of the asker came, and were wrong
    SUBJECT_KEEP = 4,    // answered at RELEASE
    SUBJECT_RELEASE = 5, // a notice
    SUBJECT_REFUSE = 6,  // answered with EXISTS and two bytes
    SUBJECT_ARRIVE = 7,  // a notice: one more
    SUBJECT_ARRIVED = 8, // how many
    SUBJECT_UNKNOWN = 60,
};

struct report {
    uint64_t count;
    uint64_t wrong;
};

struct run {
    const struct fabric_suite *suite;
    struct fabric_port *port;
    uint16_t rank;
    uint16_t count;
    uint16_t next;
    uint16_t before;
    const char *what; // the case
    _Atomic int failures;
    // Engine thread only.
    struct report *reports; // per rank
    struct fabric_answer *kept;
    uint64_t arrived;
    bool inside;
    uint8_t *scratch;
};

// The condition as a sentence, printed once it does not hold.
static bool
expect(struct run *run, bool holds, const char *sentence)
{
    if (!holds) {
        atomic_fetch_add(&run->failures, 1);
        (void)fprintf(stderr, "%s, rank %u of %u, %s: not so: %s\n",
                      run->suite->name, run->rank, run->count, run->what,
                      sentence);
    }
    return holds;
}

static uint64_t
soon(const struct run *run)
{
    uint64_t patience_ns = run->suite->patience_ns;

    return clock_deadline_ns(run->suite->options.clock,
                             patience_ns == 0 ? 60 * SECOND_NS : patience_ns);
}

static void
pause_a_moment(const struct run *run)
{
    if (run->suite->pause != NULL) {
        run->suite->pause(run->suite->context);
    } else {
        (void)sched_yield();
    }
}

static bool
is_inline(const struct run *run)
{
    return run->suite->options.fabric.capabilities & FABRIC_INLINE;
}

static bool
await(struct run *run, _Atomic uint32_t *value, uint32_t wanted)
{
    uint64_t end_ns = soon(run);

    while (atomic_load(value) < wanted) {
        if (is_inline(run)) {
            (void)fabric_port_step(run->port);
        }
        if (atomic_load(value) >= wanted) {
            break;
        }
        if (clock_steady_ns(run->suite->options.clock) >= end_ns) {
            return expect(run, false, "it ends in time");
        }
        pause_a_moment(run);
    }
    return true;
}

static void
fill(uint8_t *memory, uint64_t bytes, uint64_t seed)
{
    uint64_t value = seed * 0x9e3779b97f4a7c15u + 1;

    for (uint64_t i = 0; i < bytes; i++) {
        if (i % 64 == 0) {
            value = value * 6364136223846793005u + 1442695040888963407u;
        }
        memory[i] = (uint8_t)(value >> (i % 8 * 8));
    }
}

static bool
is_filled(const uint8_t *memory, uint64_t bytes, uint64_t seed)
{
    uint64_t value = seed * 0x9e3779b97f4a7c15u + 1;

    for (uint64_t i = 0; i < bytes; i++) {
        if (i % 64 == 0) {
            value = value * 6364136223846793005u + 1442695040888963407u;
        }
        if (memory[i] != (uint8_t)(value >> (i % 8 * 8))) {
            return false;
        }
    }
    return true;
}

// --- handlers

static void
enter(struct run *run)
{
    (void)expect(run, !run->inside, "handlers run one after the other");
    run->inside = true;
}

static void
echo(void *context, const struct fabric_message *message)
{
    struct run *run = context;

    enter(run);
    fabric_port_answer(run->port, message->answer, CASCADE_OK, message->data,
                       message->bytes);
    run->inside = false;
}

static size_t
notice_bytes(uint64_t number)
{
    static const size_t sizes[] = {8, 9, 100, 256, 300, 1000, 4000};

    if (number % 61 == 60) {
        return FABRIC_PAYLOAD_BYTES_MAX;
    }
    return sizes[number % (sizeof(sizes) / sizeof(sizes[0]))];
}

static void
take_notice(void *context, const struct fabric_message *message)
{
    struct run *run = context;
    struct report *report = &run->reports[message->from];
    uint64_t number = UINT64_MAX;

    enter(run);
    if (message->bytes >= sizeof(number)) {
        memcpy(&number, message->data, sizeof(number));
    }
    if (number != report->count || message->bytes != notice_bytes(number) ||
        message->answer.ticket != 0 ||
        !is_filled((const uint8_t *)message->data + sizeof(number),
                   message->bytes - sizeof(number), number)) {
        report->wrong++;
    }
    report->count++;
    run->inside = false;
}

static void
tell_report(void *context, const struct fabric_message *message)
{
    struct run *run = context;

    enter(run);
    fabric_port_answer(run->port, message->answer, CASCADE_OK,
                       &run->reports[message->from], sizeof(struct report));
    memset(&run->reports[message->from], 0, sizeof(struct report));
    run->inside = false;
}

static void
keep(void *context, const struct fabric_message *message)
{
    struct run *run = context;

    enter(run);
    fabric_port_answer(run->port, run->kept[message->from], CASCADE_CANCELLED,
                       NULL, 0);
    run->kept[message->from] = message->answer;
    run->inside = false;
}

static void
release(void *context, const struct fabric_message *message)
{
    struct run *run = context;

    enter(run);
    fabric_port_answer(run->port, run->kept[message->from], CASCADE_OK,
                       message->data, message->bytes);
    run->kept[message->from].ticket = 0;
    run->inside = false;
}

static void
refuse(void *context, const struct fabric_message *message)
{
    struct run *run = context;

    fabric_port_answer(run->port, message->answer, CASCADE_EXISTS, "no", 2);
}

static void
take_arrival(void *context, const struct fabric_message *message)
{
    struct run *run = context;

    (void)message;
    run->arrived++;
}

static void
tell_arrived(void *context, const struct fabric_message *message)
{
    struct run *run = context;

    fabric_port_answer(run->port, message->answer, CASCADE_OK, &run->arrived,
                       sizeof(run->arrived));
}

// --- cases

static enum cascade_status
ask(struct run *run, uint16_t to, enum subject subject, const void *data,
    size_t bytes, void *reply, size_t *reply_bytes)
{
    struct fabric_call call = {
        .to = to,
        .subject = (uint8_t)subject,
        .data = data,
        .bytes = bytes,
        .reply = reply,
        .reply_room = *reply_bytes,
        .deadline_ns = soon(run),
    };
    enum cascade_status status;

    // The queue may be full of what was asked or told before.
    while ((status = fabric_port_ask(run->port, &call)) == CASCADE_BUSY &&
           clock_steady_ns(run->suite->options.clock) < call.deadline_ns) {
        if (is_inline(run)) {
            (void)fabric_port_step(run->port);
        }
        pause_a_moment(run);
    }
    *reply_bytes = call.reply_bytes;
    return status;
}

static void
try_sizes(struct run *run)
{
    const size_t sizes[] = {0,   1,    7,    255,  256,
                            257, 4095, 4096, 4097, FABRIC_PAYLOAD_BYTES_MAX};
    uint8_t *reply = run->scratch + FABRIC_PAYLOAD_BYTES_MAX;

    for (uint16_t to = 0; to < run->count; to++) {
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            size_t room = sizes[i];

            fill(run->scratch, sizes[i], i);
            memset(reply, 0, sizes[i]);
            if (expect(run,
                       ask(run, to, SUBJECT_ECHO, run->scratch, sizes[i], reply,
                           &room) == CASCADE_OK,
                       "a question of any size is answered")) {
                (void)expect(run, room == sizes[i] && is_filled(reply, room, i),
                             "the answer is what was sent");
            }
        }
    }
}

static void
try_refusals(struct run *run)
{
    for (uint16_t to = 0; to < run->count; to++) {
        uint8_t reply[2] = {0};
        size_t room = sizeof(reply);

        (void)expect(run,
                     ask(run, to, SUBJECT_UNKNOWN, NULL, 0, reply, &room) ==
                         CASCADE_UNSUPPORTED,
                     "what nobody handles is refused");
        room = sizeof(reply);
        (void)expect(run,
                     ask(run, to, SUBJECT_REFUSE, NULL, 0, reply, &room) ==
                             CASCADE_EXISTS &&
                         room == 2 && reply[0] == 'n',
                     "a refusal comes with its bytes");
        room = 1;
        reply[0] = 1;
        (void)expect(run,
                     ask(run, to, SUBJECT_REFUSE, NULL, 0, reply, &room) ==
                             CASCADE_TOO_SMALL &&
                         reply[0] == 1,
                     "an answer without room is refused");
    }
}

static bool
tell(struct run *run, uint16_t to, enum subject subject, const void *data,
     size_t bytes)
{
    uint64_t end_ns = soon(run);
    enum cascade_status status;

    while ((status = fabric_port_tell(run->port, to, (uint8_t)subject, data,
                                      bytes)) == CASCADE_BUSY &&
           clock_steady_ns(run->suite->options.clock) < end_ns) {
        if (is_inline(run)) {
            (void)fabric_port_step(run->port);
        }
        pause_a_moment(run);
    }
    return expect(run, status == CASCADE_OK, "a notice is taken at last");
}

static void
tell_number(struct run *run, uint16_t to, uint64_t number)
{
    memcpy(run->scratch, &number, sizeof(number));
    fill(run->scratch + sizeof(number), notice_bytes(number) - sizeof(number),
         number);
    (void)tell(run, to, SUBJECT_NOTICE, run->scratch, notice_bytes(number));
}

static void
check_reports(struct run *run, uint16_t to, uint64_t count)
{
    struct report report = {0};
    size_t room = sizeof(report);

    if (expect(run,
               ask(run, to, SUBJECT_REPORT, NULL, 0, &report, &room) ==
                   CASCADE_OK,
               "a report comes")) {
        (void)expect(run, report.count == count,
                     "every notice came before what was sent after it, once");
        (void)expect(run, report.wrong == 0, "notices came in order and whole");
    }
}

static void
try_order(struct run *run)
{
    uint64_t messages = run->suite->messages;

    if (messages == 0) {
        messages = 300;
    }
    for (uint64_t i = 0; i < messages; i++) {
        for (uint16_t to = 0; to < run->count; to++) {
            tell_number(run, (uint16_t)((run->rank + to) % run->count), i);
        }
    }
    for (uint16_t to = 0; to < run->count; to++) {
        check_reports(run, to, messages);
    }
}

// As fast as it goes: either the notices are handled meanwhile, or the queue
// says BUSY.
static void
try_bounds(struct run *run)
{
    struct fabric_port_usage usage;
    uint64_t number = 0;
    uint64_t most = (uint64_t)QUEUE_DEPTH_MAX * 2;

    while (number < most) {
        memcpy(run->scratch, &number, sizeof(number));
        fill(run->scratch + sizeof(number),
             notice_bytes(number) - sizeof(number), number);
        if (fabric_port_tell(run->port, run->next, SUBJECT_NOTICE, run->scratch,
                             notice_bytes(number)) != CASCADE_OK) {
            break;
        }
        number++;
    }
    fabric_port_usage(run->port, &usage);
    (void)expect(run, usage.queue_depth <= QUEUE_DEPTH_MAX,
                 "the queue is bounded");
    (void)expect(run, number > 0, "the queue has room for something");
    tell_number(run, run->next, number);
    check_reports(run, run->next, number + 1);
}

static void
try_deadlines(struct run *run)
{
    uint32_t reply = 0;
    struct fabric_call call = {
        .to = run->next,
        .subject = SUBJECT_KEEP,
        .reply = &reply,
        .reply_room = sizeof(reply),
    };
    size_t none = 0;
    uint32_t word = 1;

    call.deadline_ns = clock_deadline_ns(run->suite->options.clock,
                                         20 * MILLISECOND_NS);
    (void)expect(run, fabric_port_ask(run->port, &call) == CASCADE_TIMEOUT,
                 "what is not answered in time has timed out");
    // The answer comes now, and finds nobody.
    (void)tell(run, run->next, SUBJECT_RELEASE, &word, sizeof(word));
    (void)expect(run,
                 ask(run, run->next, SUBJECT_ECHO, NULL, 0, NULL, &none) ==
                     CASCADE_OK,
                 "the next question is answered");
    (void)expect(run, reply == 0 && call.status == CASCADE_TIMEOUT,
                 "a late answer changes nothing");
    // Kept, and answered in time.
    word = 2;
    call.deadline_ns = soon(run);
    fabric_port_begin(run->port, &call);
    (void)tell(run, run->next, SUBJECT_RELEASE, &word, sizeof(word));
    fabric_port_wait(run->port, &call, 1);
    (void)expect(run, call.status == CASCADE_OK && reply == 2,
                 "an answer may come after its handler returned");
    call.deadline_ns = 0;
    (void)expect(run, fabric_port_ask(run->port, &call) == CASCADE_TIMEOUT,
                 "a deadline that has passed is a time-out");
    word = 3;
    (void)tell(run, run->next, SUBJECT_RELEASE, &word, sizeof(word));
    (void)expect(run, reply == 2, "and its answer is dropped");
}

static void
try_many_calls(struct run *run)
{
    struct fabric_call calls[CALLS];
    uint64_t numbers[CALLS];
    uint64_t replies[CALLS];
    unsigned right = 0;

    for (unsigned i = 0; i < CALLS; i++) {
        numbers[i] = (uint64_t)run->rank << 32 | i;
        calls[i] = (struct fabric_call){
            .to = (uint16_t)((run->rank + i) % run->count),
            .subject = SUBJECT_ECHO,
            .data = &numbers[i],
            .bytes = sizeof(numbers[i]),
            .reply = &replies[i],
            .reply_room = sizeof(replies[i]),
            .deadline_ns = soon(run),
        };
        fabric_port_begin(run->port, &calls[i]);
    }
    fabric_port_wait(run->port, calls, CALLS);
    for (unsigned i = 0; i < CALLS; i++) {
        right += calls[i].status == CASCADE_OK && replies[i] == numbers[i];
    }
    (void)expect(run, right == CALLS, "all of many questions are answered");
}

struct bulk {
    struct fabric_transfer transfer;
    _Atomic uint32_t *ended;
    enum cascade_status status;
};

static void
end_bulk(struct fabric_transfer *transfer, enum cascade_status status)
{
    struct bulk *bulk = transfer->context;

    bulk->status = status;
    atomic_fetch_add(bulk->ended, 1);
}

static void
begin_bulk(struct run *run, bool pushing, uint64_t tag, uint8_t *memory,
           uint64_t bytes, struct bulk *bulk, _Atomic uint32_t *ended)
{
    bulk->ended = ended;
    bulk->status = CASCADE_INVALID;
    bulk->transfer.ended = end_bulk;
    bulk->transfer.context = bulk;
    if (pushing) {
        fabric_port_push(run->port, run->next, tag, memory, bytes,
                         &bulk->transfer);
    } else {
        fabric_port_land(run->port, run->before, tag, memory, bytes,
                         &bulk->transfer);
    }
}

static void
meet(struct run *run)
{
    (void)expect(run, fabric_port_barrier(run->port, soon(run)) == CASCADE_OK,
                 "all ranks meet");
}

static void
try_bulk_size(struct run *run, uint64_t bytes, bool push_first)
{
    uint8_t *from = malloc(bytes + 1);
    uint8_t *to = calloc(1, bytes + 1);
    struct bulk push;
    struct bulk land;
    _Atomic uint32_t ended = 0;
    uint64_t tag = bytes << 1 | push_first;

    if (!expect(run, from != NULL && to != NULL, "there is memory")) {
        exit(1);
    }
    fill(from, bytes, run->rank + bytes);
    if (push_first) {
        begin_bulk(run, true, tag, from, bytes, &push, &ended);
        meet(run);
        begin_bulk(run, false, tag, to, bytes, &land, &ended);
    } else {
        begin_bulk(run, false, tag, to, bytes, &land, &ended);
        meet(run);
        begin_bulk(run, true, tag, from, bytes, &push, &ended);
    }
    if (await(run, &ended, 2)) {
        (void)expect(run,
                     push.status == CASCADE_OK && land.status == CASCADE_OK,
                     "bulk of any size ends well");
        (void)expect(run, is_filled(to, bytes, run->before + bytes),
                     "bulk arrives as it was");
        free(from);
        free(to);
    }
    // What did not end in time may still be written to: left alone.
    meet(run);
}

static void
try_bulk(struct run *run)
{
    const uint64_t sizes[] = {0,        1,       4095,
                              64 * KIB, MIB + 1, run->suite->bulk_bytes_max};

    if (!(run->suite->options.fabric.capabilities & FABRIC_BULK)) {
        return;
    }
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint64_t bytes = sizes[i];

        if (i == sizeof(sizes) / sizeof(sizes[0]) - 1 && bytes == 0) {
            bytes = 64 * MIB;
        }
        try_bulk_size(run, bytes, true);
        try_bulk_size(run, bytes, false);
    }
}

// Many at once, landed in another order than they were pushed.
static void
try_bulk_tags(struct run *run)
{
    enum {
        BYTES = 10000
    };
    static const uint64_t tag_base = (uint64_t)1 << 40;
    uint8_t *from = malloc((size_t)TAGS * BYTES);
    uint8_t *to = calloc(TAGS, BYTES);
    struct bulk bulk[2 * TAGS];
    _Atomic uint32_t ended = 0;

    if (!(run->suite->options.fabric.capabilities & FABRIC_BULK)) {
        free(from);
        free(to);
        return;
    }
    for (unsigned i = 0; i < TAGS; i++) {
        fill(from + (size_t)i * BYTES, BYTES, (uint64_t)run->rank * TAGS + i);
        begin_bulk(run, true, tag_base + i, from + (size_t)i * BYTES, BYTES,
                   &bulk[i], &ended);
    }
    for (unsigned i = TAGS; i-- > 0;) {
        begin_bulk(run, false, tag_base + i, to + (size_t)i * BYTES, BYTES,
                   &bulk[TAGS + i], &ended);
    }
    if (await(run, &ended, 2 * TAGS)) {
        for (unsigned i = 0; i < TAGS; i++) {
            (void)expect(run,
                         is_filled(to + (size_t)i * BYTES, BYTES,
                                   (uint64_t)run->before * TAGS + i),
                         "bulk lands under its tag");
        }
        free(from);
        free(to);
    }
}

static void
try_barrier(struct run *run)
{
    for (uint64_t i = 1; i <= 10; i++) {
        uint64_t arrived = 0;
        size_t room = sizeof(arrived);

        // Ranks come at moments of their own.
        for (unsigned j = 0; j < run->rank * i % 4; j++) {
            pause_a_moment(run);
        }
        (void)tell(run, 0, SUBJECT_ARRIVE, NULL, 0);
        meet(run);
        (void)expect(run,
                     ask(run, 0, SUBJECT_ARRIVED, NULL, 0, &arrived, &room) ==
                             CASCADE_OK &&
                         arrived >= i * run->count,
                     "nobody leaves a barrier before all have come");
    }
}

struct ticking {
    struct fabric_post post;
    struct fabric_timer timer;
    struct run *run;
    _Atomic uint32_t rang;
};

static void
ring(struct fabric_timer *timer)
{
    struct ticking *ticking = timer->context;

    atomic_fetch_add(&ticking->rang, 1);
}

static void
arm(struct fabric_post *post)
{
    struct ticking *ticking = post->context;

    fabric_port_arm(ticking->run->port, &ticking->timer, MILLISECOND_NS);
}

static void
try_timers(struct run *run)
{
    struct ticking ticking = {
        .post = {.run = arm},
        .timer = {.run = ring},
        .run = run,
    };

    ticking.post.context = &ticking;
    ticking.timer.context = &ticking;
    fabric_port_post(run->port, &ticking.post);
    (void)await(run, &ticking.rang, 1);
}

static void *
ask_around(void *context)
{
    struct run *run = context;

    for (unsigned i = 0; i < 500; i++) {
        uint64_t number = i * 3u + (uint64_t)(uintptr_t)&number;
        uint64_t reply = 0;
        size_t room = sizeof(reply);

        if (!expect(run,
                    ask(run, (uint16_t)(i % run->count), SUBJECT_ECHO, &number,
                        sizeof(number), &reply, &room) == CASCADE_OK &&
                        reply == number,
                    "threads get their own answers")) {
            break;
        }
    }
    return NULL;
}

static void
try_threads(struct run *run)
{
    pthread_t threads[THREADS_MAX];
    unsigned count = run->suite->threads;

    if (count > THREADS_MAX) {
        count = THREADS_MAX;
    }
    for (unsigned i = 0; i < count; i++) {
        if (!expect(run,
                    pthread_create(&threads[i], NULL, ask_around, run) == 0,
                    "a thread starts")) {
            count = i;
        }
    }
    for (unsigned i = 0; i < count; i++) {
        (void)pthread_join(threads[i], NULL);
    }
}

static const struct {
    const char *name;
    void (*run)(struct run *run);
} cases[] = {
    {"sizes", try_sizes},         {"refusals", try_refusals},
    {"order", try_order},         {"bounds", try_bounds},
    {"deadlines", try_deadlines}, {"many calls", try_many_calls},
    {"bulk", try_bulk},           {"bulk by tag", try_bulk_tags},
    {"barrier", try_barrier},     {"timers", try_timers},
    {"threads", try_threads},
};

static void
handle_all(struct run *run)
{
    static const struct {
        enum subject subject;
        fabric_handler *handle;
    } handlers[] = {
        {SUBJECT_ECHO, echo},           {SUBJECT_NOTICE, take_notice},
        {SUBJECT_REPORT, tell_report},  {SUBJECT_KEEP, keep},
        {SUBJECT_RELEASE, release},     {SUBJECT_REFUSE, refuse},
        {SUBJECT_ARRIVE, take_arrival}, {SUBJECT_ARRIVED, tell_arrived},
    };

    for (size_t i = 0; i < sizeof(handlers) / sizeof(handlers[0]); i++) {
        fabric_port_handle(run->port, (uint8_t)handlers[i].subject,
                           handlers[i].handle, run);
    }
}

static void
run_cases(struct run *run)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int before = run->failures;

        run->what = cases[i].name;
        meet(run);
        cases[i].run(run);
        if (run->failures != before) {
            (void)fprintf(stderr, "%s, rank %u: %s failed\n", run->suite->name,
                          run->rank, run->what);
        }
    }
    meet(run);
}

int
fabric_suite_run(const struct fabric_suite *suite)
{
    const struct fabric *fabric = &suite->options.fabric;
    struct run run = {
        .suite = suite,
        .rank = fabric->rank,
        .count = fabric->rank_count,
        .next = (uint16_t)((fabric->rank + 1) % fabric->rank_count),
        .before = (uint16_t)((fabric->rank + fabric->rank_count - 1) %
                             fabric->rank_count),
        .what = "open",
    };

    run.reports = calloc(run.count, sizeof(*run.reports));
    run.kept = calloc(run.count, sizeof(*run.kept));
    run.scratch = malloc(2 * FABRIC_PAYLOAD_BYTES_MAX);
    if (run.reports == NULL || run.kept == NULL || run.scratch == NULL ||
        fabric_port_open(&suite->options, &run.port) != CASCADE_OK) {
        (void)expect(&run, false, "the port opens");
        return run.failures;
    }
    handle_all(&run);
    if (!expect(&run, fabric_port_start(run.port) == CASCADE_OK,
                "the port starts")) {
        return run.failures;
    }
    if (suite->started != NULL) {
        suite->started(suite->context, run.port);
    }
    run_cases(&run);
    if (suite->stopping != NULL) {
        suite->stopping(suite->context, run.port);
    }
    fabric_port_close(run.port);
    free(run.reports);
    free(run.kept);
    free(run.scratch);
    return run.failures;
}
