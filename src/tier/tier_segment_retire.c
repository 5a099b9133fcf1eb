// SPDX-License-Identifier: Apache-2.0
//
// Reclaim's side of the cold tier: which segments are ours and how old, what is
// in one, and taking one away. Which one goes, the store decides.
//
// Taking away, each step durable before the next:
//   out of service   new pins are STALE
//   readers gone     or a later call goes on here
//   lease renewed    or nothing is unlinked
//   NNNNNNNN.gone    says that the gap in the numbers is meant
//   unlink           of the file, then of its index file
// A crash before the unlink leaves a file that a restart serves again, which is
// harmless: the store drops what this file made necessary only afterwards.
//
// Locks: table_lock for states; none over I/O.

#include "tier/tier_segment_inner.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/error.h"
#include "base/units.h"

#define WAIT_NS ((long)5000000) // one wait for readers; then the clock is asked

static bool
is_ours(const struct tier_segment *cold,
        const struct tier_segment_handle *handle)
{
    enum tier_segment_relation relation =
        cold->directories[handle->directory].relation;

    return relation == TIER_SEGMENT_OWN || relation == TIER_SEGMENT_ADOPTED;
}

// No removal below this is needed because of this segment. What this store
// wrote itself after a removal was given, it has outranked anew; of segments of
// before, the oldest record counts. (Counting it everywhere, the record of a
// removal would keep that removal needed for ever.)
static struct block_version
created_of(const struct tier_segment *cold,
           const struct tier_segment_handle *handle)
{
    struct block_version created = handle->facts.created;

    if (handle->directory != cold->own_directory &&
        !block_version_is_zero(handle->lowest) &&
        block_version_compare(handle->lowest, created) < 0) {
        return handle->lowest;
    }
    return created;
}

static void
fill_info(const struct tier_segment *cold,
          const struct tier_segment_handle *handle,
          struct tier_segment_info *info)
{
    memset(info, 0, sizeof(*info));
    info->segment = handle->number;
    info->adopted = handle->directory != cold->own_directory;
    info->file_bytes = handle->bytes;
    info->records = handle->records;
    info->created = handle->facts.created;
    (void)snprintf(info->path, sizeof(info->path), "%s", handle->path);
}

static int
compare_infos(const void *a, const void *b)
{
    const struct tier_segment_info *x = a;
    const struct tier_segment_info *y = b;
    int order = block_version_compare(x->created, y->created);

    return order != 0 ? order : strcmp(x->path, y->path);
}

static bool
is_listed_as_own(const struct tier_segment *cold,
                 const struct tier_segment_handle *handle)
{
    return handle != NULL && is_ours(cold, handle) &&
           (handle->state == TIER_SEGMENT_SEALED ||
            handle->state == TIER_SEGMENT_TAIL);
}

static bool
has_files(const struct tier_segment *cold, uint32_t directory)
{
    for (uint32_t i = 0; i < cold->handle_count; i++) {
        const struct tier_segment_handle *handle = cold->handles[i];

        if (handle != NULL && handle->state != TIER_SEGMENT_GONE &&
            handle->directory == directory) {
            return true;
        }
    }
    return false;
}

// True if an index file in this directory still serves some segment.
static bool
has_indexes(const struct tier_segment *cold, const char *writer)
{
    size_t bytes = strlen(writer);

    for (uint32_t i = 0; i < cold->handle_count; i++) {
        const struct tier_segment_handle *handle = cold->handles[i];

        if (handle != NULL && handle->state != TIER_SEGMENT_GONE &&
            strncmp(handle->index, writer, bytes) == 0) {
            return true;
        }
    }
    return false;
}

// True if the directory holds only what an emptied one may: markers, index
// files (whose subjects are gone), its lease.
static bool
holds_nothing(struct tier_segment *cold, const char *writer)
{
    const struct file_system *files = cold->files;
    bool nothing = false;
    char **names;
    size_t count;
    int folder = files->open_at(files->self, cold->root.directory, writer,
                                O_RDONLY | O_DIRECTORY, 0);

    if (folder < 0) {
        return false;
    }
    if (file_list(files, cold->allocator, folder, writer, &names, &count) ==
        CASCADE_OK) {
        nothing = true;
        for (size_t i = 0; i < count; i++) {
            const char *ending = strrchr(names[i], '.');

            nothing = nothing && ending != NULL &&
                      (strcmp(ending, ".gone") == 0 ||
                       strcmp(ending, ".idx") == 0 ||
                       strncmp(names[i], SEGMENT_LEASE_PREFIX,
                               strlen(SEGMENT_LEASE_PREFIX)) == 0);
        }
        file_names_free(cold->allocator, names, count);
    }
    (void)files->close(files->self, folder);
    return nothing;
}

