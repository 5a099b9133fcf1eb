// SPDX-License-Identifier: Apache-2.0
//
// A sealed memfd. Steps populate by asking the system to make pages writable
// (MADV_POPULATE_WRITE), which changes no byte; where a kernel does not know
// that, by asking for the pages of the file (fallocate), which changes none
// either. Where large pages are wanted each piece is asked to become one
// (MADV_COLLAPSE): systems that never give them to shared memory by themselves
// do then, also where small pages are in use already. They matter beyond the
// cost of a fault: a disk takes one long piece faster than many pages.
//
// Threads: `claimed_bytes` hands out pieces to steps, `ready_bytes` counts what
// is done, `failed` stops them. No lock.

#include "base/arena.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <unistd.h>

#include "base/error.h"
#include "base/units.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define PIECE_BYTES (2 * MIB) // also the size of a large page
#define HUGE_PAGES_PATH "/sys/kernel/mm/transparent_hugepage/shmem_enabled"

struct arena {
    const struct allocator *allocator;
    char *memory;
    uint64_t bytes;
    int file;
    char *mapping; // around memory, which begins on a large page
    uint64_t mapping_bytes;
    _Atomic bool huge_pages; // the system gives them
    _Atomic bool collapses;  // they are wanted, and may be had by asking
    _Atomic uint64_t claimed_bytes;
    _Atomic uint64_t ready_bytes;
    _Atomic bool failed;
};

static uint64_t
page_bytes(void)
{
    return (uint64_t)sysconf(_SC_PAGESIZE);
}

// Whether memory that asks for large pages gets them.
static bool
system_gives_huge_pages(void)
{
    char text[128];
    ssize_t length;
    int file = open(HUGE_PAGES_PATH, O_RDONLY | O_CLOEXEC);

    if (file < 0) {
        return false;
    }
    length = read(file, text, sizeof(text) - 1);
    (void)close(file);
    if (length <= 0) {
        return false;
    }
    text[length] = '\0';
    return strstr(text, "[always]") != NULL ||
           strstr(text, "[within_size]") != NULL ||
           strstr(text, "[advise]") != NULL || strstr(text, "[force]") != NULL;
}

// Setting a size beyond the file size limit would be answered with a signal.
static enum cascade_status
check_file_limit(uint64_t bytes)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 &&
        limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < bytes) {
        return error_set(CASCADE_NO_MEMORY,
                         "an arena of %llu bytes is beyond this process' file "
                         "size limit of %llu; raise it (ulimit -f) or choose a "
                         "smaller capacity",
                         (unsigned long long)bytes,
                         (unsigned long long)limit.rlim_cur);
    }
    return CASCADE_OK;
}

