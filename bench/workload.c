// SPDX-License-Identifier: Apache-2.0
//
// The five families. Each counts its requests first and its blocks at most, so
// that memory is taken once; a request is then written block by block.
//
// Invariant: blocks get their ids in the order of their first request, so that
// the ids of a trace are 0, 1, 2 and so on.

#include "bench/workload.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/allocator.h"
#include "base/check.h"
#include "base/error.h"
#include "base/units.h"
#include "bench/random.h"
#include "bench/simulate.h"

#define DOCUMENT_BLOCKS 8
#define DOCUMENT_REQUESTS 20000.0
#define REQUEST_MS 100.0 // between requests that have no time of their own

#define ZIPF_DOCUMENTS 3000.0
#define ZIPF_EXPONENT 0.9

#define SCANS_DOCUMENTS 1500.0
#define SCANS_EXPONENT 1.0
#define SCANS_RUNS 22
#define SCANS_RUN_REQUESTS 600.0
#define SCANS_RUN_BLOCKS 6

#define PHASES 5
#define PHASES_DOCUMENTS 1200.0
#define PHASES_EXPONENT 0.8

#define AGENTS_SESSIONS 900.0
#define AGENTS_SHARED_BLOCKS 4
#define AGENTS_TURN_BLOCKS_MAX 4
#define AGENTS_TURNS_MIN 8
#define AGENTS_TURNS_MAX 24
#define AGENTS_BLOCKS_MAX \
    (AGENTS_SHARED_BLOCKS + AGENTS_TURNS_MAX * AGENTS_TURN_BLOCKS_MAX)
#define AGENTS_PAUSE_MS 15e3
#define AGENTS_LONG_PAUSE 20
#define AGENTS_LONG_PAUSES 0.07 // of all
#define AGENTS_HOUR_MS 3.6e6

#define LOOP_DOCUMENTS 400.0
#define LOOP_ROUNDS 20

#define UNSEEN UINT32_MAX

struct maker {
    struct trace *trace;
    uint32_t *id_of;      // by block number of the family
    double *odds;         // cumulative, of documents
    uint32_t blocks;      // numbers of the family
    size_t requests_room; // of the trace
    size_t refs_room;
    double now_ms;
    double scale;
    uint64_t random;
};

// One turn of a session.
struct turn {
    double time_ms;
    uint32_t session;
    uint32_t blocks;
};

static uint32_t
scaled(const struct maker *maker, double count)
{
    double product = round(count * maker->scale);

    return product < 1 ? 1 : (uint32_t)product;
}

static enum cascade_status
no_memory(void)
{
    return error_set(CASCADE_NO_MEMORY,
                     "no memory to make a trace of that size");
}

// Room for that many requests, references and block numbers.
static enum cascade_status
make_room(struct maker *maker, size_t requests, size_t refs, uint32_t blocks)
{
    struct trace *trace = maker->trace;
    const struct allocator *allocator = trace->allocator;

    trace->requests = allocator_array(allocator, requests,
                                      sizeof(struct trace_request));
    trace->refs = allocator_array(allocator, refs, sizeof(uint32_t));
    trace->ids = allocator_array(allocator, blocks, sizeof(uint64_t));
    maker->id_of = allocator_array(allocator, blocks, sizeof(uint32_t));
    if (trace->requests == NULL || trace->refs == NULL || trace->ids == NULL ||
        maker->id_of == NULL) {
        return no_memory();
    }
    memset(maker->id_of, 0xff, blocks * sizeof(uint32_t));
    maker->requests_room = requests;
    maker->refs_room = refs;
    maker->blocks = blocks;
    return CASCADE_OK;
}

static enum cascade_status
make_odds(struct maker *maker, uint32_t documents, double exponent)
{
    double sum = 0;

    maker->odds = allocator_array(maker->trace->allocator, documents,
                                  sizeof(double));
    if (maker->odds == NULL) {
        return no_memory();
    }
    for (uint32_t i = 0; i < documents; i++) {
        sum += pow(i + 1, -exponent);
        maker->odds[i] = sum;
    }
    return CASCADE_OK;
}

