// SPDX-License-Identifier: Apache-2.0
//
// What a replay says: samples of windows of the run, and the result, as text
// for people or as one JSON object. Only prints what was counted.

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/error.h"
#include "base/units.h"
#include "bench/replay.h"
#include "bench/report.h"
#include "tools/output.h"

static double
percent(uint64_t part, uint64_t whole)
{
    return whole == 0 ? 0.0 : 100.0 * (double)part / (double)whole;
}

static uint64_t
count_marks(const struct replay *replay, uint8_t mark)
{
    uint64_t count = 0;

    for (size_t i = 0; i < replay->trace->id_count; i++) {
        count += (replay->marks[i] & mark) != 0;
    }
    return count;
}

static uint64_t
memory_hits(const uint64_t *hits)
{
    return hits[CASCADE_TIER_LOCAL_GPU] + hits[CASCADE_TIER_LOCAL_DRAM] +
           hits[CASCADE_TIER_REMOTE_GPU] + hits[CASCADE_TIER_REMOTE_DRAM];
}

static void
take_moment(const struct replay_totals *totals, struct replay_moment *moment)
{
    moment->requests = totals->requests;
    moment->refs = totals->refs;
    for (size_t tier = 0; tier < CASCADE_TIER_COUNT; tier++) {
        moment->hits[tier] = totals->hits[tier];
    }
    moment->verified_bytes = totals->verified_bytes;
    moment->get_ns = totals->get_ns;
    moment->put_bytes = totals->put_bytes;
    moment->put_ns = totals->put_ns;
}

enum cascade_status
replay_read_hits(struct replay *replay, bool count)
{
    struct cascade_stats stats = {.size = sizeof(stats)};
    enum cascade_status status = cascade_stats_read(replay->store, &stats);

    if (status != CASCADE_OK) {
        return status;
    }
    for (size_t tier = 0; tier < CASCADE_TIER_COUNT; tier++) {
        if (count) {
            replay->totals->hits[tier] += stats.hits[tier] -
                                          replay->hits_seen[tier];
        }
        replay->hits_seen[tier] = stats.hits[tier];
    }
    return CASCADE_OK;
}

enum cascade_status
replay_open_samples(struct replay *replay)
{
    const char *path = replay->options->samples_path;

    if (path == NULL) {
        return CASCADE_OK;
    }
    // Appending, because parent and child write one after the other.
    (void)unlink(path);
    replay->samples = fopen(path, "a");
    return replay->samples == NULL
               ? error_set_errno(errno, "cannot write %s", path)
               : CASCADE_OK;
}

enum cascade_status
replay_sample(struct replay *replay)
{
    const struct replay_moment *last = &replay->totals->last;
    const struct trace *trace = replay->trace;
    struct cascade_stats stats = {.size = sizeof(stats)};
    struct replay_moment now;
    json_t *object;
    enum cascade_status status;

    if (replay->samples == NULL) {
        return CASCADE_OK;
    }
    status = cascade_stats_read(replay->store, &stats);
    if (status != CASCADE_OK) {
        return status;
    }
    take_moment(replay->totals, &now);
    object = json_object();
    output_need(object != NULL);
    output_json_unsigned(object, "requests", now.requests);
    report_real(object, "trace_seconds",
                trace->requests[now.requests - 1].timestamp_ms / 1000);
    output_json_unsigned(object, "refs", now.refs - last->refs);
    output_json_unsigned(object, "hits_memory",
                         memory_hits(now.hits) - memory_hits(last->hits));
    output_json_unsigned(object, "hits_segments",
                         now.hits[CASCADE_TIER_SEGMENTS] -
                             last->hits[CASCADE_TIER_SEGMENTS]);
    report_real(object, "get_gbps",
                report_gbps(now.verified_bytes - last->verified_bytes,
                            now.get_ns - last->get_ns));
    report_real(object, "put_gbps",
                report_gbps(now.put_bytes - last->put_bytes,
                            now.put_ns - last->put_ns));
    output_json_unsigned(object, "dram_bytes",
                         stats.used_bytes[CASCADE_TIER_LOCAL_DRAM]);
    output_json_unsigned(object, "segment_bytes",
                         stats.used_bytes[CASCADE_TIER_SEGMENTS]);
    output_json_unsigned(object, "protected_blocks", stats.protected_blocks);
    output_json_unsigned(object, "restarts", replay->totals->restarts);
    report_line(object, replay->samples);
    replay->totals->last = now;
    if (fflush(replay->samples) != 0) {
        return error_set(CASCADE_IO, "cannot write %s",
                         replay->options->samples_path);
    }
    return CASCADE_OK;
}

