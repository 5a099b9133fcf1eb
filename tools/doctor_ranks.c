// SPDX-License-Identifier: Apache-2.0
//
// See doctor_ranks.h. Ranks tell the first what they found through the cache:
// what it would lose or damage, the probe has found out before.

#include "tools/doctor_ranks.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/allocator.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/units.h"
#include "cascade/cascade.h"
#include "store/store_cluster.h"
#include "tools/output.h"

// Each rank reads from so many that follow it.
#define NEIGHBOURS_MAX 16
#define READS 3
#define KEY_TEXT_BYTES 48
// Wider jobs get no table of every pair.
#define TABLE_RANKS_MAX 16

struct probe {
    struct cascade *store;
    struct doctor_ranks *found;
    uint8_t *memory; // DOCTOR_PROBE_BYTES
    size_t report_bytes;
    uint8_t *report; // struct doctor_rank, then a pair for each owner
};

static enum cascade_status
open_store(struct cascade **store)
{
    // Nothing of the user's is touched: no cold tier, a namespace of its own.
    static const char *const settings[][2] = {
        {"cold_path", ""},           {"gpu_capacity", "0"},
        {"dram_capacity", "64MiB"},  {"max_blocks", "16384"},
        {"locality_aware", "false"}, {"namespace", "cascade-doctor"},
    };
    struct cascade_options *options = cascade_options_create();
    enum cascade_status status;

    if (options == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory for options");
    }
    status = cascade_options_load_environment(options);
    for (size_t i = 0;
         i < sizeof(settings) / sizeof(settings[0]) && status == CASCADE_OK;
         i++) {
        status = cascade_options_set(options, settings[i][0], settings[i][1]);
    }
    if (status == CASCADE_OK) {
        status = cascade_open(options, store);
    }
    cascade_options_destroy(options);
    return status;
}

static struct cascade_key
key_of(const char *what, uint16_t rank, char text[KEY_TEXT_BYTES])
{
    int bytes = snprintf(text, KEY_TEXT_BYTES, "%s of rank %u", what,
                         (unsigned)rank);

    return (struct cascade_key){.data = text, .bytes = (size_t)bytes};
}

static enum cascade_status
put(struct probe *probe, const char *what, const void *data, size_t bytes)
{
    const struct cascade_const_span span = {.data = data, .bytes = bytes};
    char text[KEY_TEXT_BYTES];

    return cascade_put(probe->store, key_of(what, probe->found->rank, text),
                       &span, 1, NULL, NULL);
}

static enum cascade_status
get(struct probe *probe, const char *what, uint16_t rank, void *data,
    size_t bytes)
{
    const struct cascade_span span = {.data = data, .bytes = bytes};
    char text[KEY_TEXT_BYTES];
    size_t got = 0;
    enum cascade_status status = cascade_get(
        probe->store, key_of(what, rank, text), &span, 1, NULL, &got);

    if (status == CASCADE_OK && got != bytes) {
        status = error_set(CASCADE_CORRUPT, "%s of rank %u has %zu bytes", what,
                           (unsigned)rank, got);
    }
    return status;
}

static uint8_t
pattern(uint16_t rank, uint64_t at)
{
    return (uint8_t)(at * 37 + (at >> 8) * 11 + (at >> 16) * 5 + rank * 73 + 1);
}

static bool
is_pattern(const uint8_t *memory, uint16_t rank)
{
    for (uint64_t at = 0; at < DOCTOR_PROBE_BYTES; at++) {
        if (memory[at] != pattern(rank, at)) {
            return false;
        }
    }
    return true;
}

// Reads what `owner` put; the best of a few, since the first one maps memory.
static void
read_from(struct probe *probe, uint16_t owner, struct doctor_pair *pair)
{
    pair->tried = 1;
    pair->right = 1;
    pair->ns = UINT64_MAX;
    for (int i = 0; i < READS && pair->right == 1; i++) {
        uint64_t start_ns = clock_steady_ns(clock_system());
        enum cascade_status status = get(probe, "probe", owner, probe->memory,
                                         DOCTOR_PROBE_BYTES);
        uint64_t used_ns = clock_steady_ns(clock_system()) - start_ns;

        if (status != CASCADE_OK) {
            pair->right = 0;
            (void)snprintf(pair->reason, sizeof(pair->reason), "%.*s",
                           DOCTOR_REASON_BYTES - 1, error_message());
        } else if (!is_pattern(probe->memory, owner)) {
            pair->right = 0;
        }
        pair->ns = units_min(pair->ns, used_ns);
    }
}

