// SPDX-License-Identifier: Apache-2.0
//
// Readers in processes of their own against an owner that evicts, forces out
// and fills again all the time: no read ever gives a byte of another block, also
// if readers are stopped, go on and are killed in the middle. The negative
// control reads without pins and must be caught.
//
// What the processes share is a board of places and counters. They are forked
// while there is one thread. CASCADE_TEST_READS is how many reads are wanted.

#include <inttypes.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/units.h"
#include "support/fabric_local.h"
#include "tier/tier_remote.h"

#define JOB 4711
#define ENTRIES 16
#define READERS 2
#define RANKS (1 + READERS)
#define BLOCK_BYTES_MAX (256 * KIB)
#define SMALL_BYTES (4 * KIB)
#define WAIT_NS UINT64_C(20000000000)
#define CONTROL_NS UINT64_C(30000000000)
#define READS 60000

// Where a content is. Written by the owner, with an odd number meanwhile.
struct entry {
    _Atomic uint64_t turn;
    struct block_place place;
    uint64_t content;
};

struct counters {
    _Atomic uint64_t reads;
    _Atomic uint64_t stale;
    _Atomic uint64_t wrong;
    _Atomic uint64_t failed;
    _Atomic bool ready;
};

struct board {
    struct fabric_node_address address; // of the owner
    _Atomic bool told;
    _Atomic bool over;
    struct entry entries[ENTRIES];
    struct counters readers[READERS];
};

struct setting {
    bool skip_pins;
    bool stops;     // readers pin the first entry, and stop
    uint64_t bytes; // of a block, at most
};

struct owner {
    struct tier_dram *dram;
    struct fabric_node *node;
    struct board *board;
    uint64_t content;
    uint64_t random;
    uint64_t puts;
    uint64_t busy;
    uint64_t full;
    bool empty[ENTRIES];
    pid_t readers[READERS];
};

static uint8_t data[BLOCK_BYTES_MAX];

static uint64_t
next_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + 1442695040888963407;
    return *state >> 33;
}

static uint64_t
word_of(uint64_t content, uint64_t index)
{
    return content * UINT64_C(0x9e3779b97f4a7c15) + index;
}

static bool
is_content(const uint8_t *bytes, uint64_t count, uint64_t content)
{
    for (uint64_t i = 0; i * 8 < count; i++) {
        uint64_t word;

        memcpy(&word, bytes + i * 8, sizeof(word));
        if (word != word_of(content, i)) {
            return false;
        }
    }
    return true;
}

static struct fabric_node *
open_node(uint16_t rank)
{
    const struct fabric_node_options options = {
        .allocator = allocator_system(),
        .clock = clock_system(),
        .job = JOB,
        .rank = rank,
        .rank_count = RANKS,
    };
    struct fabric_node *node = NULL;

    return fabric_node_open(&options, &node) == CASCADE_OK ? node : NULL;
}

// --- the readers' processes

struct reader {
    struct fabric_node *node;
    struct fabric_port *port;
    struct tier_remote *remote;
    struct board *board;
    struct counters *counters;
    uint64_t random;
};

// Its port has nobody at the other end: what is not read by a hint fails.
static bool
open_reader(struct reader *reader, uint16_t rank, const struct setting *setting)
{
    struct fabric_local *local = fabric_local_make(RANKS);
    const struct fabric_port_options port = {
        .allocator = allocator_system(),
        .clock = clock_system(),
        .fabric = fabric_local_rank(local, rank, 0),
    };
    struct tier_remote_options remote = {
        .allocator = allocator_system(),
        .clock = clock_system(),
        .skip_pins = setting->skip_pins,
        .rung = TIER_REMOTE_NEAR,
    };

    reader->node = open_node(rank);
    if (reader->node == NULL ||
        fabric_port_open(&port, &reader->port) != CASCADE_OK) {
        return false;
    }
    remote.node = reader->node;
    remote.port = reader->port;
    return tier_remote_open(&remote, &reader->remote) == CASCADE_OK &&
           fabric_port_start(reader->port) == CASCADE_OK &&
           fabric_node_meet(reader->node, 0, &reader->board->address);
}

// A place as it was at some moment.
static bool
look_up(struct reader *reader, struct block_place *place, uint64_t *content)
{
    struct entry *entry =
        &reader->board->entries[next_random(&reader->random) % ENTRIES];
    uint64_t turn = atomic_load(&entry->turn);

    *place = entry->place;
    *content = entry->content;
    return turn % 2 == 0 && turn > 0 && place->bytes > 0 &&
           atomic_load(&entry->turn) == turn;
}

