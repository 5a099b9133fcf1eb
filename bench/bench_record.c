// SPDX-License-Identifier: Apache-2.0
//
// Results as one line, and as a record from which they can be judged later:
// every sample, and how and where it was made.

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/units.h"
#include "bench/bench.h"
#include "bench/bench_summary.h"
#include "bench/report.h"
#include "tools/output.h"

static const char *
limit_name(const struct bench_driver *driver, const struct bench_run *run)
{
    if (driver->limit != NULL) {
        return driver->limit;
    }
    return strcmp(run->what->dedup, "content") == 0 ? "sha256" : "memcpy";
}

static void
add_spread(json_t *object, const char *name, const struct bench_spread *spread)
{
    json_t *child = json_object();

    output_need(child != NULL);
    report_real(child, "min", spread->min);
    report_real(child, "median", spread->median);
    report_real(child, "max", spread->max);
    report_child(object, name, child);
}

static void
add_times(json_t *object, const char *name, const struct bench_times *times)
{
    json_t *child = json_object();

    output_need(child != NULL);
    report_real(child, "p50", times->p50_us);
    report_real(child, "p99", times->p99_us);
    report_real(child, "p999", times->p999_us);
    report_child(object, name, child);
}

static json_t *
make_line(const struct bench_driver *driver, const struct bench_run *run,
          const struct bench_summary *summary)
{
    json_t *object = json_object();

    output_need(object != NULL);
    output_json_text(object, "case", run->what->name);
    output_json_unsigned(object, "block_bytes", run->block_bytes);
    output_json_unsigned(object, "threads", run->threads);
    if (run->of_ranks) {
        output_json_unsigned(object, "ranks", (uint64_t)run->rank_count);
    }
    output_json_unsigned(object, "rounds", run->rounds);
    add_spread(object, "gbps", &summary->gbps);
    add_times(object, "latency_us", &summary->latency);
    output_json_text(object, "limit", limit_name(driver, run));
    report_real(object, "limit_gbps", summary->limit_gbps.median);
    report_real(object, "ratio", summary->ratio);
    output_json_unsigned(object, "verified_bytes", summary->verified_bytes);
    output_json_unsigned(object, "wrong_bytes", summary->wrong_bytes);
    output_json_unsigned(object, "misses", summary->misses);
    return object;
}

static void
print_text(const struct bench_driver *driver, const struct bench_run *run,
           const struct bench_summary *summary)
{
    char size[32];

    units_format_bytes(run->block_bytes, size, sizeof(size));
    (void)printf("%-15s %7s x%" PRIu32 "  ", run->what->name, size,
                 run->threads);
    if (driver->moves_bytes) {
        (void)printf("%6.2f GB/s (%.2f..%.2f), %.2f of %s %.2f",
                     summary->gbps.median, summary->gbps.min, summary->gbps.max,
                     summary->ratio, limit_name(driver, run),
                     summary->limit_gbps.median);
        if (run->limit_detail != NULL) {
            (void)printf(" (%s)", run->limit_detail);
        }
    } else if (driver->holds_bytes) {
        (void)printf("%.4f of the %s", summary->ratio, limit_name(driver, run));
    } else {
        (void)printf("%.2f of the bar of %.3g us at p%g", summary->ratio,
                     (double)run->bar_ns / 1e3, 100 * driver->bar_quantile);
    }
    if (isfinite(summary->latency.p50_us)) {
        (void)printf("; p50 %.4g us, p99 %.4g us, p99.9 %.4g us",
                     summary->latency.p50_us, summary->latency.p99_us,
                     summary->latency.p999_us);
    }
    if (isfinite(summary->limit_latency.p50_us)) {
        (void)printf(" (limit p50 %.4g us)", summary->limit_latency.p50_us);
    }
    if (isfinite(summary->cores)) {
        (void)printf("; %.1f cores", summary->cores);
    }
    if (summary->device_bytes > 0) {
        (void)printf("; %.2f GB from the device",
                     (double)summary->device_bytes / 1e9);
    }
    (void)printf("; %.2f GB compared, %" PRIu64 " wrong bytes, %" PRIu64
                 " misses\n",
                 (double)summary->verified_bytes / 1e9, summary->wrong_bytes,
                 summary->misses);
}

bool
bench_record_print(const struct bench_driver *driver, struct bench_run *run,
                   bool json)
{
    struct bench_summary summary;

    bench_summary_make(driver, run, &summary);
    if (json) {
        report_line(make_line(driver, run, &summary), stdout);
    } else {
        print_text(driver, run, &summary);
    }
    (void)fflush(stdout);
    return summary.wrong_bytes == 0 && summary.misses == 0;
}

