// SPDX-License-Identifier: Apache-2.0
//
// A replay on many ranks. Each serves the requests that are routed to it, in the
// order of the trace; they meet after every window, so that they are at about
// the same time of it. The results are added up through the cache itself: each
// rank puts what it counted, the first gets it.
//
// Invariant: a batch counts as read from other ranks only if the store counted
// every one of its blocks there.

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/allocator.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/units.h"
#include "bench/replay.h"
#include "bench/report.h"
#include "tools/output.h"

#define WINDOWS 60
#define RESULT_KEY_BYTES 48
#define RESULT_WAIT_NS (20 * NS_PER_S)

bool
replay_is_unanswered(struct replay *replay, enum cascade_status status)
{
    bool is_so = replay->ranks != NULL &&
                 (status == CASCADE_BUSY || status == CASCADE_TIMEOUT);

    replay->totals->unanswered += is_so;
    return is_so;
}

// --- one request

static enum cascade_status
locate(struct replay *replay, const uint32_t *blocks, size_t count,
       size_t *leading)
{
    enum cascade_status status;
    bool contiguous = true;

    *leading = 0;
    for (size_t i = 0; i < count; i++) {
        replay->items[i] = (struct cascade_item){
            .size = sizeof(replay->items[i]),
            .operation = CASCADE_OPERATION_LOCATE,
            .key = replay_key(replay, blocks[i]),
        };
    }
    status = cascade_batch(replay->store, replay->items, count, NULL);
    for (size_t i = 0; i < count && status == CASCADE_OK; i++) {
        const struct cascade_item *item = &replay->items[i];
        bool found = item->status == CASCADE_OK;

        if (!found && item->status != CASCADE_NOT_FOUND &&
            !replay_is_unanswered(replay, item->status)) {
            status = item->status;
        }
        replay->looks[i] = (struct replay_look){
            .tier = found ? item->location.tier : CASCADE_TIER_NONE,
        };
        replay->totals->block_hits += found;
        contiguous = contiguous && found;
        *leading += contiguous;
    }
    return status;
}

static enum cascade_status
count_remote_hits(struct replay *replay, uint64_t *hits)
{
    struct cascade_stats stats = {.size = sizeof(stats)};
    enum cascade_status status = cascade_stats_read(replay->store, &stats);

    *hits = stats.hits[CASCADE_TIER_REMOTE_DRAM];
    return status;
}

// Gets those of the leading blocks that are in this tier.
static enum cascade_status
get_from(struct replay *replay, const uint32_t *blocks, size_t leading,
         enum cascade_tier tier, uint64_t *request_ns)
{
    struct replay_totals *totals = replay->totals;
    uint64_t block_bytes = replay->options->block_bytes;
    uint64_t hits_before;
    uint64_t hits_after;
    uint64_t elapsed_ns;
    enum cascade_status status;
    size_t count = 0;
    size_t got;
    size_t right = 0;

    for (size_t i = 0; i < leading; i++) {
        if (replay->looks[i].tier == tier) {
            replay->chosen[count++] = blocks[i];
        }
    }
    if (count == 0) {
        return CASCADE_OK;
    }
    status = count_remote_hits(replay, &hits_before);
    if (status == CASCADE_OK) {
        status = replay_get(replay, replay->chosen, count, &got, &elapsed_ns);
    }
    if (status == CASCADE_OK) {
        status = count_remote_hits(replay, &hits_after);
    }
    if (status != CASCADE_OK) {
        return status;
    }
    count = 0;
    for (size_t i = 0; i < leading; i++) {
        if (replay->looks[i].tier == tier) {
            replay->looks[i].got = replay->items[count++].status == CASCADE_OK;
            right += replay->looks[i].got;
        }
    }
    totals->verified_bytes += right * block_bytes;
    totals->get_ns += elapsed_ns;
    *request_ns += elapsed_ns;
    if (hits_after - hits_before == count) {
        totals->remote_bytes += count * block_bytes;
        totals->remote_ns += elapsed_ns;
    }
    return CASCADE_OK;
}

enum cascade_status
replay_get_by_tier(struct replay *replay, const uint32_t *blocks, size_t count,
                   size_t *got)
{
    uint64_t request_ns = 0;
    size_t leading;
    enum cascade_status status = locate(replay, blocks, count, &leading);

    *got = 0;
    for (int tier = CASCADE_TIER_LOCAL_GPU;
         tier < CASCADE_TIER_COUNT && status == CASCADE_OK; tier++) {
        status = get_from(replay, blocks, leading, (enum cascade_tier)tier,
                          &request_ns);
    }
    if (status != CASCADE_OK || leading == 0) {
        return status;
    }
    histogram_observe(replay->totals->get_latency, request_ns);
    while (*got < leading && replay->looks[*got].got) {
        ++*got;
    }
    replay->totals->prefix_hits += *got;
    return CASCADE_OK;
}

// --- windows