static void
read_one(struct reader *reader)
{
    const struct cascade_span span = {.data = data, .bytes = sizeof(data)};
    struct block_place place;
    uint64_t content;
    struct tier_remote_read read = {
        .rank = 0, .hint = &place, .spans = &span, .span_count = 1};
    enum cascade_status status;

    if (!look_up(reader, &place, &content)) {
        return;
    }
    read.bytes = place.bytes;
    status = tier_remote_read(reader->remote, &read);
    if (status == CASCADE_OK) {
        atomic_fetch_add(&reader->counters->reads, 1);
        if (!is_content(data, place.bytes, content)) {
            atomic_fetch_add(&reader->counters->wrong, 1);
        }
    } else if (status == CASCADE_TIMEOUT) {
        atomic_fetch_add(&reader->counters->stale, 1);
    } else {
        atomic_fetch_add(&reader->counters->failed, 1);
    }
}

// Pins the first entry as soon as it is there, and goes no further.
static void
pin_and_stop(struct reader *reader)
{
    struct entry *entry = &reader->board->entries[0];
    const void *words = NULL;
    uint64_t bytes = 0;

    while (atomic_load(&entry->turn) != 2) {
        (void)sched_yield();
    }
    if (fabric_node_map(reader->node, 0, FABRIC_NODE_WORDS, &words, &bytes) !=
            CASCADE_OK ||
        fabric_node_pin(reader->node, 0, entry->place.slot,
                        entry->place.generation) == NULL ||
        !tier_dram_peer_holds(words, bytes, &entry->place)) {
        atomic_fetch_add(&reader->counters->failed, 1);
    }
    (void)raise(SIGSTOP);
}

static void
be_reader(struct board *board, uint16_t rank, const struct setting *setting)
{
    struct reader reader = {
        .board = board,
        .counters = &board->readers[rank - 1],
        .random = rank,
    };

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (!atomic_load(&board->told)) {
        (void)sched_yield();
    }
    if (!open_reader(&reader, rank, setting)) {
        atomic_fetch_add(&reader.counters->failed, 1);
        atomic_store(&reader.counters->ready, true);
        _exit(1);
    }
    atomic_store(&reader.counters->ready, true);
    if (setting->stops) {
        pin_and_stop(&reader);
    }
    while (!atomic_load(&board->over)) {
        read_one(&reader);
    }
    _exit(0);
}

// --- the owner

static bool
is_watched(void *context, uint32_t slot, uint32_t generation)
{
    return fabric_node_is_pinned(context, slot, generation);
}