// Why it is this rung; for slower ones also why memory is not shared.
static void
explain(const struct store_cluster *cluster, uint16_t owner,
        struct doctor_pair *pair, const char *reason)
{
    bool shares = pair->rung == TIER_REMOTE_NEAR || cluster->node == NULL;

    (void)snprintf(pair->reason, sizeof(pair->reason), "%s%s%s%s", reason,
                   shares ? "" : " (",
                   shares ? "" : fabric_node_reason(cluster->node, owner),
                   shares ? "" : ")");
}

static void
look_at_pairs(struct probe *probe, struct doctor_pair *pairs)
{
    const struct store_cluster *cluster = probe->store->cluster;
    uint16_t rank = probe->found->rank;
    uint16_t count = probe->found->count;

    for (uint16_t step = 1; step < count; step++) {
        uint16_t owner = (uint16_t)((rank + step) % count);
        const char *reason = "";

        if (step <= NEIGHBOURS_MAX) {
            read_from(probe, owner, &pairs[owner]);
        }
        pairs[owner].rung = tier_remote_rung_to(cluster->remote, owner,
                                                &reason);
        if (pairs[owner].reason[0] == '\0') {
            explain(cluster, owner, &pairs[owner], reason);
        }
    }
}

static enum cascade_status
put_probe(struct probe *probe)
{
    for (uint64_t at = 0; at < DOCTOR_PROBE_BYTES; at++) {
        probe->memory[at] = pattern(probe->found->rank, at);
    }
    return put(probe, "probe", probe->memory, DOCTOR_PROBE_BYTES);
}

// The first rank gets what the others have put.
static enum cascade_status
gather(struct probe *probe)
{
    struct doctor_ranks *found = probe->found;
    enum cascade_status status = CASCADE_OK;

    for (uint16_t r = 0; r < found->count && status == CASCADE_OK; r++) {
        status = get(probe, "report", r, probe->report, probe->report_bytes);
        if (status == CASCADE_OK) {
            memcpy(&found->ranks[r], probe->report, sizeof(found->ranks[r]));
            memcpy(&found->pairs[(size_t)r * found->count],
                   probe->report + sizeof(found->ranks[r]),
                   found->count * sizeof(found->pairs[0]));
        }
    }
    return status;
}

static enum cascade_status
try_pairs(struct probe *probe, const char *failed)
{
    struct doctor_rank *self = (void *)probe->report;
    enum cascade_status status = put_probe(probe);

    (void)gethostname(self->host, sizeof(self->host) - 1);
    (void)snprintf(self->failed, sizeof(self->failed), "%s", failed);
    self->pid = (uint32_t)getpid();
    if (status == CASCADE_OK) {
        status = cascade_barrier(probe->store, NULL);
    }
    if (status == CASCADE_OK) {
        look_at_pairs(probe, (void *)(self + 1));
        status = put(probe, "report", probe->report, probe->report_bytes);
    }
    if (status == CASCADE_OK) {
        status = cascade_barrier(probe->store, NULL);
    }
    return status == CASCADE_OK && probe->found->rank == 0 ? gather(probe)
                                                           : status;
}

static enum cascade_status
take_memory(struct probe *probe)
{
    const struct allocator *allocator = allocator_system();
    struct doctor_ranks *found = probe->found;

    probe->report_bytes = sizeof(found->ranks[0]) +
                          found->count * sizeof(found->pairs[0]);
    probe->memory = allocator_array(allocator, DOCTOR_PROBE_BYTES, 1);
    probe->report = allocator_array(allocator, probe->report_bytes, 1);
    found->ranks = allocator_array(allocator, found->count,
                                   sizeof(found->ranks[0]));
    found->pairs = allocator_array(allocator,
                                   (size_t)found->count * found->count,
                                   sizeof(found->pairs[0]));
    return probe->memory == NULL || probe->report == NULL ||
                   found->ranks == NULL || found->pairs == NULL
               ? error_set(CASCADE_NO_MEMORY, "no memory for %u ranks",
                           (unsigned)found->count)
               : CASCADE_OK;
}

