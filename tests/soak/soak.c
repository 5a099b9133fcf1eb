// SPDX-License-Identifier: Apache-2.0
//
// The soak's main program: keeps processes alive in several arenas, ends them in
// all ways there are, watches that none hangs, and reports. See soak.h.
//
// Usage: soak_stores [--seconds N] [--minutes N] [--seed N] [--arena NAME].
// Prints one JSON object; exit status 1, and the files stay, if anything was
// wrong. An arena in which something was wrong ends at once.

#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/units.h"
#include "soak.h"
#include "support/scratch.h"

#define HANG_NS (90 * NS_PER_S)
#define TICK_NS (10 * (long)NS_PER_MS)

// A root that grew larger is checked a last time and begun anew, so that the
// oldest blocks are not reclaimed: what was flushed must be there.
#define ROOT_BYTES_MAX ((uint64_t)1 << 30)

static const char *const moving[] = {"dram_capacity",
                                     "32MiB",
                                     "cold_capacity",
                                     "8GiB",
                                     "segment_size",
                                     "16MiB",
                                     "lease_time",
                                     "6",
                                     "drain_signals",
                                     "term",
                                     "drain_deadline",
                                     "2",
                                     NULL};
static const char *const tight[] = {
    "dram_capacity", "24MiB",   "cold_capacity", "96MiB",  "segment_size",
    "8MiB",          "cold_io", "pread",         "verify", "always",
    "put_wait",      "0.2",     "lease_time",    "6",      NULL};
static const char *const faulty[] = {"dram_capacity",
                                     "24MiB",
                                     "cold_capacity",
                                     "8GiB",
                                     "segment_size",
                                     "8MiB",
                                     "cold_io",
                                     "pread",
                                     "put_wait",
                                     "0.2",
                                     "lease_time",
                                     "6",
                                     NULL};
static const char *const shared[] = {"dram_capacity",
                                     "24MiB",
                                     "cold_capacity",
                                     "8GiB",
                                     "segment_size",
                                     "8MiB",
                                     "rebind",
                                     "refused",
                                     "namespace",
                                     "shared",
                                     "lease_time",
                                     "6",
                                     NULL};