// Writes the marker, unlinks file and index. The handle is RETIRED and has no
// reader; the lease was just renewed.
static enum cascade_status
unlink_files(struct tier_segment *cold, const char *writer, uint64_t number,
             const char *index)
{
    const struct file_system *files = cold->files;
    char marker[TIER_SEGMENT_NUMBER_BYTES];
    char name[TIER_SEGMENT_NUMBER_BYTES];
    int folder = files->open_at(files->self, cold->root.directory, writer,
                                O_RDONLY | O_DIRECTORY, 0);
    int result = folder;

    if (folder >= 0) {
        tier_segment_file_name(marker, sizeof(marker), number, "gone");
        tier_segment_file_name(name, sizeof(name), number, "seg");
        result = files->open_at(files->self, folder, marker, O_WRONLY | O_CREAT,
                                cold->root.file_mode);
        if (result >= 0) {
            (void)files->close(files->self, result);
            result = files->sync(files->self, folder);
        }
        // No space for a marker: the gap stays unexplained, which only makes
        // a restart forget more; the space is needed now.
        if (result == -ENOSPC || result == -EDQUOT) {
            result = 0;
        }
        if (result >= 0) {
            result = files->unlink_at(files->self, folder, name, 0);
            result = result == -ENOENT ? 0 : result;
        }
        if (result >= 0) {
            result = files->sync(files->self, folder);
        }
        (void)files->close(files->self, folder);
    }
    if (result < 0 && result != -ENOENT) {
        return error_set_errno(-result, "cannot unlink segment %llu of %s",
                               (unsigned long long)number, writer);
    }
    if (index[0] != '\0') {
        (void)files->unlink_at(files->self, cold->root.directory, index, 0);
    }
    return CASCADE_OK;
}

// Finishes one retired segment without readers.
static enum cascade_status
finish(struct tier_segment *cold, uint32_t number)
{
    char writer[SEGMENT_LEASE_WRITER_BYTES];
    char index[TIER_SEGMENT_PATH_BYTES];
    struct tier_segment_handle *handle;
    uint64_t file_number;
    enum cascade_status status = segment_lease_renew(&cold->lease);

    if (status != CASCADE_OK) {
        return status;
    }
    (void)pthread_mutex_lock(&cold->table_lock);
    handle = cold->handles[number];
    file_number = handle->file_number;
    memcpy(index, handle->index, sizeof(index));
    memcpy(writer, cold->directories[handle->directory].writer, sizeof(writer));
    (void)pthread_mutex_unlock(&cold->table_lock);
    status = unlink_files(cold, writer, file_number, index);
    if (status != CASCADE_OK) {
        return status;
    }
    (void)pthread_mutex_lock(&cold->table_lock);
    tier_segment_handle_free(cold, handle);
    (void)pthread_mutex_unlock(&cold->table_lock);
    return CASCADE_OK;
}

// Removes adopted directories in which nothing is left that anybody needs.
static void
remove_empty(struct tier_segment *cold)
{
    for (uint32_t i = 0;; i++) {
        char writer[SEGMENT_LEASE_WRITER_BYTES];
        bool empty = false;

        (void)pthread_mutex_lock(&cold->table_lock);
        if (i < cold->directory_count) {
            struct tier_segment_directory *directory = &cold->directories[i];

            memcpy(writer, directory->writer, sizeof(writer));
            empty = directory->relation == TIER_SEGMENT_ADOPTED &&
                    !directory->gone && !has_files(cold, i) &&
                    !has_indexes(cold, writer);
            directory->gone = directory->gone || empty;
        }
        (void)pthread_mutex_unlock(&cold->table_lock);
        if (i >= cold->directory_count) {
            return;
        }
        if (empty && holds_nothing(cold, writer)) {
            segment_lease_discard(&cold->root, cold->allocator, writer);
        }
    }
}

// Takes one finishable retired segment for this thread; false if there is none.
static bool
take_retired(struct tier_segment *cold, uint32_t *number)
{
    bool taken = false;

    (void)pthread_mutex_lock(&cold->table_lock);
    for (uint32_t i = 0; i < cold->handle_count && !taken; i++) {
        struct tier_segment_handle *handle = cold->handles[i];

        if (handle != NULL && handle->state == TIER_SEGMENT_RETIRED &&
            handle->references == 0 && !handle->finishing) {
            handle->finishing = true;
            *number = i;
            taken = true;
        }
    }
    (void)pthread_mutex_unlock(&cold->table_lock);
    return taken;
}

static enum cascade_status
finish_taken(struct tier_segment *cold, uint32_t number)
{
    enum cascade_status status = finish(cold, number);

    if (status != CASCADE_OK) {
        (void)pthread_mutex_lock(&cold->table_lock);
        cold->handles[number]->finishing = false;
        (void)pthread_mutex_unlock(&cold->table_lock);
    }
    return status;
}

// Waits until nobody reads the handle. False: the deadline passed. Under
// table_lock, which the wait gives up meanwhile.
static bool
wait_for_readers(struct tier_segment *cold,
                 const struct tier_segment_handle *handle, uint64_t deadline_ns)
{
    while (handle->references > 0) {
        struct timespec until;

        if (clock_steady_ns(cold->clock) >= deadline_ns) {
            return false;
        }
        (void)clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += WAIT_NS;
        until.tv_sec += until.tv_nsec / (long)NS_PER_S;
        until.tv_nsec %= (long)NS_PER_S;
        (void)pthread_cond_timedwait(&cold->changed, &cold->table_lock, &until);
    }
    return true;
}