enum cascade_status
replay_add_store(struct replay *replay)
{
    struct cascade_stats stats = {.size = sizeof(stats)};
    struct replay_totals *totals = replay->totals;
    enum cascade_status status = cascade_stats_read(replay->store, &stats);

    if (status != CASCADE_OK) {
        return status;
    }
    totals->dedup_hits += stats.dedup_hits;
    totals->dedup_bytes_saved += stats.dedup_bytes_saved;
    totals->promotions += stats.promotions;
    for (size_t tier = 0; tier < CASCADE_TIER_COUNT; tier++) {
        totals->evictions[tier] += stats.evictions[tier];
    }
    totals->demotions += stats.demotions;
    totals->cold_bytes_written += stats.cold_bytes_written;
    totals->cold_writes_dropped += stats.cold_writes_dropped;
    totals->corrupt_blocks += stats.corrupt_blocks;
    totals->segments_reclaimed += stats.segments_reclaimed;
    return CASCADE_OK;
}

static void
add_latency(json_t *object, const char *name, const _Atomic uint64_t *slots)
{
    struct histogram histogram;
    json_t *latency = json_object();

    output_need(latency != NULL);
    histogram_read(slots, &histogram);
    report_real(latency, "p50",
                (double)histogram_quantile_ns(&histogram, 0.5) / 1e3);
    report_real(latency, "p99",
                (double)histogram_quantile_ns(&histogram, 0.99) / 1e3);
    report_child(object, name, latency);
}

static void
add_counts(json_t *object, const struct replay *replay)
{
    const struct replay_totals *totals = replay->totals;

    output_json_unsigned(object, "requests", totals->requests);
    output_json_unsigned(object, "block_refs", totals->refs);
    output_json_unsigned(object, "distinct_blocks", replay->trace->id_count);
    output_json_unsigned(object, "block_bytes", replay->options->block_bytes);
    report_real(object, "prefix_hit_pct",
                percent(totals->prefix_hits, totals->refs));
    report_real(object, "block_hit_pct",
                percent(totals->block_hits, totals->refs));
    for (size_t tier = 1; tier < CASCADE_TIER_COUNT; tier++) {
        char name[32];

        (void)snprintf(name, sizeof(name), "hits_%s",
                       output_tier_name((enum cascade_tier)tier));
        output_json_unsigned(object, name, totals->hits[tier]);
    }
    output_json_unsigned(object, "evictions_local_dram",
                         totals->evictions[CASCADE_TIER_LOCAL_DRAM]);
    output_json_unsigned(object, "evictions_segments",
                         totals->evictions[CASCADE_TIER_SEGMENTS]);
    output_json_unsigned(object, "segments_reclaimed",
                         totals->segments_reclaimed);
    output_json_unsigned(object, "demotions", totals->demotions);
    output_json_unsigned(object, "dedup_hits", totals->dedup_hits);
    output_json_unsigned(object, "dedup_bytes_saved",
                         totals->dedup_bytes_saved);
    output_json_unsigned(object, "promotions", totals->promotions);
    output_json_unsigned(object, "cold_bytes_written",
                         totals->cold_bytes_written);
    output_json_unsigned(object, "cold_writes_dropped",
                         totals->cold_writes_dropped);
    output_json_unsigned(object, "puts", totals->puts);
    output_json_unsigned(object, "puts_refused", totals->puts_refused);
}

static void
add_ranks(json_t *object, const struct replay *replay)
{
    const struct replay_totals *totals = replay->totals;

    output_json_text(object, "route", route_name(replay->options->route));
    output_json_unsigned(object, "ranks", replay->rank_count);
    output_json_unsigned(object, "unanswered", totals->unanswered);
    output_json_unsigned(object, "remote_bytes", totals->remote_bytes);
    report_real(object, "remote_seconds",
                (double)totals->remote_ns / (double)NS_PER_S);
    report_real(object, "remote_gbps",
                report_gbps(totals->remote_bytes, totals->remote_ns));
}