static uint32_t
any_document(struct maker *maker, uint32_t documents)
{
    double wanted = random_fraction(&maker->random) *
                    maker->odds[documents - 1];
    uint32_t low = 0;
    uint32_t high = documents - 1;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (maker->odds[middle] > wanted) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

static void
begin_request(struct maker *maker)
{
    struct trace *trace = maker->trace;

    check(trace->request_count < maker->requests_room);
    trace->requests[trace->request_count] = (struct trace_request){
        .timestamp_ms = maker->now_ms,
        .output_length = SIMULATE_BLOCK_TOKENS,
        .ref_first = (uint32_t)trace->ref_count,
    };
}

static void
add_blocks(struct maker *maker, uint32_t first, uint32_t count)
{
    struct trace *trace = maker->trace;

    check(count <= maker->blocks && first <= maker->blocks - count);
    check(count <= maker->refs_room - trace->ref_count);
    for (uint32_t i = first; i < first + count; i++) {
        if (maker->id_of[i] == UNSEEN) {
            maker->id_of[i] = (uint32_t)trace->id_count;
            trace->ids[trace->id_count] = trace->id_count;
            trace->id_count++;
        }
        trace->refs[trace->ref_count++] = maker->id_of[i];
    }
}

static void
end_request(struct maker *maker)
{
    struct trace *trace = maker->trace;
    struct trace_request *request = &trace->requests[trace->request_count++];

    request->ref_count = (uint32_t)trace->ref_count - request->ref_first;
    request->input_length = (uint64_t)request->ref_count *
                            SIMULATE_BLOCK_TOKENS;
    if (request->ref_count > trace->refs_per_request_max) {
        trace->refs_per_request_max = request->ref_count;
    }
    maker->now_ms += REQUEST_MS;
}

static void
ask(struct maker *maker, uint32_t first, uint32_t count)
{
    begin_request(maker);
    add_blocks(maker, first, count);
    end_request(maker);
}

static enum cascade_status
make_zipf(struct maker *maker)
{
    uint32_t documents = scaled(maker, ZIPF_DOCUMENTS);
    uint32_t requests = scaled(maker, DOCUMENT_REQUESTS);
    enum cascade_status status;

    status = make_room(maker, requests, (size_t)requests * DOCUMENT_BLOCKS,
                       documents * DOCUMENT_BLOCKS);
    if (status == CASCADE_OK) {
        status = make_odds(maker, documents, ZIPF_EXPONENT);
    }
    for (uint32_t i = 0; status == CASCADE_OK && i < requests; i++) {
        ask(maker, any_document(maker, documents) * DOCUMENT_BLOCKS,
            DOCUMENT_BLOCKS);
    }
    return status;
}

// The runs come at random places among the requests for documents.
static enum cascade_status
make_scans(struct maker *maker)
{
    uint32_t documents = scaled(maker, SCANS_DOCUMENTS);
    uint32_t run = scaled(maker, SCANS_RUN_REQUESTS);
    uint32_t once = run * SCANS_RUNS;
    uint32_t often = scaled(maker, DOCUMENT_REQUESTS) - once;
    uint32_t next = documents * DOCUMENT_BLOCKS;
    uint32_t runs_left = SCANS_RUNS;
    enum cascade_status status;

    status = make_room(maker, (size_t)once + often,
                       (size_t)once * SCANS_RUN_BLOCKS +
                           (size_t)often * DOCUMENT_BLOCKS,
                       next + once * SCANS_RUN_BLOCKS);
    if (status == CASCADE_OK) {
        status = make_odds(maker, documents, SCANS_EXPONENT);
    }
    for (uint32_t left = often; status == CASCADE_OK && left > 0; left--) {
        // Every order of the runs and requests left that ends with a request
        // is as likely as every other.
        while (runs_left > 0 && random_fraction(&maker->random) *
                                        ((double)left + runs_left - 1) <
                                    runs_left) {
            for (uint32_t i = 0; i < run; i++) {
                ask(maker, next, SCANS_RUN_BLOCKS);
                next += SCANS_RUN_BLOCKS;
            }
            runs_left--;
        }
        ask(maker, any_document(maker, documents) * DOCUMENT_BLOCKS,
            DOCUMENT_BLOCKS);
    }
    return status;
}

static enum cascade_status
make_phases(struct maker *maker)
{
    uint32_t documents = scaled(maker, PHASES_DOCUMENTS);
    uint32_t requests = scaled(maker, DOCUMENT_REQUESTS / PHASES);
    enum cascade_status status;

    status = make_room(maker, (size_t)requests * PHASES,
                       (size_t)requests * PHASES * DOCUMENT_BLOCKS,
                       documents * PHASES * DOCUMENT_BLOCKS);
    if (status == CASCADE_OK) {
        status = make_odds(maker, documents, PHASES_EXPONENT);
    }
    for (uint32_t phase = 0; status == CASCADE_OK && phase < PHASES; phase++) {
        for (uint32_t i = 0; i < requests; i++) {
            uint32_t document = any_document(maker, documents) +
                                phase * documents;

            ask(maker, document * DOCUMENT_BLOCKS, DOCUMENT_BLOCKS);
        }
    }
    return status;
}

static int
compare_turns(const void *left, const void *right)
{
    const struct turn *a = left;
    const struct turn *b = right;

    if (a->time_ms != b->time_ms) {
        return a->time_ms < b->time_ms ? -1 : 1;
    }
    if (a->session != b->session) {
        return a->session < b->session ? -1 : 1;
    }
    return (a->blocks > b->blocks) - (a->blocks < b->blocks);
}

// Turns of all sessions, in the order of time; those past the hour are left
// out. Returns how many.
static size_t
make_turns(struct maker *maker, uint32_t sessions, struct turn *turns)
{
    size_t count = 0;

    for (uint32_t session = 0; session < sessions; session++) {
        double time_ms = random_fraction(&maker->random) * AGENTS_HOUR_MS;
        uint32_t left = AGENTS_TURNS_MIN +
                        random_below(&maker->random,
                                     AGENTS_TURNS_MAX - AGENTS_TURNS_MIN + 1);
        uint32_t blocks = 0;

        for (; left > 0 && time_ms < AGENTS_HOUR_MS; left--) {
            bool is_long = random_fraction(&maker->random) < AGENTS_LONG_PAUSES;

            blocks += 1 + random_below(&maker->random, AGENTS_TURN_BLOCKS_MAX);
            turns[count++] = (struct turn){
                .time_ms = time_ms, .session = session, .blocks = blocks};
            time_ms -= log(1 - random_fraction(&maker->random)) *
                       AGENTS_PAUSE_MS * (is_long ? AGENTS_LONG_PAUSE : 1);
        }
    }
    qsort(turns, count, sizeof(*turns), compare_turns);
    return count;
}

static enum cascade_status
make_agents(struct maker *maker)
{
    const struct allocator *allocator = maker->trace->allocator;
    uint32_t sessions = scaled(maker, AGENTS_SESSIONS);
    uint32_t own = AGENTS_BLOCKS_MAX - AGENTS_SHARED_BLOCKS;
    struct turn *turns = allocator_array(
        allocator, (size_t)sessions * AGENTS_TURNS_MAX, sizeof(struct turn));
    enum cascade_status status;
    size_t count = 0;
    size_t refs = 0;

    if (turns == NULL) {
        return no_memory();
    }
    count = make_turns(maker, sessions, turns);
    for (size_t i = 0; i < count; i++) {
        refs += AGENTS_SHARED_BLOCKS + turns[i].blocks;
    }
    status = make_room(maker, count, refs,
                       AGENTS_SHARED_BLOCKS + sessions * own);
    for (size_t i = 0; status == CASCADE_OK && i < count; i++) {
        maker->now_ms = turns[i].time_ms;
        begin_request(maker);
        add_blocks(maker, 0, AGENTS_SHARED_BLOCKS);
        add_blocks(maker, AGENTS_SHARED_BLOCKS + turns[i].session * own,
                   turns[i].blocks);
        end_request(maker);
    }
    allocator_release(allocator, turns);
    return status;
}

static enum cascade_status
make_loop(struct maker *maker)
{
    uint32_t documents = scaled(maker, LOOP_DOCUMENTS);
    enum cascade_status status;

    status = make_room(maker, (size_t)documents * LOOP_ROUNDS,
                       (size_t)documents * LOOP_ROUNDS * DOCUMENT_BLOCKS,
                       documents * DOCUMENT_BLOCKS);
    for (uint32_t i = 0; status == CASCADE_OK && i < documents * LOOP_ROUNDS;
         i++) {
        ask(maker, i % documents * DOCUMENT_BLOCKS, DOCUMENT_BLOCKS);
    }
    return status;
}

static const struct {
    const char *name;
    enum cascade_status (*make)(struct maker *maker);
} families[] = {
    [WORKLOAD_ZIPF] = {"zipf", make_zipf},
    [WORKLOAD_SCANS] = {"scans", make_scans},
    [WORKLOAD_PHASES] = {"phases", make_phases},
    [WORKLOAD_AGENTS] = {"agents", make_agents},
    [WORKLOAD_LOOP] = {"loop", make_loop},
};

const char *
workload_name(enum workload_family family)
{
    return family < WORKLOAD_FAMILIES ? families[family].name : NULL;
}

enum cascade_status
workload_make(const struct allocator *allocator,
              const struct workload_settings *settings, struct trace *trace)
{
    struct trace made = {.allocator = allocator};
    struct maker maker = {
        .trace = &made,
        .scale = settings->scale,
        .random = settings->seed,
    };
    enum cascade_status status;

    check(settings->family < WORKLOAD_FAMILIES && settings->scale > 0);
    status = families[settings->family].make(&maker);
    allocator_release(allocator, maker.id_of);
    allocator_release(allocator, maker.odds);
    if (status != CASCADE_OK) {
        trace_release(&made);
        return status;
    }
    *trace = made;
    return CASCADE_OK;
}
