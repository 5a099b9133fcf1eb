// SPDX-License-Identifier: Apache-2.0
//
// The MPI fabric itself, through its table, as each rank of a job. Arguments
// are names of tests, run one after the other, each with a fabric of its own.

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cluster/cluster.h"

#define MIB ((uint64_t)1 << 20)

// --- messages: in order, once, whole; every rank to every rank

#define MESSAGES 300

struct mail {
    const struct fabric *fabric;
    uint32_t received[FABRIC_RANKS_MAX];
    uint32_t total;
    int replies; // messages sent from within the sink
};

static size_t
message_bytes(uint16_t from, uint32_t number)
{
    static const size_t sizes[] = {8, 9, 64, 4096, 16384, 16385, 65535, 65536};
    size_t at = (number * 7 + from) % (2 * sizeof(sizes) / sizeof(sizes[0]));
    return at < sizeof(sizes) / sizeof(sizes[0]) ? sizes[at] : 8 + number % 500;
}

static void
take_message(void *context, uint16_t from, const void *data, size_t bytes)
{
    struct mail *mail = context;
    uint32_t number = mail->received[from]++;
    uint64_t stream = 0;
    expect(bytes == message_bytes(from, number));
    memcpy(&stream, data, sizeof(stream));
    expect(stream == ((uint64_t)from << 32 | number));
    expect(cluster_is_filled((const uint8_t *)data + 8, bytes - 8, stream));
    mail->total++;
}

static void
nobody_is_lost(void *context, uint16_t rank)
{
    (void)context;
    (void)rank;
    expect(!"a rank was lost");
}

static void
test_messages(uint32_t messages)
{
    struct fabric_module_options options = cluster_options();
    struct fabric fabric = cluster_open(&options);
    static struct mail mail;
    memset(&mail, 0, sizeof(mail));
    mail.fabric = &fabric;
    static uint8_t buffer[FABRIC_MESSAGE_BYTES_MAX];
    struct fabric_sink sink = {&mail, take_message, nobody_is_lost};
    fabric.table->start(fabric.self, &sink);
    expect(fabric.table->send(fabric.self, fabric.rank_count, buffer, 8) ==
           CASCADE_INVALID);
    expect(fabric.table->send(fabric.self, 0, buffer,
                              FABRIC_MESSAGE_BYTES_MAX + 1) == CASCADE_INVALID);
    uint32_t busy = 0;
    for (uint32_t number = 0; number < messages; number++) {
        size_t bytes = message_bytes(fabric.rank, number);
        uint64_t stream = (uint64_t)fabric.rank << 32 | number;
        memcpy(buffer, &stream, sizeof(stream));
        cluster_fill(buffer + 8, bytes - 8, stream);
        for (uint32_t step = 0; step < fabric.rank_count; step++) {
            uint16_t to = (uint16_t)((fabric.rank + step) % fabric.rank_count);
            while (fabric.table->send(fabric.self, to, buffer, bytes) ==
                   CASCADE_BUSY) {
                busy++;
                cluster_turn(&fabric);
            }
        }
    }
    while (mail.total < messages * fabric.rank_count) {
        cluster_turn(&fabric);
    }
    for (uint32_t from = 0; from < fabric.rank_count; from++) {
        expect(mail.received[from] == messages);
    }
    if (fabric.rank == 0) {
        printf("messages: %u to each of %u ranks; busy %u times\n", messages,
               (unsigned)fabric.rank_count, busy);
    }
    fabric.table->close(fabric.self);
}

// --- bulk

static uint32_t notes; // messages that came

static void
count_message(void *context, uint16_t from, const void *data, size_t bytes)
{
    (void)context;
    (void)from;
    (void)data;
    (void)bytes;
    notes++;
}

static void
ignore_loss(void *context, uint16_t rank)
{
    (void)context;
    (void)rank;
}

static struct fabric
open_quietly(const struct fabric_module_options *options)
{
    static const struct fabric_sink sink = {NULL, count_message, ignore_loss};
    struct fabric fabric = cluster_open(options);
    fabric.table->start(fabric.self, &sink);
    return fabric;
}