static void
open_owner(struct owner *owner, const struct setting *setting)
{
    const struct tier_dram_options options = {
        // A few blocks more than there are entries.
        .capacity_bytes = (ENTRIES + 4) * setting->bytes,
        .blocks_max = 2 * ENTRIES,
        .shares_words = true,
        .allocator = allocator_system(),
    };

    memset(owner, 0, sizeof(*owner));
    owner->random = 99;
    owner->board = mmap(NULL, sizeof(*owner->board), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(owner->board != MAP_FAILED);
    for (uint16_t i = 0; i < READERS; i++) {
        owner->readers[i] = fork();
        assert_true(owner->readers[i] >= 0);
        if (owner->readers[i] == 0) {
            be_reader(owner->board, (uint16_t)(i + 1), setting);
        }
    }
    assert_int_equal(tier_dram_open(&options, &owner->dram), CASCADE_OK);
    owner->node = open_node(0);
    assert_non_null(owner->node);
    fabric_node_offer(owner->node, FABRIC_NODE_ARENA,
                      arena_file(tier_dram_arena(owner->dram)),
                      arena_bytes(tier_dram_arena(owner->dram)));
    fabric_node_offer(owner->node, FABRIC_NODE_WORDS,
                      tier_dram_words_file(owner->dram),
                      tier_dram_words_bytes(owner->dram));
    tier_dram_watch(owner->dram, is_watched, owner->node);
    fabric_node_own_address(owner->node, &owner->board->address);
    atomic_store(&owner->board->told, true);
    for (uint32_t i = 0; i < ENTRIES; i++) {
        owner->empty[i] = true;
    }
    for (uint32_t i = 0; i < READERS; i++) {
        while (!atomic_load(&owner->board->readers[i].ready)) {
            (void)sched_yield();
        }
    }
}

static void
fill_entry(struct owner *owner, uint32_t index, uint64_t bytes)
{
    struct entry *entry = &owner->board->entries[index];
    const struct cascade_const_span span = {.data = data, .bytes = bytes};
    const struct block_label label = {.depth = 0};
    struct block_digest digest;
    struct tier_slot slot;
    uint64_t content = ++owner->content;

    if (tier_dram_table.reserve(owner->dram, bytes, &slot) != CASCADE_OK) {
        owner->full++;
        return;
    }
    for (uint64_t i = 0; i * 8 < bytes; i++) {
        uint64_t word = word_of(content, i);

        memcpy(data + i * 8, &word, sizeof(word));
    }
    assert_int_equal(
        tier_dram_table.write(owner->dram, &slot, &span, 1, 0, &digest),
        CASCADE_OK);
    atomic_fetch_add(&entry->turn, 1);
    entry->content = content;
    assert_int_equal(tier_dram_table.commit(owner->dram, &slot, &label, &digest,
                                            &entry->place),
                     CASCADE_OK);
    atomic_fetch_add(&entry->turn, 1);
    owner->empty[index] = false;
    owner->puts++;
}

// Puts another content into an entry, unless it is being read.
static void
replace_one(struct owner *owner, const struct setting *setting)
{
    uint32_t index = (uint32_t)(next_random(&owner->random) % ENTRIES);
    uint64_t steps = setting->bytes / SMALL_BYTES;
    uint64_t bytes = (1 + next_random(&owner->random) % steps) * SMALL_BYTES;

    if (!owner->empty[index]) {
        bool only_unpinned = next_random(&owner->random) % 4 != 0;
        enum cascade_status status = tier_dram_table.release(
            owner->dram, &owner->board->entries[index].place, only_unpinned);

        if (status == CASCADE_BUSY) {
            owner->busy++;
            return;
        }
        assert_int_equal(status, CASCADE_OK);
        owner->empty[index] = true;
    }
    fill_entry(owner, index, bytes);
}

static uint64_t
sum_of(const struct owner *owner, size_t offset)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < READERS; i++) {
        const char *counters = (const char *)&owner->board->readers[i];

        sum += atomic_load((const _Atomic uint64_t *)(counters + offset));
    }
    return sum;
}

#define SUM(owner, member) sum_of(owner, offsetof(struct counters, member))

static void
print_counters(const struct owner *owner)
{
    print_message("%" PRIu64 " puts, %" PRIu64 " busy, %" PRIu64
                  " full; %" PRIu64 " reads, %" PRIu64 " stale, %" PRIu64
                  " wrong\n",
                  owner->puts, owner->busy, owner->full, SUM(owner, reads),
                  SUM(owner, stale), SUM(owner, wrong));
}

static void
end_reader(struct owner *owner, uint32_t index)
{
    if (owner->readers[index] != 0) {
        assert_int_equal(kill(owner->readers[index], SIGKILL), 0);
        assert_int_equal(waitpid(owner->readers[index], NULL, 0),
                         owner->readers[index]);
        owner->readers[index] = 0;
    }
}

// Once every reader is dead, nothing is pinned and all space can be had.
static void
close_owner(struct owner *owner)
{
    uint64_t end = clock_deadline_ns(clock_system(), WAIT_NS);

    for (uint32_t i = 0; i < READERS; i++) {
        end_reader(owner, i);
    }
    while (fabric_node_pins(owner->node) > 0 &&
           clock_steady_ns(clock_system()) < end) {
        (void)sched_yield();
    }
    assert_int_equal(fabric_node_pins(owner->node), 0);
    assert_false(tier_dram_sweep(owner->dram));
    for (uint32_t i = 0; i < ENTRIES; i++) {
        if (!owner->empty[i]) {
            assert_int_equal(
                tier_dram_table.release(owner->dram,
                                        &owner->board->entries[i].place, true),
                CASCADE_OK);
        }
    }
    assert_true(tier_dram_is_valid(owner->dram));
    assert_int_equal(tier_dram_close(owner->dram), CASCADE_OK);
    fabric_node_close(owner->node);
    assert_int_equal(munmap(owner->board, sizeof(*owner->board)), 0);
}

static uint64_t
reads_wanted(void)
{
    const char *text = getenv("CASCADE_TEST_READS");

    return text != NULL ? strtoull(text, NULL, 10) : READS;
}

