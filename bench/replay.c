// SPDX-License-Identifier: Apache-2.0
//
// The run of a replay on one rank: feeds the requests, restarts where asked, and
// checks at the end. With a kill, everything before the restart
// happens in a child process that ends itself with SIGKILL; only the shared
// totals and marks, the samples and the cold tier outlive it.

#include "bench/replay.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/allocator.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/units.h"
#include "tools/output.h"

// Windows of samples and checks of protection over the whole trace.
#define WINDOWS 120

static uint64_t
now_ns(void)
{
    return clock_steady_ns(clock_system());
}

static enum cascade_status
end_window(struct replay *replay)
{
    enum cascade_status status = replay_read_hits(replay, true);

    if (status == CASCADE_OK) {
        status = replay_check_protected(replay, false);
    }
    return status == CASCADE_OK ? replay_sample(replay) : status;
}

// Runs the requests up to `end`.
static enum cascade_status
run_requests(struct replay *replay, size_t end)
{
    const struct trace *trace = replay->trace;
    size_t window = units_max(trace->request_count / WINDOWS, 1);
    enum cascade_status status = CASCADE_OK;
    size_t i = replay->totals->requests;

    while (i < end && status == CASCADE_OK) {
        status = replay_request(replay, &trace->requests[i]);
        i++;
        progress_note(&replay->progress,
                      replay->totals->refs * replay->options->block_bytes);
        if (status == CASCADE_OK && (i % window == 0 || i == end)) {
            status = end_window(replay);
        }
    }
    return status;
}

// All that happens before the restart, the closing or the kill excepted.
static enum cascade_status
run_first_part(struct replay *replay, size_t end)
{
    enum cascade_status status = replay_open(replay);

    if (status == CASCADE_OK) {
        status = run_requests(replay, end);
    }
    if (status == CASCADE_OK) {
        status = replay_before_restart(replay);
    }
    if (status == CASCADE_OK) {
        status = replay_add_store(replay);
    }
    return status;
}

// Does the first part in a child that is killed. The store must not be open:
// the child begins with one thread and a whole heap.
static enum cascade_status
run_killed_part(struct replay *replay, size_t end)
{
    int how;
    pid_t child;

    (void)fflush(NULL);
    child = fork();
    if (child < 0) {
        return error_set_errno(errno, "cannot start a process");
    }
    if (child == 0) {
        enum cascade_status status = run_first_part(replay, end);

        progress_stop(&replay->progress);
        if (status == CASCADE_OK) {
            (void)kill(getpid(), SIGKILL);
        }
        (void)output_failure(status);
        _exit(1);
    }
    while (waitpid(child, &how, 0) != child) {
        if (errno != EINTR) {
            return error_set_errno(errno, "cannot wait for a process");
        }
    }
    if (WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL) {
        return CASCADE_OK;
    }
    return error_set(CASCADE_IO, "the first part did not end as it should");
}

static enum cascade_status
run_closed_part(struct replay *replay, size_t end)
{
    enum cascade_status status = run_first_part(replay, end);

    return status == CASCADE_OK ? replay_close(replay) : status;
}

static enum cascade_status
restart(struct replay *replay, size_t end)
{
    enum cascade_status status;
    uint64_t start_ns;

    status = replay->options->kill ? run_killed_part(replay, end)
                                   : run_closed_part(replay, end);
    if (status != CASCADE_OK) {
        return status;
    }
    start_ns = now_ns();
    status = replay_open(replay);
    if (status != CASCADE_OK) {
        return status;
    }
    replay->totals->restart_open_ns = now_ns() - start_ns;
    replay->totals->restarts++;
    status = replay_after_restart(replay);
    return status == CASCADE_OK ? replay_read_hits(replay, false) : status;
}

static enum cascade_status
run_parts(struct replay *replay)
{
    size_t count = replay->trace->request_count;
    size_t end = (size_t)(replay->options->restart_at * (double)count);
    enum cascade_status status;

    status = end > 0 ? restart(replay, end) : replay_open(replay);
    if (status == CASCADE_OK) {
        status = run_requests(replay, count);
    }
    if (status == CASCADE_OK) {
        status = replay_check_protected(replay, true);
    }
    if (status == CASCADE_OK) {
        status = replay_add_store(replay);
    }
    return status == CASCADE_OK ? replay_close(replay) : status;
}

static enum cascade_status
take_memory(struct replay *replay)
{
    const struct allocator *allocator = allocator_system();
    size_t room = units_max(replay->trace->refs_per_request_max, 1);
    enum cascade_status status;

    if (room > SIZE_MAX / replay->options->block_bytes) {
        return error_set(CASCADE_INVALID,
                         "blocks of this size do not fit; lower --block-bytes");
    }
    status = buffer_take_shared(
        sizeof(*replay->totals) + replay->trace->id_count, &replay->shared);
    if (status == CASCADE_OK) {
        status = buffer_take(room * replay->options->block_bytes,
                             &replay->bytes);
    }
    if (status != CASCADE_OK) {
        return status;
    }
    replay->totals = (void *)replay->shared.data;
    replay->marks = replay->shared.data + sizeof(*replay->totals);
    replay->items = allocator_array(allocator, room, sizeof(*replay->items));
    replay->get_spans = allocator_array(allocator, room,
                                        sizeof(*replay->get_spans));
    replay->put_spans = allocator_array(allocator, room,
                                        sizeof(*replay->put_spans));
    replay->put_options = allocator_array(allocator, room,
                                          sizeof(*replay->put_options));
    replay->looks = allocator_array(allocator, room, sizeof(*replay->looks));
    replay->chosen = allocator_array(allocator, room, sizeof(*replay->chosen));
    if (replay->items == NULL || replay->get_spans == NULL ||
        replay->put_spans == NULL || replay->put_options == NULL ||
        replay->looks == NULL || replay->chosen == NULL) {
        return error_set(CASCADE_NO_MEMORY,
                         "no memory for a request of %zu "
                         "blocks",
                         room);
    }
    return CASCADE_OK;
}

enum cascade_status
replay_run(struct replay *replay)
{
    enum cascade_status status = take_memory(replay);
    uint64_t start_ns = now_ns();

    progress_start(&replay->progress, "replay",
                   replay->trace->ref_count * replay->options->block_bytes);
    if (status == CASCADE_OK) {
        status = replay_choose_protected(replay);
    }
    if (status == CASCADE_OK && replay->options->route == ROUTE_NONE) {
        status = replay_open_samples(replay);
    }
    if (status == CASCADE_OK) {
        status = replay->options->route == ROUTE_NONE
                     ? run_parts(replay)
                     : replay_run_ranks(replay);
    }
    progress_stop(&replay->progress);
    if (status == CASCADE_OK) {
        replay->totals->elapsed_ns = now_ns() - start_ns;
    }
    return status;
}

void
replay_release(struct replay *replay)
{
    const struct allocator *allocator = allocator_system();

    // Still open only where the run failed; why was said already.
    (void)!cascade_close(replay->store);
    if (replay->samples != NULL) {
        (void)fclose(replay->samples);
    }
    allocator_release(allocator, replay->items);
    allocator_release(allocator, replay->get_spans);
    allocator_release(allocator, replay->put_spans);
    allocator_release(allocator, replay->put_options);
    allocator_release(allocator, replay->looks);
    allocator_release(allocator, replay->chosen);
    allocator_release(allocator, replay->ranks);
    buffer_release(&replay->bytes);
    buffer_release(&replay->shared);
}
