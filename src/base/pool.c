// SPDX-License-Identifier: Apache-2.0
//
// The thread pool: one lock, one list of open loops, one ring of jobs.
//
// A loop lives on the stack of its caller and is in the list while a worker
// may join it. Indexes are taken with an atomic counter, outside the lock.
//
// The pool helps as long as no more threads are in loops than it was made for:
// its own and one caller. Where more callers come, each has its own processor
// to itself, and a helper would only take one from another: it leaves.
//
// Invariants, all under `lock`: a worker holds a pointer to a loop only while
// the loop counts it in `helpers`; the caller takes its loop out of the list
// and returns only when `helpers` is 0. A caller waits only for calls of its
// own task, and those only for loops that they started: no cycle.

#include "base/pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/error.h"

// What Linux shows of a thread's name, with the terminator.
#define NAME_BYTES 16

struct loop {
    pool_task *task;
    void *context;
    size_t count;
    _Atomic size_t next;
    size_t helpers;
    pthread_cond_t helped;
    struct loop *before;
    struct loop *after;
};

struct job {
    pool_job *run;
    void *context;
};

struct pool {
    const struct allocator *allocator;
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct loop *first_loop;
    struct loop *last_loop;
    struct job *jobs;
    size_t job_capacity;
    size_t job_count;
    size_t job_first;
    size_t idle;
    _Atomic size_t busy; // threads in loops; changed under the lock
    size_t helpers_max;  // fixed before the first thread starts
    bool stopping;
    size_t thread_count;
    pthread_t threads[];
};

static bool
loop_has_work(struct loop *loop)
{
    return atomic_load_explicit(&loop->next, memory_order_relaxed) <
           loop->count;
}

// Loops that this thread is in, of any pool.
static _Thread_local unsigned depth;

// With the lock held.
static void
enter_loop(struct pool *pool)
{
    if (depth++ == 0) {
        atomic_fetch_add_explicit(&pool->busy, 1, memory_order_relaxed);
    }
}

// With the lock held.
static void
leave_loop(struct pool *pool)
{
    if (--depth == 0) {
        atomic_fetch_sub_explicit(&pool->busy, 1, memory_order_relaxed);
    }
}

// Whether as many threads as the pool was made for are in loops, or `more`.
static bool
is_full(struct pool *pool, size_t more)
{
    return atomic_load_explicit(&pool->busy, memory_order_relaxed) >
           pool->helpers_max + more;
}

static void
run_loop(struct pool *pool, struct loop *loop, bool helping)
{
    while (!helping || !is_full(pool, 1)) {
        size_t index = atomic_fetch_add_explicit(&loop->next, 1,
                                                 memory_order_relaxed);
        if (index >= loop->count) {
            return;
        }
        loop->task(loop->context, index);
    }
}

// With the lock held.
static void
link_loop(struct pool *pool, struct loop *loop)
{
    loop->before = pool->last_loop;
    loop->after = NULL;
    if (pool->last_loop != NULL) {
        pool->last_loop->after = loop;
    } else {
        pool->first_loop = loop;
    }
    pool->last_loop = loop;
}

// With the lock held.
static void
unlink_loop(struct pool *pool, struct loop *loop)
{
    if (loop->before != NULL) {
        loop->before->after = loop->after;
    } else {
        pool->first_loop = loop->after;
    }
    if (loop->after != NULL) {
        loop->after->before = loop->before;
    } else {
        pool->last_loop = loop->before;
    }
}

// The oldest loop with indexes left, or NULL. With the lock held. The list is
// as long as there are callers in loops.
static struct loop *
find_loop(struct pool *pool)
{
    struct loop *loop = pool->first_loop;
    while (loop != NULL && !loop_has_work(loop)) {
        loop = loop->after;
    }
    return loop;
}

// Called and left with the lock held, released while working.
static void
help_loop(struct pool *pool, struct loop *loop)
{
    loop->helpers++;
    enter_loop(pool);
    pthread_mutex_unlock(&pool->lock);
    run_loop(pool, loop, true);
    pthread_mutex_lock(&pool->lock);
    leave_loop(pool);
    loop->helpers--;
    if (loop->helpers == 0) {
        // Under the lock: without it the loop could be gone already.
        pthread_cond_signal(&loop->helped);
    }
}

// Called and left with the lock held, released while working.
static void
run_job(struct pool *pool)
{
    struct job job = pool->jobs[pool->job_first];
    pool->job_first = (pool->job_first + 1) % pool->job_capacity;
    pool->job_count--;
    pthread_mutex_unlock(&pool->lock);
    job.run(job.context);
    pthread_mutex_lock(&pool->lock);
}