// The sealed file of the arena.
static enum cascade_status
make_file(const char *name, uint64_t bytes, int *file)
{
    enum cascade_status status = check_file_limit(bytes);
    int made;

    if (status != CASCADE_OK) {
        return status;
    }
    made = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (made < 0) {
        return error_set_errno(errno,
                               "the system refuses memfd_create for %s; allow "
                               "it (a seccomp filter may forbid it), or set "
                               "dram_capacity=0 with a cold_path",
                               name);
    }
    if (ftruncate(made, (off_t)bytes) != 0) {
        int cause = errno;

        (void)close(made);
        (void)error_set_errno(cause,
                              "the system refuses a memory file of %llu bytes; "
                              "choose a smaller capacity",
                              (unsigned long long)bytes);
        return CASCADE_NO_MEMORY;
    }
    // Where seals are unknown the file is merely less guarded.
    (void)fcntl(made, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    *file = made;
    return CASCADE_OK;
}

// The n-th piece in the order of populating: low, high, low, ...
static uint64_t
piece_offset(const struct arena *arena, uint64_t piece, uint64_t *bytes)
{
    uint64_t count = (arena->bytes + PIECE_BYTES - 1) / PIECE_BYTES;
    uint64_t index = piece % 2 == 0 ? piece / 2 : count - 1 - piece / 2;

    *bytes = units_min(PIECE_BYTES, arena->bytes - index * PIECE_BYTES);
    return index * PIECE_BYTES;
}

// Makes a whole piece one large page, whatever is there of it. The system
// wants a page in it first. A piece that is busy stays as it is.
static bool
collapse(struct arena *arena, uint64_t offset, uint64_t bytes)
{
    char *piece = arena->memory + offset;

    if (!atomic_load(&arena->collapses) || bytes < PIECE_BYTES ||
        madvise(piece, page_bytes(), MADV_POPULATE_WRITE) != 0) {
        return false;
    }
    if (madvise(piece, bytes, MADV_COLLAPSE) == 0) {
        atomic_store(&arena->huge_pages, true);
        return true;
    }
    if (errno == EINVAL) {
        atomic_store(&arena->collapses, false); // the system does not know it
    }
    return false;
}

static bool
populate(struct arena *arena, uint64_t offset, uint64_t bytes)
{
    if (collapse(arena, offset, bytes)) {
        return true;
    }
    if (madvise(arena->memory + offset, bytes, MADV_POPULATE_WRITE) == 0) {
        return true;
    }
    return errno == EINVAL &&
           fallocate(arena->file, 0, (off_t)offset, (off_t)bytes) == 0;
}

// Maps the file so that its large pages can be mapped as such.
static bool
map_file(struct arena *arena)
{
    uint64_t bytes = arena->bytes + PIECE_BYTES;
    void *around = mmap(NULL, bytes, PROT_NONE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    void *memory;
    uint64_t skip;

    if (around == MAP_FAILED) {
        return false;
    }
    skip = -(uintptr_t)around % PIECE_BYTES;
    memory = mmap((char *)around + skip, arena->bytes, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_NORESERVE | MAP_FIXED, arena->file, 0);
    if (memory == MAP_FAILED) {
        (void)munmap(around, bytes);
        return false;
    }
    arena->mapping = around;
    arena->mapping_bytes = bytes;
    arena->memory = memory;
    return true;
}

enum cascade_status
arena_open(const struct allocator *allocator, const char *name, uint64_t bytes,
           bool huge_pages, struct arena **arena)
{
    struct arena *made;
    enum cascade_status status;

    if (bytes == 0 || bytes > INT64_MAX - PIECE_BYTES) {
        return error_set(CASCADE_INVALID, "an arena of %llu bytes cannot be",
                         (unsigned long long)bytes);
    }
    bytes = units_round_up(bytes, page_bytes());
    made = allocator_array(allocator, 1, sizeof(*made));
    if (made == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory to open an arena");
    }
    made->allocator = allocator;
    made->bytes = bytes;
    status = make_file(name, bytes, &made->file);
    if (status != CASCADE_OK) {
        goto release_made;
    }
    if (!map_file(made)) {
        (void)error_set_errno(errno,
                              "cannot map an arena of %llu bytes; choose a "
                              "smaller capacity or raise ulimit -v",
                              (unsigned long long)bytes);
        status = CASCADE_NO_MEMORY;
        goto close_file;
    }
    // A child would keep every page alive and see the parent's later writes.
    if (madvise(made->memory, bytes, MADV_DONTFORK) != 0) {
        status = error_set_errno(errno, "cannot keep the arena from children");
        goto unmap;
    }
    if (huge_pages) {
        // Merely slower without.
        (void)madvise(made->memory, bytes, MADV_HUGEPAGE);
    }
    atomic_init(&made->huge_pages, huge_pages && system_gives_huge_pages());
    atomic_init(&made->collapses, huge_pages);
    *arena = made;
    return CASCADE_OK;

unmap:
    (void)munmap(made->mapping, made->mapping_bytes);
close_file:
    (void)close(made->file);
release_made:
    allocator_release(allocator, made);
    return status;
}

void
arena_close(struct arena *arena)
{
    if (arena != NULL) {
        (void)munmap(arena->mapping, arena->mapping_bytes);
        (void)close(arena->file);
        allocator_release(arena->allocator, arena);
    }
}

void *
arena_memory(const struct arena *arena)
{
    return arena->memory;
}

uint64_t
arena_bytes(const struct arena *arena)
{
    return arena->bytes;
}

int
arena_file(const struct arena *arena)
{
    return arena->file;
}

bool
arena_has_huge_pages(const struct arena *arena)
{
    return atomic_load(&arena->huge_pages);
}

bool
arena_populate_step(struct arena *arena, uint64_t bytes)
{
    uint64_t done = 0;

    while (done < bytes || done == 0) {
        uint64_t claimed = atomic_fetch_add(&arena->claimed_bytes, PIECE_BYTES);
        uint64_t length;
        uint64_t offset;

        if (claimed >= arena->bytes || atomic_load(&arena->failed)) {
            // Keeps the counter from growing for ever.
            atomic_store(&arena->claimed_bytes, arena->bytes);
            return false;
        }
        offset = piece_offset(arena, claimed / PIECE_BYTES, &length);
        if (!populate(arena, offset, length)) {
            atomic_store(&arena->failed, true);
            return false;
        }
        atomic_fetch_add(&arena->ready_bytes, length);
        done += length;
    }
    return atomic_load(&arena->claimed_bytes) < arena->bytes;
}

uint64_t
arena_ready_bytes(const struct arena *arena)
{
    return atomic_load(&arena->ready_bytes);
}