static void
print_json(const struct replay *replay)
{
    const struct replay_totals *totals = replay->totals;
    json_t *object = json_object();

    output_need(object != NULL);
    output_json_text(object, "trace", replay->options->trace_path);
    add_counts(object, replay);
    if (replay->options->route != ROUTE_NONE) {
        add_ranks(object, replay);
    }
    report_real(object, "get_gbps",
                report_gbps(totals->verified_bytes, totals->get_ns));
    report_real(object, "put_gbps",
                report_gbps(totals->put_bytes, totals->put_ns));
    add_latency(object, "get_latency_us", totals->get_latency);
    add_latency(object, "put_latency_us", totals->put_latency);
    output_json_unsigned(object, "verified_bytes", totals->verified_bytes);
    output_json_unsigned(object, "checked_bytes", totals->checked_bytes);
    output_json_unsigned(object, "wrong_bytes", totals->wrong_bytes);
    output_json_unsigned(object, "corrupt_blocks", totals->corrupt_blocks);
    output_json_unsigned(object, "failed_calls", totals->failed_calls);
    output_json_unsigned(object, "protected_wanted",
                         count_marks(replay, REPLAY_WANTED_PROTECTED));
    output_json_unsigned(object, "protected",
                         count_marks(replay, REPLAY_PROTECTED));
    output_json_unsigned(object, "protected_checks", totals->protect_checks);
    output_json_unsigned(object, "protected_lost", totals->protect_lost);
    output_json_unsigned(object, "restarts", totals->restarts);
    output_json_unsigned(object, "restart_expected", totals->restart_expected);
    output_json_unsigned(object, "restart_served", totals->restart_served);
    report_real(object, "restart_open_seconds",
                (double)totals->restart_open_ns / (double)NS_PER_S);
    report_real(object, "seconds",
                (double)totals->elapsed_ns / (double)NS_PER_S);
    report_line(object, stdout);
}

static void
print_hits(const struct replay *replay)
{
    const struct replay_totals *totals = replay->totals;

    (void)printf("requests          %" PRIu64 ", %" PRIu64
                 " block references, %zu distinct blocks\n",
                 totals->requests, totals->refs, replay->trace->id_count);
    (void)printf("prefix hits       %.1f %% of the references, got and "
                 "compared\n",
                 percent(totals->prefix_hits, totals->refs));
    (void)printf("block hits        %.1f %%, also those behind a miss\n",
                 percent(totals->block_hits, totals->refs));
    for (size_t tier = 1; tier < CASCADE_TIER_COUNT; tier++) {
        if (totals->hits[tier] > 0) {
            (void)printf("  from %-11s %" PRIu64 " (%.1f %%)\n",
                         output_tier_name((enum cascade_tier)tier),
                         totals->hits[tier],
                         percent(totals->hits[tier], totals->refs));
        }
    }
}

static void
print_speed(const char *name, uint64_t bytes, uint64_t ns,
            const _Atomic uint64_t *slots)
{
    struct histogram histogram;

    histogram_read(slots, &histogram);
    (void)printf("%-17s %.2f GB in %.2f s = %.2f GB/s; per request p50 %.0f "
                 "us, p99 %.0f us\n",
                 name, (double)bytes / 1e9, (double)ns / (double)NS_PER_S,
                 report_gbps(bytes, ns),
                 (double)histogram_quantile_ns(&histogram, 0.5) / 1e3,
                 (double)histogram_quantile_ns(&histogram, 0.99) / 1e3);
}