// Stops a reader wherever it is, for a few replacements.
static void
stop_and_go_on(struct owner *owner, const struct setting *setting,
               uint32_t index)
{
    assert_int_equal(kill(owner->readers[index], SIGSTOP), 0);
    assert_int_equal(waitpid(owner->readers[index], NULL, WUNTRACED),
                     owner->readers[index]);
    for (int i = 0; i < 200; i++) {
        replace_one(owner, setting);
    }
    assert_int_equal(kill(owner->readers[index], SIGCONT), 0);
}

static void
no_reader_ever_sees_another_block(void **state)
{
    const struct setting setting = {.bytes = 32 * KIB};
    struct owner owner;
    uint64_t wanted = reads_wanted();

    (void)state;
    open_owner(&owner, &setting);
    while (SUM(&owner, reads) < wanted && SUM(&owner, wrong) == 0 &&
           SUM(&owner, failed) == 0) {
        for (int i = 0; i < 100; i++) {
            replace_one(&owner, &setting);
        }
        if (next_random(&owner.random) % 8 == 0) {
            stop_and_go_on(&owner, &setting, owner.puts % READERS);
        }
    }
    print_counters(&owner);
    assert_int_equal(SUM(&owner, wrong), 0);
    assert_int_equal(SUM(&owner, failed), 0);
    close_owner(&owner);
}

static void
killed_readers_leave_nothing_behind(void **state)
{
    const struct setting setting = {.bytes = BLOCK_BYTES_MAX};

    (void)state;
    for (int round = 0; round < 4; round++) {
        struct owner owner;
        uint64_t before;

        open_owner(&owner, &setting);
        while (SUM(&owner, reads) < 50) {
            replace_one(&owner, &setting);
        }
        end_reader(&owner, 0);
        before = SUM(&owner, reads);
        while (SUM(&owner, reads) < before + 50) {
            replace_one(&owner, &setting);
        }
        assert_int_equal(SUM(&owner, wrong), 0);
        close_owner(&owner);
    }
}

static void
stopped_readers_are_passed_over(void **state)
{
    const struct setting setting = {.bytes = SMALL_BYTES, .stops = true};
    struct owner owner;
    struct block_place pinned;

    (void)state;
    open_owner(&owner, &setting);
    fill_entry(&owner, 0, SMALL_BYTES);
    for (uint32_t i = 0; i < READERS; i++) {
        assert_int_equal(waitpid(owner.readers[i], NULL, WUNTRACED),
                         owner.readers[i]);
    }
    assert_int_equal(SUM(&owner, failed), 0);
    pinned = owner.board->entries[0].place;
    assert_int_equal(tier_dram_table.release(owner.dram, &pinned, true),
                     CASCADE_BUSY);
    assert_int_equal(tier_dram_table.release(owner.dram, &pinned, false),
                     CASCADE_OK);
    owner.empty[0] = true;
    for (int i = 0; i < 10000; i++) {
        replace_one(&owner, &setting);
    }
    for (uint32_t i = 0; i < ENTRIES; i++) {
        const struct block_place *place = &owner.board->entries[i].place;

        assert_true(owner.empty[i] || (place->slot != pinned.slot &&
                                       place->offset != pinned.offset));
    }
    assert_true(
        is_content(tier_dram_memory(owner.dram, &pinned), SMALL_BYTES, 1));
    assert_true(tier_dram_sweep(owner.dram));
    end_reader(&owner, 0);
    assert_true(tier_dram_sweep(owner.dram));
    close_owner(&owner);
}

static void
without_pins_wrong_bytes_are_seen(void **state)
{
    const struct setting setting = {.skip_pins = true,
                                    .bytes = BLOCK_BYTES_MAX};
    struct owner owner;
    uint64_t end = clock_deadline_ns(clock_system(), CONTROL_NS);

    (void)state;
    open_owner(&owner, &setting);
    while (SUM(&owner, wrong) == 0 && clock_steady_ns(clock_system()) < end) {
        replace_one(&owner, &setting);
    }
    print_counters(&owner);
    assert_true(SUM(&owner, wrong) > 0);
    close_owner(&owner);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_reader_ever_sees_another_block),
        cmocka_unit_test(killed_readers_leave_nothing_behind),
        cmocka_unit_test(stopped_readers_are_passed_over),
        cmocka_unit_test(without_pins_wrong_bytes_are_seen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