// Drives until a round of bulk transfers has met every rank.
static void
meet(const struct fabric *fabric)
{
    for (uint32_t distance = 1; distance < fabric->rank_count; distance *= 2) {
        struct cluster_transfer push;
        struct cluster_transfer land;
        uint16_t to = (uint16_t)((fabric->rank + distance) %
                                 fabric->rank_count);
        uint16_t from = (uint16_t)((fabric->rank + fabric->rank_count -
                                    distance) %
                                   fabric->rank_count);
        uint64_t tag = ((uint64_t)1 << 63) + distance;
        enum cascade_status status = CASCADE_BUSY;
        while (status == CASCADE_BUSY) {
            status = fabric->table->land(fabric->self, from, tag, NULL, 0,
                                         cluster_transfer(&land));
            cluster_turn(fabric);
        }
        expect(status == CASCADE_OK);
        expect(fabric->table->push(fabric->self, to, tag, NULL, 0,
                                   cluster_transfer(&push)) == CASCADE_OK);
        cluster_finish(fabric, &push);
        cluster_finish(fabric, &land);
        expect(push.status == CASCADE_OK && land.status == CASCADE_OK);
    }
}

// One of each size under way at once, to every distance; the order in which
// push and land are asked for changes.
static void
exchange(const struct fabric *fabric, const uint64_t *sizes, size_t count,
         uint32_t distance)
{
    uint16_t to = (uint16_t)((fabric->rank + distance) % fabric->rank_count);
    uint16_t from = (uint16_t)((fabric->rank + fabric->rank_count - distance) %
                               fabric->rank_count);
    struct cluster_transfer *pushes = calloc(count, sizeof(*pushes));
    struct cluster_transfer *lands = calloc(count, sizeof(*lands));
    uint8_t **sources = calloc(count, sizeof(*sources));
    uint8_t **targets = calloc(count, sizeof(*targets));
    expect(pushes && lands && sources && targets);
    for (size_t at = 0; at < count; at++) {
        sources[at] = malloc(sizes[at] + 1);
        targets[at] = calloc(1, sizes[at] + 1);
        expect(sources[at] != NULL && targets[at] != NULL);
        cluster_fill(sources[at], sizes[at], fabric->rank * 1000u + at);
        targets[at][sizes[at]] = 0x5a;
    }
    for (size_t step = 0; step < 2 * count; step++) {
        size_t at = step % count;
        uint64_t tag = 0xfeedf00d00000000u + at;
        bool pushes_now = (step < count) == ((at + fabric->rank) % 2 == 0);
        if (pushes_now) {
            expect(fabric->table->push(
                       fabric->self, to, tag, sources[at], sizes[at],
                       cluster_transfer(&pushes[at])) == CASCADE_OK);
        } else {
            expect(fabric->table->land(
                       fabric->self, from, tag, targets[at], sizes[at],
                       cluster_transfer(&lands[at])) == CASCADE_OK);
        }
        cluster_turn(fabric);
    }
    for (size_t at = 0; at < count; at++) {
        cluster_finish(fabric, &pushes[at]);
        cluster_finish(fabric, &lands[at]);
        expect(pushes[at].status == CASCADE_OK);
        expect(lands[at].status == CASCADE_OK);
        expect(cluster_is_filled(targets[at], sizes[at], from * 1000u + at));
        expect(targets[at][sizes[at]] == 0x5a);
        free(sources[at]);
        free(targets[at]);
    }
    free(pushes);
    free(lands);
    free(sources);
    free(targets);
}

static void
test_bulk(void)
{
    static const uint64_t sizes[] = {0,       1,   4097,    65536,
                                     MIB - 1, MIB, MIB + 1, 3 * MIB + 5,
                                     8 * MIB, 0,   17,      8 * MIB + 1};
    static const uint64_t huge[] = {64 * MIB};
    size_t count = sizeof(sizes) / sizeof(sizes[0]);
    struct fabric_module_options options = cluster_options();
    options.chunk_bytes = MIB; // so that many sizes have several
    struct fabric fabric = open_quietly(&options);
    expect((fabric.capabilities & FABRIC_BULK) != 0);
    expect((fabric.capabilities & FABRIC_RELIABLE) != 0);
    for (uint32_t distance = 0; distance < fabric.rank_count; distance++) {
        exchange(&fabric, sizes, distance < 2 ? count : 4, distance);
    }
    if (fabric.rank_count <= 2) {
        exchange(&fabric, huge, 1, 1);
    }
    meet(&fabric);
    fabric.table->close(fabric.self);
}

