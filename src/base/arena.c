// SPDX-License-Identifier: Apache-2.0
//
// A sealed memfd. Steps populate by asking the system to make pages writable
// (MADV_POPULATE_WRITE), which changes no byte; where a kernel does not know
// that, by asking for the pages of the file (fallocate), which changes none
// either.
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

#define PIECE_BYTES (2 * MIB)
#define HUGE_PAGES_PATH "/sys/kernel/mm/transparent_hugepage/shmem_enabled"

struct arena {
    const struct allocator *allocator;
    char *memory;
    uint64_t bytes;
    int file;
    bool huge_pages;
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
        return error_set_errno(errno, "cannot create the memory file %s", name);
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

static bool
populate(struct arena *arena, uint64_t offset, uint64_t bytes)
{
    if (madvise(arena->memory + offset, bytes, MADV_POPULATE_WRITE) == 0) {
        return true;
    }
    return errno == EINVAL &&
           fallocate(arena->file, 0, (off_t)offset, (off_t)bytes) == 0;
}

enum cascade_status
arena_open(const struct allocator *allocator, const char *name, uint64_t bytes,
           bool huge_pages, struct arena **arena)
{
    struct arena *made;
    enum cascade_status status;
    void *memory;
    int file = -1;

    if (bytes == 0 || bytes > INT64_MAX - PIECE_BYTES) {
        return error_set(CASCADE_INVALID, "an arena of %llu bytes cannot be",
                         (unsigned long long)bytes);
    }
    bytes = units_round_up(bytes, page_bytes());
    made = allocator_array(allocator, 1, sizeof(*made));
    if (made == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory to open an arena");
    }
    status = make_file(name, bytes, &file);
    if (status != CASCADE_OK) {
        goto release_made;
    }
    memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_NORESERVE, file, 0);
    if (memory == MAP_FAILED) {
        (void)error_set_errno(errno,
                              "cannot map an arena of %llu bytes; choose a "
                              "smaller capacity or raise ulimit -v",
                              (unsigned long long)bytes);
        status = CASCADE_NO_MEMORY;
        goto close_file;
    }
    // A child would keep every page alive and see the parent's later writes.
    if (madvise(memory, bytes, MADV_DONTFORK) != 0) {
        status = error_set_errno(errno, "cannot keep the arena from children");
        goto unmap;
    }
    if (huge_pages) {
        (void)madvise(memory, bytes, MADV_HUGEPAGE); // merely slower without
    }
    made->allocator = allocator;
    made->memory = memory;
    made->bytes = bytes;
    made->file = file;
    made->huge_pages = huge_pages && system_gives_huge_pages();
    *arena = made;
    return CASCADE_OK;

unmap:
    (void)munmap(memory, bytes);
close_file:
    (void)close(file);
release_made:
    allocator_release(allocator, made);
    return status;
}

void
arena_close(struct arena *arena)
{
    if (arena != NULL) {
        (void)munmap(arena->memory, arena->bytes);
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
    return arena->huge_pages;
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

double
arena_ready_fraction(const struct arena *arena)
{
    return (double)atomic_load(&arena->ready_bytes) / (double)arena->bytes;
}