static void
print_moves(const struct replay *replay)
{
    const struct replay_totals *totals = replay->totals;

    (void)printf("evictions         %" PRIu64 " from DRAM, %" PRIu64
                 " from segments; %" PRIu64 " demotions\n",
                 totals->evictions[CASCADE_TIER_LOCAL_DRAM],
                 totals->evictions[CASCADE_TIER_SEGMENTS], totals->demotions);
    (void)printf("cold tier         %.2f GB written, %" PRIu64
                 " writes dropped, %" PRIu64 " segments reclaimed\n",
                 (double)totals->cold_bytes_written / 1e9,
                 totals->cold_writes_dropped, totals->segments_reclaimed);
    (void)printf("deduplicated      %" PRIu64 " puts; refused for want of "
                 "space: %" PRIu64 "\n",
                 totals->dedup_hits, totals->puts_refused);
    if (replay->options->route != ROUTE_NONE) {
        (void)printf("                  %.2f GB not stored again; %" PRIu64
                     " promotions\n",
                     (double)totals->dedup_bytes_saved / 1e9,
                     totals->promotions);
    }
}

// Bytes of whole batches that came from other ranks, over the time of those
// batches, as one rank sees it.
static void
print_ranks(const struct replay *replay)
{
    const struct replay_totals *totals = replay->totals;

    (void)printf("ranks             %u, requests routed by %s\n",
                 (unsigned)replay->rank_count,
                 route_name(replay->options->route));
    if (totals->unanswered > 0) {
        (void)printf("unanswered        %" PRIu64
                     " calls: another rank was too "
                     "slow\n",
                     totals->unanswered);
    }
    (void)printf("from other ranks  %.2f GB in %.2f s of reading = %.2f GB/s\n",
                 (double)totals->remote_bytes / 1e9,
                 (double)totals->remote_ns / (double)NS_PER_S,
                 report_gbps(totals->remote_bytes, totals->remote_ns));
}

// The promises, last.
static void
print_promises(const struct replay *replay)
{
    const struct replay_totals *totals = replay->totals;
    uint64_t wanted = count_marks(replay, REPLAY_WANTED_PROTECTED);
    uint64_t accepted = count_marks(replay, REPLAY_PROTECTED);

    if (totals->restarts > 0) {
        (void)printf("restart           %s; open again after %.2f s; flushed "
                     "blocks served %" PRIu64 "/%" PRIu64 "\n",
                     replay->options->kill ? "killed with SIGKILL" : "closed",
                     (double)totals->restart_open_ns / (double)NS_PER_S,
                     totals->restart_served, totals->restart_expected);
    }
    if (wanted > 0) {
        (void)printf("protected prompts retained %" PRIu64 "/%" PRIu64
                     " = %.0f %%, in %" PRIu64 " checks",
                     accepted - totals->protect_lost, accepted,
                     percent(accepted - totals->protect_lost, accepted),
                     totals->protect_checks);
        if (accepted < wanted) {
            (void)printf("; %" PRIu64 " of %" PRIu64
                         " wanted were refused or never put",
                         wanted - accepted, wanted);
        }
        (void)printf("\n");
    }
    if (totals->failed_calls > 0 || totals->corrupt_blocks > 0) {
        (void)printf("%" PRIu64 " failed calls, %" PRIu64 " damaged blocks\n",
                     totals->failed_calls, totals->corrupt_blocks);
    }
    (void)printf("%" PRIu64 " wrong bytes in %" PRIu64 " compared\n",
                 totals->wrong_bytes,
                 totals->verified_bytes + totals->checked_bytes);
}

void
replay_print(const struct replay *replay)
{
    const struct replay_totals *totals = replay->totals;

    if (replay->options->json) {
        print_json(replay);
        return;
    }
    print_hits(replay);
    if (replay->options->route != ROUTE_NONE) {
        print_ranks(replay);
    }
    print_speed("verified hits", totals->verified_bytes, totals->get_ns,
                totals->get_latency);
    print_speed("puts", totals->put_bytes, totals->put_ns, totals->put_latency);
    print_moves(replay);
    (void)printf("took              %.1f s, making and comparing all bytes "
                 "included\n",
                 (double)totals->elapsed_ns / (double)NS_PER_S);
    print_promises(replay);
}

bool
replay_is_clean(const struct replay *replay)
{
    const struct replay_totals *totals = replay->totals;

    return totals->wrong_bytes == 0 && totals->failed_calls == 0 &&
           totals->corrupt_blocks == 0 && totals->protect_lost == 0 &&
           totals->restart_served == totals->restart_expected;
}