// More than 2 GiB in one transfer, with chunks of the default size.
static void
test_large(void)
{
    static const uint64_t sizes[] = {2200 * MIB + 12345};
    struct fabric_module_options options = cluster_options();
    struct fabric fabric = open_quietly(&options);
    exchange(&fabric, sizes, 1, 1);
    meet(&fabric);
    fabric.table->close(fabric.self);
}

#define LANDINGS 4096
#define LANDINGS_PUSHED 16

static struct cluster_transfer busy_lands[LANDINGS];

// As many landings as there may be: then BUSY, and room again when some have
// ended. The rest ends with the fabric.
static void
test_busy(const struct fabric *fabric, uint16_t from, uint16_t to)
{
    static uint8_t memory[16];
    static struct cluster_transfer pushes[LANDINGS_PUSHED];
    uint32_t begun = 0;
    for (uint32_t refused = 0; refused < 2000;) {
        enum cascade_status status = fabric->table->land(
            fabric->self, from, begun, memory, sizeof(memory),
            cluster_transfer(&busy_lands[begun]));
        expect(status == CASCADE_OK || status == CASCADE_BUSY);
        refused = status == CASCADE_BUSY ? refused + 1 : 0;
        begun += status == CASCADE_OK ? 1 : 0;
        expect(begun < LANDINGS);
        cluster_turn(fabric);
    }
    expect(begun >= LANDINGS_PUSHED);
    // Pushed to when it is full, so that there is room in the end.
    enum cascade_status told = CASCADE_BUSY;
    while (told == CASCADE_BUSY || notes == 0) {
        if (told == CASCADE_BUSY) {
            told = fabric->table->send(fabric->self, from, "", 1);
        }
        cluster_turn(fabric);
    }
    expect(told == CASCADE_OK);
    for (uint32_t at = 0; at < LANDINGS_PUSHED; at++) {
        expect(fabric->table->push(fabric->self, to, at, memory, sizeof(memory),
                                   cluster_transfer(&pushes[at])) ==
               CASCADE_OK);
    }
    for (uint32_t at = 0; at < LANDINGS_PUSHED; at++) {
        cluster_finish(fabric, &pushes[at]);
        cluster_finish(fabric, &busy_lands[at]);
        expect(busy_lands[at].status == CASCADE_OK);
    }
    meet(fabric);
}

// A landing that does not fit what is pushed, whichever comes first.
static void
test_refusal(void)
{
    struct fabric_module_options options = cluster_options();
    struct fabric fabric = open_quietly(&options);
    uint16_t to = (uint16_t)((fabric.rank + 1) % fabric.rank_count);
    uint16_t from = (uint16_t)((fabric.rank + fabric.rank_count - 1) %
                               fabric.rank_count);
    static uint8_t memory[65536];
    for (uint64_t round = 0; round < 20; round++) {
        struct cluster_transfer push;
        struct cluster_transfer land;
        bool first = (round + fabric.rank) % 2 == 0;
        for (int step = 0; step < 2; step++) {
            if ((step == 0) == first) {
                expect(fabric.table->push(fabric.self, to, round, memory, 1000,
                                          cluster_transfer(&push)) ==
                       CASCADE_OK);
            } else {
                expect(fabric.table->land(
                           fabric.self, from, round, memory, sizeof(memory),
                           cluster_transfer(&land)) == CASCADE_OK);
            }
            for (uint64_t turn = 0; turn < round; turn++) {
                cluster_turn(&fabric);
            }
        }
        cluster_finish(&fabric, &push);
        cluster_finish(&fabric, &land);
        expect(push.status == CASCADE_INVALID);
        expect(land.status == CASCADE_INVALID);
    }
    test_busy(&fabric, from, to);
    fabric.table->close(fabric.self);
    for (uint32_t at = 0; at < LANDINGS; at++) {
        expect(busy_lands[at].ended <= 1);
    }
}