static uint64_t
refs_between(const struct replay *replay, size_t first, size_t end)
{
    uint64_t refs = 0;

    for (size_t i = first; i < end; i++) {
        refs += replay->trace->requests[i].ref_count;
    }
    return refs;
}

// A window as all ranks saw it. `hits` are the counts at its beginning.
static enum cascade_status
sample(struct replay *replay, size_t first, size_t end, uint64_t *hits)
{
    struct cascade_stats stats = {.size = sizeof(stats)};
    enum cascade_status status;
    json_t *object;

    if (replay->samples == NULL) {
        return CASCADE_OK;
    }
    status = cascade_stats_read_all(replay->store, NULL, &stats);
    if (status != CASCADE_OK) {
        return status;
    }
    object = json_object();
    output_need(object != NULL);
    output_json_text(object, "route", route_name(replay->options->route));
    output_json_unsigned(object, "requests", end);
    report_real(object, "trace_seconds",
                replay->trace->requests[end - 1].timestamp_ms / 1000);
    output_json_unsigned(object, "refs", refs_between(replay, first, end));
    for (size_t tier = 1; tier < CASCADE_TIER_COUNT; tier++) {
        char name[32];

        (void)snprintf(name, sizeof(name), "hits_%s",
                       output_tier_name((enum cascade_tier)tier));
        output_json_unsigned(object, name, stats.hits[tier] - hits[tier]);
        hits[tier] = stats.hits[tier];
    }
    output_json_unsigned(object, "promotions", stats.promotions);
    output_json_unsigned(object, "keys", stats.keys);
    output_json_unsigned(object, "blocks", stats.blocks);
    output_json_unsigned(object, "puts_refused", stats.puts_refused);
    output_json_unsigned(object, "dram_bytes",
                         stats.used_bytes[CASCADE_TIER_LOCAL_DRAM]);
    output_json_unsigned(object, "segment_bytes",
                         stats.used_bytes[CASCADE_TIER_SEGMENTS]);
    report_line(object, replay->samples);
    return fflush(replay->samples) == 0
               ? CASCADE_OK
               : error_set(CASCADE_IO, "cannot write %s",
                           replay->options->samples_path);
}

static enum cascade_status
run_window(struct replay *replay, size_t first, size_t end)
{
    enum cascade_status status = CASCADE_OK;

    for (size_t i = first; i < end && status == CASCADE_OK; i++) {
        if (replay->ranks[i] == replay->rank) {
            status = replay_request(replay, &replay->trace->requests[i]);
        }
    }
    if (status == CASCADE_OK) {
        status = replay_read_hits(replay, true);
    }
    if (status == CASCADE_OK) {
        status = replay_check_protected(replay, false);
    }
    return status == CASCADE_OK ? cascade_barrier(replay->store, NULL) : status;
}

static enum cascade_status
run_windows(struct replay *replay)
{
    size_t count = replay->trace->request_count;
    size_t window = units_max(count / WINDOWS, 1);
    uint64_t hits[CASCADE_TIER_COUNT] = {0};
    enum cascade_status status = CASCADE_OK;

    for (size_t first = 0; first < count && status == CASCADE_OK;
         first += window) {
        size_t end = units_min(first + window, count);

        status = run_window(replay, first, end);
        if (status == CASCADE_OK) {
            status = sample(replay, first, end, hits);
        }
        progress_note(&replay->progress, replay->totals->refs *
                                             replay->rank_count *
                                             replay->options->block_bytes);
    }
    return status;
}

// --- adding up

static struct cascade_key
result_key(uint16_t rank, char text[RESULT_KEY_BYTES])
{
    int bytes = snprintf(text, RESULT_KEY_BYTES, "replay, result of rank %u",
                         (unsigned)rank);

    return (struct cascade_key){.data = text, .bytes = (size_t)bytes};
}

// What a rank tells: its totals, and the marks that matter.
struct result_mark {
    uint32_t block;
    uint32_t marks;
};

static size_t
result_bytes(const struct replay *replay)
{
    return sizeof(*replay->totals) +
           replay->options->protect_count * sizeof(struct result_mark);
}

static void
write_result(const struct replay *replay, uint8_t *memory)
{
    uint8_t *next = memory + sizeof(*replay->totals);
    size_t left = replay->options->protect_count;

    memset(memory, 0, result_bytes(replay));
    memcpy(memory, replay->shared.data, sizeof(*replay->totals));
    for (size_t i = 0; i < replay->trace->id_count && left > 0; i++) {
        if (replay->marks[i] != 0) {
            struct result_mark mark = {(uint32_t)i, replay->marks[i]};

            memcpy(next, &mark, sizeof(mark));
            next += sizeof(mark);
            left--;
        }
    }
}