void
tier_segment_file_name(char *name, size_t size, uint64_t number,
                       const char *ending)
{
    (void)snprintf(name, size, "%08llu.%s", (unsigned long long)number, ending);
}

void
tier_segment_sweep(struct tier_segment *cold)
{
    uint32_t number;

    while (take_retired(cold, &number)) {
        if (finish_taken(cold, number) != CASCADE_OK) {
            log_write(cold->options.log, LOG_LEVEL_WARNING, "%s",
                      error_message());
            break;
        }
    }
    remove_empty(cold);
}

enum cascade_status
tier_segment_oldest(struct tier_segment *cold, struct tier_segment_info *info)
{
    struct tier_segment_info found;
    struct tier_segment_info one;
    bool any = false;

    (void)pthread_mutex_lock(&cold->table_lock);
    for (uint32_t i = 0; i < cold->handle_count; i++) {
        if (is_listed_as_own(cold, cold->handles[i])) {
            fill_info(cold, cold->handles[i], &one);
            if (!any || compare_infos(&one, &found) < 0) {
                found = one;
                any = true;
            }
        }
    }
    (void)pthread_mutex_unlock(&cold->table_lock);
    if (!any) {
        return error_set(CASCADE_NOT_FOUND, "%s has no sealed segment of ours",
                         cold->root.path);
    }
    *info = found;
    return CASCADE_OK;
}

size_t
tier_segment_own(struct tier_segment *cold, struct tier_segment_info *infos,
                 size_t room)
{
    size_t count = 0;

    (void)pthread_mutex_lock(&cold->table_lock);
    for (uint32_t i = 0; i < cold->handle_count; i++) {
        struct tier_segment_info one;
        size_t at = count;

        if (!is_listed_as_own(cold, cold->handles[i])) {
            continue;
        }
        fill_info(cold, cold->handles[i], &one);
        while (at > 0 && compare_infos(&one, &infos[at - 1]) < 0) {
            at--;
        }
        if (at == room) {
            continue;
        }
        count += count < room;
        memmove(&infos[at + 1], &infos[at], (count - 1 - at) * sizeof(*infos));
        infos[at] = one;
    }
    (void)pthread_mutex_unlock(&cold->table_lock);
    return count;
}

enum cascade_status
tier_segment_retire(struct tier_segment *cold, uint32_t segment,
                    uint64_t deadline_ns)
{
    struct tier_segment_handle *handle = NULL;
    enum cascade_status status = CASCADE_OK;

    if (!cold->has_lease) {
        return error_set(CASCADE_UNSUPPORTED,
                         "%s was opened to look only; open it to reclaim",
                         cold->root.path);
    }
    (void)pthread_mutex_lock(&cold->table_lock);
    if (segment < cold->handle_count) {
        handle = cold->handles[segment];
    }
    if (handle == NULL || handle->state == TIER_SEGMENT_GONE ||
        handle->finishing) {
        status = error_set(CASCADE_STALE, "segment %u is gone", segment);
    } else if (!is_ours(cold, handle) || handle->state == TIER_SEGMENT_NEW ||
               handle->state == TIER_SEGMENT_ACTIVE) {
        status = error_set(CASCADE_INVALID,
                           "%s is not a sealed segment of this job",
                           handle->path);
    } else {
        handle->state = TIER_SEGMENT_RETIRED;
        handle->finishing = true; // so that no sweep frees it meanwhile
        if (!wait_for_readers(cold, handle, deadline_ns)) {
            handle->finishing = false;
            status = error_set(CASCADE_TIMEOUT,
                               "%s is being read; it goes at a later call",
                               handle->path);
        }
    }
    (void)pthread_mutex_unlock(&cold->table_lock);
    if (status != CASCADE_OK) {
        return status;
    }
    status = finish_taken(cold, segment);
    if (status == CASCADE_OK) {
        remove_empty(cold);
    }
    return status;
}

struct block_version
tier_segment_oldest_version(struct tier_segment *cold, uint32_t *segment)
{
    struct block_version oldest = {UINT64_MAX, UINT64_MAX};
    uint32_t number = UINT32_MAX;

    (void)pthread_mutex_lock(&cold->table_lock);
    for (uint32_t i = 0; i < cold->handle_count; i++) {
        const struct tier_segment_handle *handle = cold->handles[i];
        struct block_version created = {0};

        if (handle == NULL || handle->state == TIER_SEGMENT_GONE) {
            continue;
        }
        if (handle->facts_known) {
            created = created_of(cold, handle);
        }
        if (block_version_compare(created, oldest) < 0) {
            oldest = created;
            number = handle->facts_known ? handle->number : UINT32_MAX;
        }
    }
    (void)pthread_mutex_unlock(&cold->table_lock);
    if (segment != NULL) {
        *segment = number;
    }
    return oldest;
}