// --- one-sided reads

static void
read_pieces(const struct fabric *fabric, uint16_t from, uint64_t bytes)
{
    static const uint64_t lengths[] = {1, 0, 4096, 65537, 3 * MIB + 1};
    uint8_t *target = malloc(bytes);
    expect(target != NULL);
    for (size_t at = 0; at < sizeof(lengths) / sizeof(lengths[0]); at++) {
        struct cluster_transfer read;
        uint64_t offset = at * 777;
        expect(fabric->table->read(fabric->self, from, offset, target,
                                   lengths[at],
                                   cluster_transfer(&read)) == CASCADE_OK);
        cluster_finish(fabric, &read);
        expect(read.status == CASCADE_OK);
        for (uint64_t byte = 0; byte < lengths[at]; byte++) {
            expect(target[byte] == cluster_byte(from, offset + byte));
        }
    }
    struct cluster_transfer read;
    expect(fabric->table->read(fabric->self, from, bytes, target, 1,
                               cluster_transfer(&read)) == CASCADE_INVALID);
    expect(fabric->table->read(fabric->self, from, 1, target, UINT64_MAX,
                               cluster_transfer(&read)) == CASCADE_INVALID);
    free(target);
}

static void
test_read(enum fabric_windows windows)
{
    uint64_t bytes = 5 * MIB + 3;
    uint8_t *memory = malloc(bytes);
    expect(memory != NULL);
    struct fabric_module_options options = cluster_options();
    options.memory = memory;
    options.memory_bytes = bytes;
    options.windows = windows;
    options.chunk_bytes = MIB;
    options.window_timeout_ns = (uint64_t)10000 * 1000000;
    cluster_fill(memory, bytes, 4242);
    struct fabric fabric = open_quietly(&options);
    // The probe has put back what it overwrote.
    expect(cluster_is_filled(memory, bytes, 4242));
    cluster_fill(memory, bytes, fabric.rank);
    meet(&fabric); // everybody has written
    bool can = (fabric.capabilities & FABRIC_READ) != 0;
    if (fabric.rank == 0) {
        printf("read: windows %s: %s\n",
               windows == FABRIC_WINDOWS_OFF    ? "off"
               : windows == FABRIC_WINDOWS_AUTO ? "auto"
                                                : "on",
               can ? "offered" : "not offered");
    }
    expect(windows != FABRIC_WINDOWS_OFF || !can);
    if (can) {
        read_pieces(&fabric, (uint16_t)((fabric.rank + 1) % fabric.rank_count),
                    bytes);
        read_pieces(&fabric, fabric.rank, bytes);
    } else {
        struct cluster_transfer read;
        expect(fabric.table->read(fabric.self, 0, 0, memory, 1,
                                  cluster_transfer(&read)) ==
               CASCADE_UNSUPPORTED);
    }
    meet(&fabric); // nobody reads any more
    fabric.table->close(fabric.self);
    free(memory);
}

// --- what is under way at close ends with CLOSED, once

static void
test_close(void)
{
    struct fabric_module_options options = cluster_options();
    struct fabric fabric = open_quietly(&options);
    static uint8_t memory[2][65536];
    struct cluster_transfer push;
    struct cluster_transfer land;
    uint16_t to = (uint16_t)((fabric.rank + 1) % fabric.rank_count);
    expect(fabric.table->push(fabric.self, to, 1, memory[0], sizeof(memory[0]),
                              cluster_transfer(&push)) == CASCADE_OK);
    expect(fabric.table->land(fabric.self, to, 2, memory[1], sizeof(memory[1]),
                              cluster_transfer(&land)) == CASCADE_OK);
    meet(&fabric);
    expect(push.ended == 0 && land.ended == 0);
    fabric.table->close(fabric.self);
    expect(push.ended == 1 && push.status == CASCADE_CLOSED);
    expect(land.ended == 1 && land.status == CASCADE_CLOSED);
}

