// SPDX-License-Identifier: Apache-2.0
//
// A fixed set of threads that shares out work: loops in which the caller takes
// part, and jobs in the background, first in first out. It knows nothing of
// caches and has no priorities.
//
// A loop never waits for a thread to become free: its caller does whatever no
// worker does, so loops may be nested and may come from many threads at once.
// Workers turn from loops to jobs and back, so neither starves the other. They
// help while at most one thread more than the pool has is in loops: beyond that
// callers alone keep the processors busy that the pool was made for.
//
// A NULL pool is valid everywhere: it means that the caller does everything,
// and that no job is taken.

#ifndef BASE_POOL_H
#define BASE_POOL_H

#include <stddef.h>

#include "base/allocator.h"
#include "base/attributes.h"
#include "cascade/status.h"

#define POOL_THREADS_MAX 256
#define POOL_JOBS_MAX 65536

struct pool;

// One index of a loop. Called once for each index, from several threads.
typedef void
pool_task(void *context, size_t index);

// One job. It may call every function here except pool_stop and pool_destroy.
typedef void
pool_job(void *context);

// Starts `thread_count` threads (0 to POOL_THREADS_MAX) named after `name`
// (shortened to what the system shows), with all signals blocked, and room for
// `job_count` waiting jobs (0 to POOL_JOBS_MAX). The allocator must outlive
// the pool.
// NO_MEMORY: no memory or no threads. INVALID: a count out of its range.
enum cascade_status
pool_create(const struct allocator *allocator, const char *name,
            size_t thread_count, size_t job_count, struct pool **pool) MUST_USE;

// Refuses new jobs, lets the waiting ones run, and joins the threads. Blocks
// as long as the jobs do. Loops go on, by their callers alone. A second call
// does nothing; never at the same time from two threads, never from a worker.
void
pool_stop(struct pool *pool);

// Stops the pool and frees it. No other thread may be using it. NULL does
// nothing.
void
pool_destroy(struct pool *pool);

// Threads that help; 0 for NULL.
size_t
pool_thread_count(const struct pool *pool);

// Calls task(context, i) once for every i < count, in no stated order, and
// returns when all calls have returned; what they wrote is then visible to the
// caller. Takes no memory. Blocks only while a worker ends its last call.
void
pool_parallel_for(struct pool *pool, pool_task *task, void *context,
                  size_t count);

// Queues a job; does not block.
// BUSY: `job_count` jobs wait already. CLOSED: the pool was stopped, or has no
// threads. The job was then not taken.
enum cascade_status
pool_submit(struct pool *pool, pool_job *job, void *context) MUST_USE;

#endif