enum cascade_status
doctor_ranks_try(const char *failed, struct doctor_ranks *ranks)
{
    struct probe probe = {.found = ranks};
    enum cascade_status status;

    memset(ranks, 0, sizeof(*ranks));
    ranks->count = 1;
    status = open_store(&probe.store);
    if (status == CASCADE_OK) {
        ranks->rank = (uint16_t)cascade_rank(probe.store);
        ranks->count = (uint16_t)cascade_rank_count(probe.store);
    }
    if (status == CASCADE_OK && ranks->count > 1) {
        status = take_memory(&probe);
        if (status == CASCADE_OK) {
            status = try_pairs(&probe, failed);
        }
    }
    if (status == CASCADE_OK) {
        status = cascade_close(probe.store);
    } else {
        // What went wrong is known; the message stays that one.
        char message[ERROR_MESSAGE_BYTES];

        (void)snprintf(message, sizeof(message), "%s", error_message());
        (void)!cascade_close(probe.store);
        status = error_set(status, "%s", message);
    }
    allocator_release(allocator_system(), probe.memory);
    allocator_release(allocator_system(), probe.report);
    return status;
}

void
doctor_ranks_release(struct doctor_ranks *ranks)
{
    allocator_release(allocator_system(), ranks->ranks);
    allocator_release(allocator_system(), ranks->pairs);
    memset(ranks, 0, sizeof(*ranks));
}

// --- what the first rank says

static const char *
rung_name(uint32_t rung)
{
    static const char *const names[] = {
        [TIER_REMOTE_ANY] = "none",
        [TIER_REMOTE_NEAR] = "near",
        [TIER_REMOTE_READ] = "one-sided",
        [TIER_REMOTE_FETCH] = "fetch",
    };

    return names[rung];
}

static const struct doctor_pair *
pair_of(const struct doctor_ranks *ranks, uint16_t reader, uint16_t owner)
{
    return &ranks->pairs[(size_t)reader * ranks->count + owner];
}

static bool
is_bad(const struct doctor_pair *pair)
{
    return pair->rung == TIER_REMOTE_ANY || (pair->tried != 0 && !pair->right);
}

static bool
share_a_host(const struct doctor_ranks *ranks, uint16_t a, uint16_t b)
{
    return strcmp(ranks->ranks[a].host, ranks->ranks[b].host) == 0;
}

static uint32_t
count_hosts(const struct doctor_ranks *ranks)
{
    uint32_t hosts = 0;

    for (uint16_t r = 0; r < ranks->count; r++) {
        uint16_t other = 0;

        while (!share_a_host(ranks, other, r)) {
            other++;
        }
        hosts += other == r;
    }
    return hosts;
}

static double
gbps(const struct doctor_pair *pair)
{
    return (double)DOCTOR_PROBE_BYTES / (double)units_max(pair->ns, 1);
}

void
doctor_ranks_judge(const struct doctor_ranks *ranks,
                   struct doctor_finding *finding)
{
    uint32_t bad = 0;
    uint32_t slow = 0;

    for (uint16_t reader = 0; reader < ranks->count; reader++) {
        for (uint16_t owner = 0; owner < ranks->count; owner++) {
            const struct doctor_pair *pair = pair_of(ranks, reader, owner);

            if (reader != owner) {
                bad += is_bad(pair);
                slow += pair->rung > TIER_REMOTE_NEAR &&
                        share_a_host(ranks, reader, owner);
            }
        }
    }
    doctor_found(finding,
                 bad > 0    ? DOCTOR_FAIL
                 : slow > 0 ? DOCTOR_WARNING
                            : DOCTOR_OK,
                 "%u ranks, hosts: %" PRIu32
                 "; pairs that cannot read: %" PRIu32
                 ", of one host that do not share memory: %" PRIu32,
                 (unsigned)ranks->count, count_hosts(ranks), bad, slow);
    if (bad > 0) {
        doctor_remedy(finding, "see the pairs below; fabric_rung=fetch forces "
                               "the way that needs least");
    } else if (slow > 0) {
        doctor_remedy(finding, "let ranks of a node share memory: one user, "
                               "one network name space, fabric_rung=auto");
    }
}

