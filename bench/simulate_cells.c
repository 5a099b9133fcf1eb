// SPDX-License-Identifier: Apache-2.0
//
// Threads take the next cell from a counter; the first thread waits for the
// cells in order and prints them. `lock` guards `next` and `done`; a cell
// belongs to the thread that took it until its `done` is set.

#include "bench/simulate_cells.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/allocator.h"
#include "base/check.h"
#include "base/error.h"
#include "base/units.h"
#include "bench/report.h"
#include "bench/simulate_opt.h"
#include "tools/output.h"

#define THREADS_MAX 64

struct crew {
    struct simulate_cells *cells;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    size_t next;
    bool *done;
};

static uint64_t
thread_time_ns(void)
{
    struct timespec now;

    check(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) == 0);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static void
run_cell(const struct simulate_cells *cells, struct simulate_cell *cell)
{
    const struct simulate_settings settings = {
        .policy = cell->policy,
        .capacity_blocks = cell->capacity_blocks,
        .seed = cells->seed,
        .hints_right = cells->hints_right,
    };
    uint64_t begin_ns = thread_time_ns();

    if (cell->policy != NULL) {
        cell->status = simulate_run(allocator_system(), cells->trace, &settings,
                                    &cell->result);
    } else {
        cell->status = simulate_opt_run(allocator_system(), cells->trace,
                                        cell->capacity_blocks, &cell->result);
    }
    cell->took_ns = thread_time_ns() - begin_ns;
    if (cell->status != CASCADE_OK) {
        (void)snprintf(cell->message, sizeof(cell->message), "%s",
                       error_message());
    }
}

static void *
work(void *argument)
{
    struct crew *crew = argument;

    check(pthread_mutex_lock(&crew->lock) == 0);
    while (crew->next < crew->cells->count) {
        size_t mine = crew->next++;

        check(pthread_mutex_unlock(&crew->lock) == 0);
        run_cell(crew->cells, &crew->cells->cells[mine]);
        check(pthread_mutex_lock(&crew->lock) == 0);
        crew->done[mine] = true;
        check(pthread_cond_broadcast(&crew->changed) == 0);
    }
    check(pthread_mutex_unlock(&crew->lock) == 0);
    return NULL;
}

// Two places after the point are more than a simulation can mean.
static double
rounded(double pct)
{
    return round(pct * 100) / 100;
}

static void
print_cell(const struct simulate_cells *cells, const struct simulate_cell *cell)
{
    const struct simulate_result *result = &cell->result;
    json_t *line = json_object();

    output_json_text(line, "trace", cells->trace_name);
    output_json_text(line, "policy",
                     cell->policy != NULL ? cell->policy->name
                                          : SIMULATE_OPT_NAME);
    if (rint(cell->capacity_pct) == cell->capacity_pct) {
        output_json_unsigned(line, "capacity_pct",
                             (uint64_t)cell->capacity_pct);
    } else {
        report_real(line, "capacity_pct", cell->capacity_pct);
    }
    output_json_unsigned(line, "capacity_blocks", cell->capacity_blocks);
    output_json_unsigned(line, "requests", result->requests);
    output_json_unsigned(line, "block_refs", result->block_refs);
    report_real(line, "prefix_hit_pct",
                rounded(simulate_pct(result->prefix_hits, result)));
    report_real(line, "block_hit_pct",
                rounded(simulate_pct(result->block_hits, result)));
    if (cells->with_speed) {
        output_json_unsigned(line, "refs_per_s",
                             cell->took_ns == 0 ? 0
                                                : result->block_refs *
                                                      NS_PER_S / cell->took_ns);
    }
    report_line(line, stdout);
}

static void
show_progress(const struct simulate_cells *cells, size_t done)
{
    if (isatty(STDERR_FILENO) != 0 && isatty(STDOUT_FILENO) == 0) {
        (void)fprintf(stderr, done < cells->count ? "\r%zu of %zu" : "\r\033[K",
                      done, cells->count);
    }
}

// The first that failed ends it; those behind it are not printed.
static enum cascade_status
print_in_order(struct crew *crew)
{
    struct simulate_cells *cells = crew->cells;
    enum cascade_status status = CASCADE_OK;

    for (size_t i = 0; i < cells->count && status == CASCADE_OK; i++) {
        const struct simulate_cell *cell = &cells->cells[i];

        check(pthread_mutex_lock(&crew->lock) == 0);
        while (!crew->done[i]) {
            check(pthread_cond_wait(&crew->changed, &crew->lock) == 0);
        }
        check(pthread_mutex_unlock(&crew->lock) == 0);
        if (cell->status != CASCADE_OK) {
            status = error_set(cell->status, "%s", cell->message);
        } else {
            print_cell(cells, cell);
            (void)fflush(stdout);
        }
        show_progress(cells, i + 1);
    }
    return status;
}

enum cascade_status
simulate_cells_run(struct simulate_cells *cells)
{
    struct crew crew = {.cells = cells};
    pthread_t threads[THREADS_MAX];
    enum cascade_status status;
    size_t started = 0;

    crew.done = allocator_array(allocator_system(), cells->count, sizeof(bool));
    if (crew.done == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory for %zu simulations",
                         cells->count);
    }
    check(pthread_mutex_init(&crew.lock, NULL) == 0);
    check(pthread_cond_init(&crew.changed, NULL) == 0);
    while (started < cells->threads && started < cells->count &&
           started < THREADS_MAX &&
           pthread_create(&threads[started], NULL, work, &crew) == 0) {
        started++;
    }
    if (started == 0) {
        (void)work(&crew); // no thread could be had: one after the other
    }
    status = print_in_order(&crew);
    check(pthread_mutex_lock(&crew.lock) == 0);
    crew.next = cells->count; // what has not begun is not wanted any more
    check(pthread_mutex_unlock(&crew.lock) == 0);
    for (size_t i = 0; i < started; i++) {
        check(pthread_join(threads[i], NULL) == 0);
    }
    check(pthread_cond_destroy(&crew.changed) == 0);
    check(pthread_mutex_destroy(&crew.lock) == 0);
    allocator_release(allocator_system(), crew.done);
    return status;
}