// --- ends that are not orderly

// The first rank closes long before the others, and gives them no time; it is
// made good when the process exits, and everything ends well.
static void
test_late(void)
{
    struct fabric_module_options options = cluster_options();
    options.close_timeout_ns = 20 * (uint64_t)1000000;
    struct fabric fabric = open_quietly(&options);
    meet(&fabric);
    uint64_t until_ns = cluster_now_ns() + 700 * (uint64_t)1000000;
    while (fabric.rank != 0 && cluster_now_ns() < until_ns) {
        cluster_turn(&fabric);
    }
    fabric.table->close(fabric.self);
}

// Runs this program again, as a child of a rank: which must not be one.
static void
test_child(void)
{
    struct fabric_module_options options = cluster_options();
    struct fabric fabric = open_quietly(&options);
    pid_t child = fork();
    if (child == 0) {
        execl("/proc/self/exe", "cluster_fabric", "is_child", (char *)NULL);
        _exit(3);
    }
    int status = -1;
    expect(waitpid(child, &status, 0) == child && status == 0);
    // One that is forked only has this one's MPI, and must not use it.
    child = fork();
    if (child == 0) {
        char reason[FABRIC_REASON_BYTES];
        struct fabric other;
        bool refused = fabric_module_open("auto", &options, &other, reason) ==
                           CASCADE_OK &&
                       strcmp(other.table->name, "self") == 0;
        _exit(refused ? 0 : 4);
    }
    expect(waitpid(child, &status, 0) == child && status == 0);
    meet(&fabric);
    fabric.table->close(fabric.self);
}

static void
test_is_child(void)
{
    struct fabric_module_options options = cluster_options();
    struct fabric fabric;
    char reason[FABRIC_REASON_BYTES];
    expect(fabric_module_open("auto", &options, &fabric, reason) == CASCADE_OK);
    expect(strcmp(fabric.table->name, "self") == 0);
    expect(fabric_module_open("mpi", &options, &fabric, reason) ==
           CASCADE_UNSUPPORTED);
}

// A rank dies, the others wait for it: the launcher must end the job.
static void
test_killed(void)
{
    struct fabric_module_options options = cluster_options();
    struct fabric fabric = open_quietly(&options);
    meet(&fabric);
    if (fabric.rank == fabric.rank_count - 1) {
        (void)raise(SIGKILL);
    }
    fabric.table->close(fabric.self);
}

// A rank ends with its fabric open.
static void
test_leaves(void)
{
    struct fabric_module_options options = cluster_options();
    struct fabric fabric = open_quietly(&options);
    meet(&fabric);
    if (fabric.rank != fabric.rank_count - 1) {
        fabric.table->close(fabric.self);
    }
}

int
main(int count, char **names)
{
    for (int at = 1; at < count; at++) {
        const char *name = names[at];
        if (strcmp(name, "messages") == 0) {
            test_messages(MESSAGES);
        } else if (strcmp(name, "bulk") == 0) {
            test_bulk();
        } else if (strcmp(name, "large") == 0) {
            test_large();
        } else if (strcmp(name, "refusal") == 0) {
            test_refusal();
        } else if (strcmp(name, "read") == 0) {
            test_read(FABRIC_WINDOWS_OFF);
            test_read(FABRIC_WINDOWS_AUTO);
            test_read(FABRIC_WINDOWS_ON);
        } else if (strcmp(name, "close") == 0) {
            test_close();
        } else if (strcmp(name, "late") == 0) {
            test_late();
        } else if (strcmp(name, "child") == 0) {
            test_child();
        } else if (strcmp(name, "is_child") == 0) {
            test_is_child();
        } else if (strcmp(name, "killed") == 0) {
            test_killed();
        } else if (strcmp(name, "leaves") == 0) {
            test_leaves();
        } else if (strcmp(name, "many") == 0) {
            for (int round = 0; round < 10; round++) {
                test_messages(10 * MESSAGES);
                test_bulk();
            }
        } else {
            (void)fprintf(stderr, "no test is called %s\n", name);
            return 2;
        }
    }
    return 0;
}