static void *
worker_main(void *context)
{
    struct pool *pool = context;
    bool job_turn = false;
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        struct loop *loop = is_full(pool, 0) ? NULL : find_loop(pool);
        if (pool->job_count > 0 && (loop == NULL || job_turn)) {
            job_turn = false;
            run_job(pool);
        } else if (loop != NULL) {
            job_turn = true;
            help_loop(pool, loop);
        } else if (pool->stopping) {
            break;
        } else {
            pool->idle++;
            pthread_cond_wait(&pool->work, &pool->lock);
            pool->idle--;
        }
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

// Starts up to `wanted` threads and counts those that run.
static int
start_threads(struct pool *pool, const char *name, size_t wanted)
{
    sigset_t all, old;
    int failure = 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    while (pool->thread_count < wanted && failure == 0) {
        pthread_t *thread = &pool->threads[pool->thread_count];
        failure = pthread_create(thread, NULL, worker_main, pool);
        if (failure == 0) {
            char text[NAME_BYTES];
            snprintf(text, sizeof text, "%.11s/%zu", name, pool->thread_count);
            // A name is a help to people; without it all else works.
            (void)pthread_setname_np(*thread, text);
            pool->thread_count++;
        }
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return failure;
}

// Wakes up to `wanted` threads, if they may help. With the lock held.
static void
wake(struct pool *pool, size_t wanted)
{
    size_t count = wanted < pool->idle ? wanted : pool->idle;
    for (size_t i = 0; i < count && !is_full(pool, 0); i++) {
        pthread_cond_signal(&pool->work);
    }
}

enum cascade_status
pool_create(const struct allocator *allocator, const char *name,
            size_t thread_count, size_t job_count, struct pool **pool)
{
    if (thread_count > POOL_THREADS_MAX || job_count > POOL_JOBS_MAX) {
        return error_set(CASCADE_INVALID,
                         "pool %s: %zu threads and %zu waiting jobs; at most "
                         "%d and %d are possible",
                         name, thread_count, job_count, POOL_THREADS_MAX,
                         POOL_JOBS_MAX);
    }
    size_t bytes = sizeof(struct pool) + thread_count * sizeof(pthread_t);
    struct pool *made = allocator_array(allocator, 1, bytes);
    if (made == NULL) {
        goto no_memory;
    }
    made->jobs = allocator_array(allocator, job_count, sizeof *made->jobs);
    if (made->jobs == NULL) {
        goto free_pool;
    }
    made->allocator = allocator;
    made->job_capacity = job_count;
    made->helpers_max = thread_count;
    pthread_mutex_init(&made->lock, NULL);
    pthread_cond_init(&made->work, NULL);
    int failure = start_threads(made, name, thread_count);
    if (failure != 0) {
        pool_destroy(made);
        return error_set(CASCADE_NO_MEMORY,
                         "pool %s: the system gave no thread (error %d); "
                         "raise the limit of processes or ask for fewer than "
                         "%zu threads",
                         name, failure, thread_count);
    }
    *pool = made;
    return CASCADE_OK;

free_pool:
    allocator_release(allocator, made);
no_memory:
    return error_set(CASCADE_NO_MEMORY,
                     "pool %s: no memory for %zu threads and %zu waiting jobs",
                     name, thread_count, job_count);
}

void
pool_stop(struct pool *pool)
{
    if (pool == NULL) {
        return;
    }
    pthread_mutex_lock(&pool->lock);
    bool first = !pool->stopping;
    pool->stopping = true;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    if (!first) {
        return;
    }
    for (size_t i = 0; i < pool->thread_count; i++) {
        check(pthread_join(pool->threads[i], NULL) == 0);
    }
}

void
pool_destroy(struct pool *pool)
{
    if (pool == NULL) {
        return;
    }
    pool_stop(pool);
    check(pool->first_loop == NULL && pool->job_count == 0);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->lock);
    allocator_release(pool->allocator, pool->jobs);
    allocator_release(pool->allocator, pool);
}

size_t
pool_thread_count(const struct pool *pool)
{
    return pool == NULL ? 0 : pool->thread_count;
}

void
pool_parallel_for(struct pool *pool, pool_task *task, void *context,
                  size_t count)
{
    if (pool_thread_count(pool) == 0 || count < 2) {
        for (size_t i = 0; i < count; i++) {
            task(context, i);
        }
        return;
    }
    struct loop loop = {.task = task, .context = context, .count = count};
    pthread_cond_init(&loop.helped, NULL);
    pthread_mutex_lock(&pool->lock);
    link_loop(pool, &loop);
    enter_loop(pool);
    wake(pool, count - 1);
    pthread_mutex_unlock(&pool->lock);
    run_loop(pool, &loop, false);
    pthread_mutex_lock(&pool->lock);
    unlink_loop(pool, &loop);
    leave_loop(pool);
    while (loop.helpers > 0) {
        pthread_cond_wait(&loop.helped, &pool->lock);
    }
    if (find_loop(pool) != NULL) {
        wake(pool, 1);
    }
    pthread_mutex_unlock(&pool->lock);
    pthread_cond_destroy(&loop.helped);
}

enum cascade_status
pool_submit(struct pool *pool, pool_job *job, void *context)
{
    enum cascade_status status = CASCADE_OK;

    if (pool == NULL) {
        return error_set(CASCADE_CLOSED, "there are no threads to run jobs");
    }
    pthread_mutex_lock(&pool->lock);
    if (pool->stopping || pool->thread_count == 0) {
        status = error_set(CASCADE_CLOSED,
                           "the thread pool takes no jobs: it was stopped or "
                           "has no threads");
    } else if (pool->job_count == pool->job_capacity) {
        status = error_set(CASCADE_BUSY,
                           "%zu jobs wait for a thread already; try again "
                           "later",
                           pool->job_count);
    } else {
        size_t last = (pool->job_first + pool->job_count) % pool->job_capacity;
        pool->jobs[last] = (struct job){.run = job, .context = context};
        pool->job_count++;
        pthread_cond_signal(&pool->work);
    }
    pthread_mutex_unlock(&pool->lock);
    return status;
}