static const struct soak_kind kinds[] = {
    {.name = "moving", .options = moving, .processes = 1, .real = true},
    {.name = "tight", .options = tight, .processes = 1, .tight = true},
    {.name = "faulty", .options = faulty, .processes = 1, .faulty = true},
    {.name = "shared",
     .options = shared,
     .processes = SOAK_PROCESSES,
     .fixed = true,
     .real = true},
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static const char *const counter_names[SOAK_COUNTERS] = {
    "operations",    "gets",         "bytes_verified", "misses",
    "puts",          "refused",      "flushes",        "drains",
    "opens",         "kills",        "stops",          "terms",
    "ends",          "leases_lost",  "late",           "faults_eio",
    "faults_enospc", "faults_short", "wrong_bytes",    "lost_flushed_blocks",
    "unexpected",    "hangs"};

enum fate {
    FATE_KILL,
    FATE_TERM,
    FATE_STOP,
    FATE_END,
    FATES
};

struct process {
    pid_t pid; // 0: none
    enum fate fate;
    uint64_t due_ns; // when it is to happen; then when a stop ends
    bool stopped;
    bool told; // it ends by itself now, or by what was sent
};

struct arena {
    struct soak_arena soak;
    struct process processes[SOAK_PROCESSES];
    unsigned epoch;
    bool closing; // nobody is started any more
    bool kept;    // its root is left for a look
};

static struct soak_random dice = {1};
static uint64_t root_bytes;

static uint64_t
now_ns(void)
{
    return clock_steady_ns(clock_system());
}

static int
add_file(const char *path, const struct stat *found, int type,
         struct FTW *where)
{
    (void)path;
    (void)where;
    root_bytes += type == FTW_F ? (uint64_t)found->st_size : 0;
    return 0;
}

static int
remove_file(const char *path, const struct stat *found, int type,
            struct FTW *where)
{
    (void)found;
    (void)type;
    (void)where;
    (void)remove(path);
    return 0;
}

static void
begin_epoch(struct arena *arena, const char *folder)
{
    struct soak_truth *truth = arena->soak.truth;

    arena->epoch++;
    arena->closing = false;
    (void)snprintf(arena->soak.root, sizeof(arena->soak.root), "%s/%s.%u",
                   folder, arena->soak.kind->name, arena->epoch);
    for (uint32_t key = 0; key < SOAK_KEYS; key++) {
        atomic_store(&truth->tried[key], arena->soak.kind->fixed ? 1 : 0);
        atomic_store(&truth->done[key], 0);
        atomic_store(&truth->flushed[key], 0);
        atomic_store(&truth->unsure[key], true);
    }
}

static void
start_process(struct arena *arena, unsigned number)
{
    struct process *process = &arena->processes[number];
    struct soak_truth *truth = arena->soak.truth;
    uint64_t seed = arena->soak.seed + soak_pick(&dice, 1u << 30);

    for (unsigned i = 0; i < SOAK_THREADS; i++) {
        atomic_store(&truth->began_ns[number][i], 0);
    }
    atomic_store(&truth->end[number], false);
    atomic_store(&truth->ready[number], false);
    memset(process, 0, sizeof(*process));
    process->fate = (enum fate)soak_pick(&dice, FATES);
    process->due_ns = now_ns() + NS_PER_MS * (200 + soak_pick(&dice, 3000));
    (void)fflush(NULL);
    process->pid = fork();
    check(process->pid >= 0);
    if (process->pid == 0) {
        soak_live(&arena->soak, number, seed);
    }
}

static void
note_end(struct arena *arena, struct process *process, int ended)
{
    struct soak_truth *truth = arena->soak.truth;
    bool killed = WIFSIGNALED(ended) && WTERMSIG(ended) == SIGKILL;
    bool termed = WIFSIGNALED(ended) && WTERMSIG(ended) == SIGTERM;

    if (WIFEXITED(ended) && WEXITSTATUS(ended) == SOAK_EXIT_LEASE_LOST) {
        soak_count(truth, SOAK_LEASES_LOST, 1);
    } else if (!(killed && process->told) &&
               !(termed && process->fate == FATE_TERM) &&
               !(WIFEXITED(ended) && WEXITSTATUS(ended) == 0)) {
        soak_count(truth, SOAK_UNEXPECTED, 1);
        (void)fprintf(stderr, "%s: process %d ended with %x\n",
                      arena->soak.kind->name, (int)process->pid,
                      (unsigned)ended);
    }
    process->pid = 0;
}

static void
meet_fate(struct arena *arena, unsigned number)
{
    struct process *process = &arena->processes[number];
    struct soak_truth *truth = arena->soak.truth;

    if (process->stopped) {
        (void)kill(process->pid, SIGCONT);
        process->stopped = false;
        process->fate = (enum fate)soak_pick(&dice, FATES);
        process->due_ns = now_ns() + NS_PER_MS * (100 + soak_pick(&dice, 2000));
        for (unsigned i = 0; i < SOAK_THREADS; i++) {
            // The clock of the watchdog stood still as well.
            if (atomic_load(&truth->began_ns[number][i]) != 0) {
                atomic_store(&truth->began_ns[number][i], now_ns());
            }
        }
        return;
    }
    switch (process->fate) {
    case FATE_KILL:
        process->told = true;
        soak_count(truth, SOAK_KILLS, 1);
        (void)kill(process->pid, SIGKILL);
        break;
    case FATE_TERM:
        // Before it is ready it has nothing to drain.
        if (atomic_load(&truth->ready[number])) {
            process->told = true;
            soak_count(truth, SOAK_TERMS, 1);
            (void)kill(process->pid, SIGTERM);
        }
        break;
    case FATE_STOP:
        process->stopped = true;
        soak_count(truth, SOAK_STOPS, 1);
        (void)kill(process->pid, SIGSTOP);
        // Now and then for longer than a lease.
        process->due_ns = now_ns() + NS_PER_MS * (soak_pick(&dice, 10) == 0
                                                      ? 8000
                                                      : soak_pick(&dice, 500));
        break;
    case FATE_END:
    case FATES:
        process->told = true;
        soak_count(truth, SOAK_ENDS, 1);
        atomic_store(&truth->end[number], true);
        break;
    }
}

static void
watch(struct arena *arena, unsigned number)
{
    struct process *process = &arena->processes[number];
    struct soak_truth *truth = arena->soak.truth;

    for (unsigned i = 0; i < SOAK_THREADS && !process->stopped; i++) {
        uint64_t began_ns = atomic_load(&truth->began_ns[number][i]);

        if (began_ns != 0 && now_ns() > began_ns + HANG_NS) {
            soak_count(truth, SOAK_HANGS, 1);
            (void)fprintf(stderr,
                          "%s: process %d: thread %u HANGS in "
                          "operation %d\n",
                          arena->soak.kind->name, (int)process->pid, i,
                          atomic_load(&truth->operation[number][i]));
            process->told = true;
            (void)kill(process->pid, SIGKILL);
            return;
        }
    }
}

// One look at all processes of an arena. False: nobody is left.
static bool
tend(struct arena *arena)
{
    bool any = false;

    for (unsigned i = 0; i < arena->soak.kind->processes; i++) {
        struct process *process = &arena->processes[i];
        int ended = 0;

        if (process->pid != 0 &&
            waitpid(process->pid, &ended, WNOHANG) == process->pid) {
            note_end(arena, process, ended);
        }
        if (process->pid == 0 && !arena->closing) {
            start_process(arena, i);
        }
        any = any || process->pid != 0;
        if (process->pid != 0 && arena->closing && !process->told) {
            process->fate = process->stopped ? process->fate : FATE_END;
            process->due_ns = 0;
        }
        if (process->pid != 0 && now_ns() >= process->due_ns &&
            (!process->told || process->stopped)) {
            meet_fate(arena, i);
        }
        if (process->pid != 0) {
            watch(arena, i);
        }
    }
    return any;
}

static bool
is_right(const struct arena *arena)
{
    const struct soak_truth *truth = arena->soak.truth;

    return atomic_load(&truth->counters[SOAK_WRONG]) == 0 &&
           atomic_load(&truth->counters[SOAK_LOST]) == 0 &&
           atomic_load(&truth->counters[SOAK_UNEXPECTED]) == 0 &&
           atomic_load(&truth->counters[SOAK_HANGS]) == 0;
}

static void
check_size(struct arena *arena)
{
    root_bytes = 0;
    (void)nftw(arena->soak.root, add_file, 8, FTW_PHYS);
    arena->closing = arena->closing || root_bytes > ROOT_BYTES_MAX ||
                     !is_right(arena);
}

// The last look at a root, in a process of its own.
static void
end_epoch(struct arena *arena)
{
    int ended = 0;
    pid_t child;

    (void)fflush(NULL);
    child = fork();
    check(child >= 0);
    if (child == 0) {
        soak_final_check(&arena->soak);
        _exit(0);
    }
    check(waitpid(child, &ended, 0) == child);
    if (!WIFEXITED(ended)) {
        soak_count(arena->soak.truth, SOAK_UNEXPECTED, 1);
        (void)fprintf(stderr, "%s: the last look ended with %x\n",
                      arena->soak.kind->name, (unsigned)ended);
    }
    if (is_right(arena)) {
        (void)nftw(arena->soak.root, remove_file, 8, FTW_DEPTH | FTW_PHYS);
    } else {
        (void)fprintf(stderr, "%s: look at %s\n", arena->soak.kind->name,
                      arena->soak.root);
        arena->kept = true;
    }
}

static void
run(struct arena *arenas, size_t count, uint64_t end_at_ns, const char *folder)
{
    const struct timespec tick = {.tv_nsec = TICK_NS};
    uint64_t size_due_ns = 0;
    bool any = true;

    for (size_t i = 0; i < count; i++) {
        begin_epoch(&arenas[i], folder);
    }
    while (any) {
        bool over = now_ns() >= end_at_ns;

        any = false;
        for (size_t i = 0; i < count; i++) {
            if (over) {
                arenas[i].closing = true;
            } else if (now_ns() >= size_due_ns) {
                check_size(&arenas[i]);
            }
            if (tend(&arenas[i])) {
                any = true;
            } else if (arenas[i].soak.root[0] != '\0') {
                end_epoch(&arenas[i]);
                arenas[i].soak.root[0] = '\0';
                if (!over && !arenas[i].kept) {
                    begin_epoch(&arenas[i], folder);
                    any = true;
                }
            }
        }
        if (now_ns() >= size_due_ns) {
            size_due_ns = now_ns() + NS_PER_S;
        }
        (void)nanosleep(&tick, NULL);
    }
}

static bool
report(const struct arena *arenas, size_t count, uint64_t seed, double seconds)
{
    uint64_t totals[SOAK_COUNTERS] = {0};
    bool right = true;

    for (size_t i = 0; i < count; i++) {
        right = right && is_right(&arenas[i]);
        for (unsigned c = 0; c < SOAK_COUNTERS; c++) {
            totals[c] += atomic_load(&arenas[i].soak.truth->counters[c]);
        }
    }
    (void)printf("{\"seed\":%llu,\"seconds\":%.1f", (unsigned long long)seed,
                 seconds);
    for (unsigned c = 0; c < SOAK_COUNTERS; c++) {
        (void)printf(",\"%s\":%llu", counter_names[c],
                     (unsigned long long)totals[c]);
    }
    (void)printf(",\"epochs\":{");
    for (size_t i = 0; i < count; i++) {
        (void)printf("%s\"%s\":%u", i > 0 ? "," : "", arenas[i].soak.kind->name,
                     arenas[i].epoch);
    }
    (void)printf("},\"right\":%s}\n", right ? "true" : "false");
    return right;
}

int
main(int argc, char **argv)
{
    struct arena arenas[KINDS] = {0};
    struct scratch scratch;
    uint64_t seed = 0;
    uint64_t seconds = 10;
    uint64_t begin_ns = now_ns();
    const char *only = NULL;
    size_t count = 0;
    bool right;

    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--arena") == 0) {
            only = argv[i + 1];
        } else if (strcmp(argv[i], "--seed") == 0) {
            seed = strtoull(argv[i + 1], NULL, 10);
        } else {
            seconds = strtoull(argv[i + 1], NULL, 10) *
                      (strcmp(argv[i], "--minutes") == 0 ? 60 : 1);
        }
    }
    seed = seed != 0 ? seed : clock_wall_ns(clock_system());
    dice.state = seed;
    (void)fprintf(stderr, "soak: seed %llu\n", (unsigned long long)seed);
    scratch_make(&scratch);
    for (size_t i = 0; i < KINDS; i++) {
        if (only != NULL && strcmp(only, kinds[i].name) != 0) {
            continue;
        }
        arenas[count].soak.kind = &kinds[i];
        arenas[count].soak.seed = seed + i;
        arenas[count].soak.truth = mmap(NULL, sizeof(struct soak_truth),
                                        PROT_READ | PROT_WRITE,
                                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        check(arenas[count].soak.truth != MAP_FAILED);
        count++;
    }
    run(arenas, count, begin_ns + seconds * NS_PER_S, scratch.path);
    right = report(arenas, count, seed,
                   (double)(now_ns() - begin_ns) / (double)NS_PER_S);
    if (right) {
        scratch_remove(&scratch);
    }
    return right ? 0 : 1;
}