static void
print_pair_json(const struct doctor_ranks *ranks, uint16_t reader,
                uint16_t owner)
{
    const struct doctor_pair *pair = pair_of(ranks, reader, owner);
    json_t *object = json_object();

    output_need(object != NULL);
    output_json_text(object, "check", "pair");
    output_json_text(object, "result", is_bad(pair) ? "fail" : "ok");
    output_json_unsigned(object, "reader", reader);
    output_json_unsigned(object, "owner", owner);
    output_json_text(object, "rung", rung_name(pair->rung));
    output_json_text(object, "found", pair->reason);
    output_json_text(object, "remedy", "");
    output_json_flag(object, "tried", pair->tried != 0);
    if (pair->tried != 0) {
        output_need(
            json_object_set_new(object, "gbps", json_real(gbps(pair))) == 0);
    }
    output_json_line(object);
}

static void
print_table(const struct doctor_ranks *ranks)
{
    (void)printf("%-9sreads from", "");
    for (uint16_t owner = 0; owner < ranks->count; owner++) {
        (void)printf(" %-9u", (unsigned)owner);
    }
    (void)printf("\n");
    for (uint16_t reader = 0; reader < ranks->count; reader++) {
        (void)printf("%-9srank %-5u", "", (unsigned)reader);
        for (uint16_t owner = 0; owner < ranks->count; owner++) {
            const struct doctor_pair *pair = pair_of(ranks, reader, owner);

            (void)printf(" %-9s", reader == owner ? "self"
                                  : is_bad(pair)  ? "FAILED"
                                                  : rung_name(pair->rung));
        }
        (void)printf(" %s\n", ranks->ranks[reader].host);
    }
}

static bool
is_alike(const struct doctor_pair *a, const struct doctor_pair *b)
{
    return a->rung == b->rung && is_bad(a) == is_bad(b) &&
           strcmp(a->reason, b->reason) == 0;
}

// One line for all pairs that are like this one, if it is the first of them.
static void
print_kind(const struct doctor_ranks *ranks, size_t at)
{
    const struct doctor_pair *kind = &ranks->pairs[at];
    size_t count = ranks->count;
    uint64_t pairs = 0;
    double slowest = 0;
    double fastest = 0;

    for (size_t i = 0; i < count * count; i++) {
        const struct doctor_pair *pair = &ranks->pairs[i];

        if (i / count == i % count || !is_alike(pair, kind)) {
            continue;
        }
        if (i < at) {
            return;
        }
        pairs++;
        if (pair->tried != 0) {
            double speed = gbps(pair);

            slowest = slowest == 0 || speed < slowest ? speed : slowest;
            fastest = speed > fastest ? speed : fastest;
        }
    }
    (void)printf("%-9s%" PRIu64 " pairs %s: %s; 1 MiB at %.1f to %.1f GB/s\n",
                 "", pairs, is_bad(kind) ? "FAILED" : rung_name(kind->rung),
                 kind->reason, slowest, fastest);
}

static void
print_failed_elsewhere(const struct doctor_ranks *ranks)
{
    for (uint16_t r = 1; r < ranks->count; r++) {
        if (ranks->ranks[r].failed[0] != '\0') {
            (void)printf("%-9srank %u on %s fails: %s\n", "", (unsigned)r,
                         ranks->ranks[r].host, ranks->ranks[r].failed);
        }
    }
}

void
doctor_ranks_print(const struct doctor_ranks *ranks, bool json)
{
    size_t count = ranks->count;

    for (size_t i = 0; i < count * count && json; i++) {
        if (i / count != i % count) {
            print_pair_json(ranks, (uint16_t)(i / count),
                            (uint16_t)(i % count));
        }
    }
    if (json) {
        return;
    }
    if (count <= TABLE_RANKS_MAX) {
        print_table(ranks);
    }
    for (size_t i = 0; i < count * count; i++) {
        if (i / count != i % count) {
            print_kind(ranks, i);
        }
    }
    print_failed_elsewhere(ranks);
}
