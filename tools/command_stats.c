// SPDX-License-Identifier: Apache-2.0
//
// cascade stats: the counters of running stores, read from the page that each
// publishes. Never disturbs a store.

#include <argp.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/allocator.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/metric_page.h"
#include "base/units.h"
#include "cascade/cascade.h"
#include "store/store_metrics.h"
#include "tools/command.h"
#include "tools/output.h"

// Counters that grow between two calls may need this much more text.
#define TEXT_SLACK_BYTES 4096

enum form {
    FORM_TEXT,
    FORM_JSON,
    FORM_PROMETHEUS
};

struct stats_request {
    enum form form;
    uint64_t pid; // 0 = any
    const char *directory;
};

enum {
    OPTION_PROMETHEUS = 256,
};

static const struct argp_option options[] = {
    {"pid", 'p', "N", 0, "Only the store of this process", 0},
    {"store", 's', "DIR", 0, "Only the store with this cold directory", 0},
    {"json", 'j', NULL, 0, "Print one JSON object per store", 0},
    {"prometheus", OPTION_PROMETHEUS, NULL, 0,
     "Print all metrics of one store as Prometheus text", 0},
    {NULL, 0, NULL, 0, NULL, 0},
};

static error_t
parse(int key, char *argument, struct argp_state *state)
{
    struct stats_request *request = state->input;

    switch (key) {
    case 'p':
        if (!units_parse_unsigned(argument, &request->pid) ||
            request->pid == 0) {
            argp_error(state, "'%s' is not the number of a process", argument);
        }
        return 0;
    case 's':
        request->directory = argument;
        return 0;
    case 'j':
        request->form = FORM_JSON;
        return 0;
    case OPTION_PROMETHEUS:
        request->form = FORM_PROMETHEUS;
        return 0;
    case ARGP_KEY_ARG:
        argp_usage(state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void
add_tiers(json_t *object, const char *name, const uint64_t *values)
{
    json_t *tiers = json_object();

    output_need(tiers != NULL);
    for (int i = 1; i < CASCADE_TIER_COUNT; i++) {
        output_json_unsigned(tiers, output_tier_name((enum cascade_tier)i),
                             values[i]);
    }
    output_need(json_object_set_new(object, name, tiers) == 0);
}

static void
print_json(const struct metric_page_info *info,
           const struct cascade_stats *stats)
{
    const struct {
        const char *name;
        uint64_t value;
    } plain[] = {
        {"puts", stats->puts},
        {"puts_existed", stats->puts_existed},
        {"puts_refused", stats->puts_refused},
        {"put_bytes", stats->put_bytes},
        {"gets", stats->gets},
        {"misses", stats->misses},
        {"misses_evicted", stats->misses_evicted},
        {"misses_corrupt", stats->misses_corrupt},
        {"dedup_hits", stats->dedup_hits},
        {"dedup_bytes_saved", stats->dedup_bytes_saved},
        {"blocks", stats->blocks},
        {"keys", stats->keys},
        {"protected_blocks", stats->protected_blocks},
        {"protected_bytes", stats->protected_bytes},
        {"protections_refused", stats->protections_refused},
        {"corrupt_blocks", stats->corrupt_blocks},
        {"stale_places", stats->stale_places},
        {"demotions", stats->demotions},
        {"promotions", stats->promotions},
        {"cold_bytes_written", stats->cold_bytes_written},
        {"cold_writes_dropped", stats->cold_writes_dropped},
        {"dirty_bytes", stats->dirty_bytes},
        {"dirty_blocks", stats->dirty_blocks},
        {"segments_sealed", stats->segments_sealed},
        {"segments_reclaimed", stats->segments_reclaimed},
        {"blocks_reinserted", stats->blocks_reinserted},
        {"views_out", stats->views_out},
        {"pins", stats->pins},
    };
    json_t *object = json_object();

    output_need(object != NULL);
    output_json_unsigned(object, "pid", info->pid);
    output_json_text(object, "namespace", info->namespace_name);
    output_json_text(object, "cold_path", info->cold_path);
    output_json_unsigned(object, "opened_wall_ns", info->opened_wall_ns);
    for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
        output_json_unsigned(object, plain[i].name, plain[i].value);
    }
    add_tiers(object, "hits", stats->hits);
    add_tiers(object, "hit_bytes", stats->hit_bytes);
    add_tiers(object, "used_bytes", stats->used_bytes);
    add_tiers(object, "capacity_bytes", stats->capacity_bytes);
    add_tiers(object, "tier_blocks", stats->tier_blocks);
    add_tiers(object, "evictions", stats->evictions);
    output_json_line(object);
}

static void
print_tier(enum cascade_tier tier, const struct cascade_stats *stats)
{
    size_t i = (size_t)tier;

    if (stats->capacity_bytes[i] == 0 && stats->hits[i] == 0) {
        return;
    }
    (void)printf(
        "  %-11s  %10.3f of %10.3f GB, %10" PRIu64 " blocks, %10" PRIu64
        " hits, %10.3f GB, %8" PRIu64 " evictions\n",
        output_tier_name(tier), (double)stats->used_bytes[i] / 1e9,
        (double)stats->capacity_bytes[i] / 1e9, stats->tier_blocks[i],
        stats->hits[i], (double)stats->hit_bytes[i] / 1e9, stats->evictions[i]);
}

static void
print_text(const struct metric_page_info *info,
           const struct cascade_stats *stats)
{
    char cold_path[4 * 256];
    char name_space[4 * 256];
    uint64_t now_ns = clock_wall_ns(clock_system());
    uint64_t hits = 0;

    output_safe_text(info->cold_path, strlen(info->cold_path), cold_path,
                     sizeof(cold_path));
    output_safe_text(info->namespace_name, strlen(info->namespace_name),
                     name_space, sizeof(name_space));
    for (size_t i = 0; i < CASCADE_TIER_COUNT; i++) {
        hits += stats->hits[i];
    }
    (void)printf("process %" PRIu64 ", namespace %s, %s, open for %.0f s\n",
                 info->pid, name_space,
                 cold_path[0] != '\0' ? cold_path : "no cold tier",
                 now_ns > info->opened_wall_ns
                     ? (double)(now_ns - info->opened_wall_ns) / 1e9
                     : 0.0);
    (void)printf(
        "  gets %" PRIu64 ", hits %" PRIu64 " (%.1f %%), misses %" PRIu64
        " (%" PRIu64 " evicted, %" PRIu64 " damaged)\n",
        stats->gets, hits,
        stats->gets > 0 ? 100.0 * (double)hits / (double)stats->gets : 0.0,
        stats->misses, stats->misses_evicted, stats->misses_corrupt);
    (void)printf("  puts %" PRIu64 " (%.3f GB), existed %" PRIu64
                 ", refused %" PRIu64 ", dedup hits %" PRIu64
                 " (%.3f GB saved)\n",
                 stats->puts, (double)stats->put_bytes / 1e9,
                 stats->puts_existed, stats->puts_refused, stats->dedup_hits,
                 (double)stats->dedup_bytes_saved / 1e9);
    (void)printf("  keys %" PRIu64 ", blocks %" PRIu64 ", protected %" PRIu64
                 " (%.3f GB), corrupt %" PRIu64 ", not yet cold %.3f GB\n",
                 stats->keys, stats->blocks, stats->protected_blocks,
                 (double)stats->protected_bytes / 1e9, stats->corrupt_blocks,
                 (double)stats->dirty_bytes / 1e9);
    for (int i = 1; i < CASCADE_TIER_COUNT; i++) {
        print_tier((enum cascade_tier)i, stats);
    }
}

static enum cascade_status
print_prometheus(const struct metric_values *values)
{
    size_t size = 0;
    char *text = NULL;
    enum cascade_status status = store_metrics_text(values, NULL, 0, &size);

    while (status == CASCADE_TOO_SMALL) {
        size += TEXT_SLACK_BYTES;
        allocator_release(allocator_system(), text);
        text = allocator_array(allocator_system(), size, 1);
        if (text == NULL) {
            return error_set(CASCADE_NO_MEMORY, "no memory for the text");
        }
        status = store_metrics_text(values, text, size, &size);
    }
    if (status == CASCADE_OK && text != NULL) {
        (void)fputs(text, stdout);
    }
    allocator_release(allocator_system(), text);
    return status;
}

// Prints one store. One that went away meanwhile is none (NOT_FOUND).
static enum cascade_status
print_store(const struct metric_page_place *place,
            const struct metric_page_info *info, enum form form)
{
    struct metric_page_handle handle;
    struct cascade_stats stats = {.size = sizeof(stats)};
    enum cascade_status status = metric_page_attach(place, info->path, &handle);

    if (status != CASCADE_OK) {
        return status;
    }
    if (form == FORM_PROMETHEUS) {
        status = print_prometheus(&handle.page->values);
    } else {
        status = store_metrics_stats(&handle.page->values, &stats);
        if (status == CASCADE_OK) {
            (form == FORM_JSON ? print_json : print_text)(info, &stats);
        }
    }
    metric_page_detach(&handle);
    return status;
}

// Whether the user asked for that store. Paths are compared as the file system
// sees them.
static bool
wanted(const struct stats_request *request, const struct metric_page_info *info)
{
    char given[PATH_MAX];
    char theirs[PATH_MAX];

    if (request->pid != 0 && request->pid != info->pid) {
        return false;
    }
    if (request->directory == NULL) {
        return true;
    }
    return realpath(request->directory, given) != NULL &&
           realpath(info->cold_path, theirs) != NULL &&
           strcmp(given, theirs) == 0;
}

static size_t
keep_wanted(const struct stats_request *request, struct metric_page_info *infos,
            size_t count)
{
    size_t kept = 0;

    for (size_t i = 0; i < count; i++) {
        if (wanted(request, &infos[i])) {
            if (kept != i) {
                infos[kept] = infos[i];
            }
            kept++;
        }
    }
    return kept;
}

static int
print_stores(const struct metric_page_place *place,
             const struct stats_request *request,
             const struct metric_page_info *infos, size_t count)
{
    int answer = COMMAND_OK;

    if (count == 0) {
        output_note(request->pid != 0 || request->directory != NULL
                        ? "no such store is running"
                        : "no store is running");
        return COMMAND_NO;
    }
    if (request->form == FORM_PROMETHEUS && count > 1) {
        output_note("%zu stores are running; choose one with --pid or --store",
                    count);
        return COMMAND_USAGE;
    }
    for (size_t i = 0; i < count; i++) {
        enum cascade_status status = print_store(place, &infos[i],
                                                 request->form);

        if (status != CASCADE_OK &&
            (status != CASCADE_NOT_FOUND || count == 1)) {
            (void)output_failure(status);
            answer = COMMAND_NO;
        }
    }
    return answer;
}

int
command_stats(int argc, char **argv)
{
    static const char what[] = "Prints the counters of the running stores of "
                               "this user.";
    const struct argp argp = {
        options, parse, NULL, what, NULL, NULL, NULL,
    };
    const struct metric_page_place place = metric_page_usual_place(
        allocator_system());
    struct stats_request request = {.form = FORM_TEXT};
    struct metric_page_info *infos;
    size_t count;
    enum cascade_status status;
    int answer;

    (void)argp_parse(&argp, argc, argv, 0, NULL, &request);
    status = metric_page_list(&place, &infos, &count);
    if (status != CASCADE_OK) {
        return output_failure(status);
    }
    count = keep_wanted(&request, infos, count);
    answer = print_stores(&place, &request, infos, count);
    allocator_release(allocator_system(), infos);
    return answer;
}