static void
add_machine(json_t *object)
{
    struct utsname names;
    FILE *file = fopen("/proc/cpuinfo", "re");
    char line[512];

    if (uname(&names) == 0) {
        output_json_text(object, "host", names.nodename);
        output_json_text(object, "kernel", names.release);
    }
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        char *value = strchr(line, ':');

        if (strncmp(line, "model name", strlen("model name")) == 0 &&
            value != NULL) {
            value[strcspn(value, "\n")] = '\0';
            output_json_text(object, "cpu", value + strspn(value, ": "));
            break;
        }
    }
    if (file != NULL) {
        (void)fclose(file);
    }
}

static void
add_file_system(json_t *object, const char *folder)
{
    struct statfs facts;
    char text[32];

    if (folder[0] != '\0' && statfs(folder, &facts) == 0) {
        (void)snprintf(text, sizeof(text), "magic 0x%lx",
                       (unsigned long)facts.f_type);
        output_json_text(object, "file_system", text);
        output_json_text(object, "folder", folder);
    }
}

static void
add_options(json_t *object, const char *text)
{
    json_t *options = json_object();

    output_need(options != NULL);
    while (*text != '\0') {
        size_t length = strcspn(text, "\n");
        char line[1024];
        char *value;

        (void)snprintf(line, sizeof(line), "%.*s", (int)length, text);
        value = strchr(line, '=');
        if (value != NULL) {
            *value++ = '\0';
            output_json_text(options, line, value);
        }
        text += length + (text[length] == '\n');
    }
    report_child(object, "options", options);
}

static void
add_samples(json_t *object, const struct bench_run *run)
{
    json_t *list = json_array();

    output_need(list != NULL);
    for (uint32_t i = 0; i < run->rounds; i++) {
        const struct bench_sample *sample = &run->samples[i];
        json_t *item = json_object();

        output_need(item != NULL);
        output_json_unsigned(item, "bytes", sample->work.bytes);
        output_json_unsigned(item, "ns", sample->work.ns);
        output_json_unsigned(item, "limit_bytes", sample->limit.bytes);
        output_json_unsigned(item, "limit_ns", sample->limit.ns);
        output_json_unsigned(item, "device_bytes", sample->device_bytes);
        output_json_unsigned(item, "cpu_ns", sample->cpu_ns);
        output_need(json_array_append_new(list, item) == 0);
    }
    report_child(object, "samples", list);
}

enum cascade_status
bench_record_append(const struct bench_driver *driver, struct bench_run *run,
                    const char *path)
{
    struct bench_summary summary;
    json_t *object;
    FILE *file = fopen(path, "ae");

    if (file == NULL) {
        return error_set_errno(errno, "cannot write %s", path);
    }
    bench_summary_make(driver, run, &summary);
    object = make_line(driver, run, &summary);
    add_times(object, "limit_latency_us", &summary.limit_latency);
    report_real(object, "cores", summary.cores);
    if (run->limit_detail != NULL) {
        output_json_text(object, "limit_detail", run->limit_detail);
    }
    if (run->shape.depth != 0) {
        output_json_unsigned(object, "raw_request_bytes",
                             run->shape.request_bytes);
        output_json_unsigned(object, "raw_depth", run->shape.depth);
    }
    output_json_unsigned(object, "bar_ns", run->bar_ns);
    output_json_unsigned(object, "blocks", run->blocks);
    output_json_unsigned(object, "seed", run->seed);
    output_json_unsigned(object, "time_ns", clock_wall_ns(clock_system()));
    output_json_text(object, "version", cascade_version());
    output_json_text(object, "commit", BENCH_COMMIT);
    output_json_text(object, "compiler", BENCH_COMPILER);
    output_json_text(object, "flags", BENCH_FLAGS);
    add_machine(object);
    add_file_system(object, run->folder);
    add_options(object, run->options_text);
    add_samples(object, run);
    report_line(object, file);
    return fclose(file) == 0 ? CASCADE_OK
                             : error_set_errno(errno, "cannot write %s", path);
}

void
bench_record_skip(const struct bench_run *run, const char *why, bool json)
{
    json_t *object;
    char size[32];

    if (!json) {
        units_format_bytes(run->block_bytes, size, sizeof(size));
        (void)printf("%-15s %7s x%" PRIu32 "  skipped: %s\n", run->what->name,
                     size, run->threads, why);
        return;
    }
    object = json_object();
    output_need(object != NULL);
    output_json_text(object, "case", run->what->name);
    output_json_unsigned(object, "block_bytes", run->block_bytes);
    output_json_unsigned(object, "threads", run->threads);
    output_json_text(object, "skipped", why);
    report_line(object, stdout);
}
