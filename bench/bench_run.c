// SPDX-License-Identifier: Apache-2.0
//
// Runs one measurement: a warm-up, then rounds, with the limit before the work
// in every other round so that neither always profits from the other.

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "base/allocator.h"
#include "base/error.h"
#include "base/file.h"
#include "base/machine.h"
#include "base/units.h"
#include "bench/bench.h"
#include "tools/probe.h"

#define LATENCIES_MAX ((uint64_t)4 << 20)

// Files of a run take at most so many times the bytes of a round.
#define DISK_TIMES 6

static const struct bench_driver *const drivers[] = {
    &bench_driver_id,
    &bench_driver_put,
    &bench_driver_put_known,
    &bench_driver_if_absent,
    &bench_driver_first_put,
    &bench_driver_get,
    &bench_driver_acquire,
    &bench_driver_exists,
    &bench_driver_exists_batch,
    &bench_driver_batch_get,
    &bench_driver_cold_write,
    &bench_driver_cold_get,
    &bench_driver_fill,
    &bench_driver_cold_batch,
    &bench_driver_restart,
    &bench_driver_remote_near,
    &bench_driver_rank_lookup,
    &bench_driver_rank_lookup_idle,
    &bench_driver_rank_get,
    &bench_driver_rank_lookup_batch,
    &bench_driver_rank_scale,
    &bench_driver_rank_cold,
    &bench_driver_rank_cold_once,
};

const struct bench_driver *
bench_driver_find(const char *name)
{
    for (size_t i = 0; i < sizeof(drivers) / sizeof(drivers[0]); i++) {
        if (strcmp(drivers[i]->name, name) == 0) {
            return drivers[i];
        }
    }
    return NULL;
}

// Memory that could be taken now without swapping.
static uint64_t
available_memory(void)
{
    struct machine_limits limits;
    FILE *file = fopen("/proc/meminfo", "re");
    uint64_t bytes = UINT64_MAX;
    char line[128];

    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, "MemAvailable:", strlen("MemAvailable:")) == 0) {
            bytes = KIB * strtoull(line + strlen("MemAvailable:"), NULL, 10);
        }
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    machine_read(file_system_real(), "", &limits);
    return units_min(bytes, limits.memory_bytes);
}

// Whether a launcher started this process, as one rank or one of several.
static bool
is_rank(void)
{
    struct probe_fabric fabric;

    probe_fabric(&fabric);
    return fabric.found.launcher.name != NULL &&
           fabric.found.launcher.refusal[0] == '\0';
}

// True if there is not enough memory or disk; says why.
static bool
is_too_large(const struct bench_driver *driver, const struct bench_run *run,
             char *skip, size_t skip_bytes)
{
    uint64_t needed = driver->memory_bytes(run);
    uint64_t available = available_memory() / 10 * 9;
    struct statvfs facts;
    uint64_t free_bytes;

    if (needed > available) {
        (void)snprintf(skip, skip_bytes,
                       "needs %.1f GB of memory, %.1f GB can be had",
                       (double)needed / 1e9, (double)available / 1e9);
        return true;
    }
    if (!driver->needs_folder || statvfs(run->folder, &facts) != 0) {
        return false;
    }
    needed = DISK_TIMES * run->blocks *
             units_round_up(run->block_bytes, 4 * KIB);
    free_bytes = (uint64_t)facts.f_bavail * facts.f_frsize;
    if (needed > free_bytes) {
        (void)snprintf(
            skip, skip_bytes, "needs %.1f GB of disk in %s, %.1f GB are free",
            (double)needed / 1e9, run->folder, (double)free_bytes / 1e9);
        return true;
    }
    return false;
}

static enum cascade_status
take_latencies(struct bench_run *run, struct bench_latencies *latencies)
{
    uint64_t each = units_max(run->blocks, run->operations);

    latencies->room = units_min(each * run->rounds, LATENCIES_MAX);
    latencies->ns = allocator_array(allocator_system(), latencies->room,
                                    sizeof(*latencies->ns));
    return latencies->ns == NULL
               ? error_set(CASCADE_NO_MEMORY, "no memory for latencies")
               : CASCADE_OK;
}

static enum cascade_status
run_round(const struct bench_driver *driver, struct bench_run *run,
          struct bench_sample *sample)
{
    bool limit_first = run->round % 2 == 0;
    enum cascade_status status = CASCADE_OK;

    memset(sample, 0, sizeof(*sample));
    if (limit_first && driver->limit_work != NULL) {
        status = driver->limit_work(run, &sample->limit);
    }
    if (status == CASCADE_OK) {
        status = driver->work(run, sample);
    }
    if (status == CASCADE_OK && !limit_first && driver->limit_work != NULL) {
        status = driver->limit_work(run, &sample->limit);
    }
    return status;
}

enum cascade_status
bench_run_measure(const struct bench_driver *driver, struct bench_run *run,
                  char *skip, size_t skip_bytes)
{
    enum cascade_status status;

    skip[0] = '\0';
    if (driver->needs_ranks && !is_rank()) {
        (void)snprintf(skip, skip_bytes,
                       "it is for ranks: mpirun -n 2 cascade "
                       "bench %s",
                       run->what->name);
        return CASCADE_OK;
    }
    run->of_ranks = driver->needs_ranks;
    if (is_too_large(driver, run, skip, skip_bytes)) {
        return CASCADE_OK;
    }
    run->bar_ns = driver->bar_ns;
    status = take_latencies(run, &run->latencies);
    if (status == CASCADE_OK) {
        status = take_latencies(run, &run->limit_latencies);
    }
    if (status == CASCADE_OK) {
        status = driver->set_up(run);
    }
    for (run->round = 0; run->round <= run->rounds && status == CASCADE_OK;
         run->round++) {
        status = run_round(driver, run,
                           run->round == 0 ? &run->warm_up
                                           : &run->samples[run->round - 1]);
    }
    driver->tear_down(run);
    return status;
}