// Totals are 64-bit counters up to `last`.
static void
add_result(struct replay *replay, const uint8_t *memory)
{
    uint8_t *own = replay->shared.data;
    const uint8_t *next = memory + sizeof(*replay->totals);
    size_t counters = offsetof(struct replay_totals, last);

    for (size_t at = 0; at < counters; at += sizeof(uint64_t)) {
        uint64_t theirs;
        uint64_t sum;

        memcpy(&theirs, memory + at, sizeof(theirs));
        memcpy(&sum, own + at, sizeof(sum));
        sum += theirs;
        memcpy(own + at, &sum, sizeof(sum));
    }
    for (size_t i = 0; i < replay->options->protect_count; i++) {
        struct result_mark mark;

        memcpy(&mark, next, sizeof(mark));
        next += sizeof(mark);
        replay->marks[mark.block] |= (uint8_t)mark.marks;
    }
}

// Memory may be full of blocks that have to be written first.
static bool
may_try_again(enum cascade_status status, uint64_t deadline_ns)
{
    const struct timespec pause = {.tv_nsec = (long)(NS_PER_S / 20)};

    if ((status != CASCADE_NO_SPACE && status != CASCADE_BUSY &&
         status != CASCADE_TIMEOUT) ||
        clock_steady_ns(clock_system()) > deadline_ns) {
        return false;
    }
    (void)nanosleep(&pause, NULL);
    return true;
}

static enum cascade_status
put_result(struct replay *replay, uint8_t *memory)
{
    const struct cascade_const_span span = {
        .data = memory,
        .bytes = result_bytes(replay),
    };
    uint64_t deadline_ns = clock_deadline_ns(clock_system(), RESULT_WAIT_NS);
    char text[RESULT_KEY_BYTES];
    enum cascade_status status;

    write_result(replay, memory);
    do {
        status = cascade_put(replay->store, result_key(replay->rank, text),
                             &span, 1, NULL, NULL);
    } while (may_try_again(status, deadline_ns));
    return status;
}

static enum cascade_status
get_result(struct replay *replay, uint16_t rank, uint8_t *memory)
{
    const struct cascade_span span = {
        .data = memory,
        .bytes = result_bytes(replay),
    };
    uint64_t deadline_ns = clock_deadline_ns(clock_system(), RESULT_WAIT_NS);
    char text[RESULT_KEY_BYTES];
    size_t bytes = 0;
    enum cascade_status status;

    do {
        status = cascade_get(replay->store, result_key(rank, text), &span, 1,
                             NULL, &bytes);
    } while (may_try_again(status, deadline_ns));
    if (status == CASCADE_NOT_FOUND ||
        (status == CASCADE_OK && bytes != span.bytes)) {
        return error_set(CASCADE_CLOSED, "rank %u left no result",
                         (unsigned)rank);
    }
    if (status == CASCADE_OK) {
        add_result(replay, memory);
    }
    return status;
}

// A block may be protected, and lost, by several ranks.
static void
count_lost(struct replay *replay)
{
    replay->totals->protect_lost = 0;
    for (size_t i = 0; i < replay->trace->id_count; i++) {
        replay->totals->protect_lost += (replay->marks[i] & REPLAY_LOST) != 0;
    }
}

static enum cascade_status
add_up(struct replay *replay)
{
    struct buffer memory = {0};
    enum cascade_status status = buffer_take(result_bytes(replay), &memory);

    if (status == CASCADE_OK && replay->rank != 0) {
        status = put_result(replay, memory.data);
    }
    if (status == CASCADE_OK) {
        status = cascade_barrier(replay->store, NULL);
    }
    for (uint16_t r = 1;
         r < replay->rank_count && replay->rank == 0 && status == CASCADE_OK;
         r++) {
        status = get_result(replay, r, memory.data);
    }
    buffer_release(&memory);
    count_lost(replay);
    return status;
}

static enum cascade_status
prepare(struct replay *replay)
{
    const struct allocator *allocator = allocator_system();

    replay->rank = (uint16_t)cascade_rank(replay->store);
    replay->rank_count = (uint16_t)cascade_rank_count(replay->store);
    replay->ranks = allocator_array(allocator, replay->trace->request_count,
                                    sizeof(*replay->ranks));
    if (replay->ranks == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory for %zu requests",
                         replay->trace->request_count);
    }
    return route_requests(allocator, replay->trace, replay->options->route,
                          replay->rank_count, replay->options->seed,
                          replay->ranks);
}

enum cascade_status
replay_run_ranks(struct replay *replay)
{
    enum cascade_status status = replay_open(replay);

    if (status == CASCADE_OK) {
        status = prepare(replay);
    }
    if (status == CASCADE_OK && replay->rank == 0) {
        status = replay_open_samples(replay);
    }
    if (status == CASCADE_OK) {
        status = run_windows(replay);
    }
    if (status == CASCADE_OK) {
        status = replay_check_protected(replay, true);
    }
    if (status == CASCADE_OK) {
        status = replay_add_store(replay);
    }
    if (status == CASCADE_OK) {
        status = add_up(replay);
    }
    return status == CASCADE_OK ? replay_close(replay) : status;
}
