// SPDX-License-Identifier: Apache-2.0
//
// Looking at the whole namespace: writers' directories and their leases, the
// files in them, what is new, what vanished, and who is to be adopted. One
// thread at a time, the scanner.
//
// Invariant: a directory counts as adopted only after the rename of its lease
// succeeded and was synced. Files that are not ours are counted and left alone.
// Locks: table_lock for changes of tables; none over I/O or visits.

#include "tier/tier_segment_inner.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "segment/segment_reserve.h"

#define WAVE 32 // files whose entries are in memory at once
#define TAKE_TRIES 4

struct wave {
    struct tier_segment *cold;
    struct tier_segment_handle *handles[WAVE];
    struct segment_index indexes[WAVE];
    enum cascade_status statuses[WAVE];
    uint32_t count;
    bool opening;
    tier_segment_visit *visit;
    void *context;
};

// ---------------------------------------------------------------------------
// Directories

static struct tier_segment_directory *
find_directory(struct tier_segment *cold, const char *writer)
{
    for (uint32_t i = 0; i < cold->directory_count; i++) {
        if (strcmp(cold->directories[i].writer, writer) == 0) {
            return &cold->directories[i];
        }
    }
    return NULL;
}

static struct tier_segment_directory *
add_directory(struct tier_segment *cold, const char *writer)
{
    struct tier_segment_directory *directory = NULL;

    (void)pthread_mutex_lock(&cold->table_lock);
    if (cold->directory_count == cold->directory_room) {
        uint32_t room = cold->directory_room * 2 + 16;
        struct tier_segment_directory *larger = allocator_array(
            cold->allocator, room, sizeof(*larger));

        if (larger == NULL) {
            goto unlock;
        }
        if (cold->directory_count > 0) {
            memcpy(larger, cold->directories,
                   cold->directory_count * sizeof(*larger));
        }
        allocator_release(cold->allocator, cold->directories);
        cold->directories = larger;
        cold->directory_room = room;
    }
    directory = &cold->directories[cold->directory_count++];
    memset(directory, 0, sizeof(*directory));
    (void)snprintf(directory->writer, sizeof(directory->writer), "%s", writer);

unlock:
    (void)pthread_mutex_unlock(&cold->table_lock);
    return directory;
}

// Whether what `writer` held is free; its death is made final on the way.
static bool
is_ended(struct tier_segment *cold, const char *writer)
{
    struct segment_lease_sight sight;

    segment_lease_look(&cold->root, cold->allocator, writer, &sight);
    switch (segment_lease_watch_judge(&cold->watch, writer, &sight, NULL)) {
    case SEGMENT_LEASE_ALIVE:
        return false;
    case SEGMENT_LEASE_ENDED:
        return true;
    case SEGMENT_LEASE_EXPIRED:
    case SEGMENT_LEASE_GONE:
        break;
    }
    return segment_lease_take(&cold->root, writer, &sight,
                              cold->lease.writer) == CASCADE_OK;
}

static enum tier_segment_relation
relation_to(struct tier_segment *cold, const char *adopter)
{
    struct segment_lease_sight sight;

    segment_lease_look(&cold->root, cold->allocator, adopter, &sight);
    return sight.known && sight.holder.job == cold->self.job
               ? TIER_SEGMENT_SIBLING
               : TIER_SEGMENT_FOREIGN;
}

// One look at a directory's lease; takes it if it is free and that is wanted.
// False: it changed under us, look again.
static bool
look_at_directory(struct tier_segment *cold,
                  struct tier_segment_directory *directory, bool adopt,
                  enum tier_segment_relation *relation)
{
    struct segment_lease_sight sight;
    enum segment_lease_verdict verdict;
    enum cascade_status status;

    *relation = TIER_SEGMENT_FOREIGN;
    if (!cold->has_lease) {
        return true;
    }
    segment_lease_look(&cold->root, cold->allocator, directory->writer, &sight);
    verdict = segment_lease_watch_judge(&cold->watch, directory->writer, &sight,
                                        NULL);
    if (sight.state == SEGMENT_LEASE_ADOPTED &&
        strcmp(sight.adopter, cold->lease.writer) == 0) {
        *relation = TIER_SEGMENT_ADOPTED;
        return true;
    }
    if (verdict == SEGMENT_LEASE_ALIVE) {
        if (sight.known && sight.holder.job == cold->self.job) {
            *relation = TIER_SEGMENT_SIBLING;
        }
        return true;
    }
    if (!adopt || sight.state == SEGMENT_LEASE_MISSING ||
        sight.state == SEGMENT_LEASE_NONE) {
        return true;
    }
    if (sight.state == SEGMENT_LEASE_ADOPTED &&
        !is_ended(cold, sight.adopter)) {
        *relation = relation_to(cold, sight.adopter);
        return true;
    }
    status = segment_lease_take(&cold->root, directory->writer, &sight,
                                cold->lease.writer);
    if (status == CASCADE_NOT_FOUND) {
        return false;
    }
    if (status != CASCADE_OK) {
        log_write(cold->options.log, LOG_LEVEL_WARNING, "%s", error_message());
        return true;
    }
    *relation = TIER_SEGMENT_ADOPTED;
    log_write(cold->options.log, LOG_LEVEL_INFO, "adopted writer=%s",
              directory->writer);
    return true;
}

static void
settle_directory(struct tier_segment *cold,
                 struct tier_segment_directory *directory, bool adopt)
{
    enum tier_segment_relation relation = TIER_SEGMENT_FOREIGN;

    for (unsigned i = 0; i < TAKE_TRIES; i++) {
        if (look_at_directory(cold, directory, adopt, &relation)) {
            break;
        }
    }
    (void)pthread_mutex_lock(&cold->table_lock);
    directory->listed = true;
    directory->adopted_now = relation == TIER_SEGMENT_ADOPTED &&
                             directory->relation != TIER_SEGMENT_ADOPTED;
    directory->relation = relation;
    (void)pthread_mutex_unlock(&cold->table_lock);
}

// ---------------------------------------------------------------------------
// Files

// Understands "<digits>.<ending>"; false if it is another name.
static bool
parse_number(const char *name, const char *ending, uint64_t *number)
{
    char *end = NULL;
    unsigned long long value;

    if (strlen(name) < 8 || strspn(name, "0123456789") < 8) {
        return false;
    }
    value = strtoull(name, &end, 10);
    if (*end != '.' || strcmp(end + 1, ending) != 0 || value == 0) {
        return false;
    }
    *number = value;
    return true;
}

// Listings are sorted and handles lie about as they were listed, so the search
// begins where the last one ended; numbers above all known ones need none.
// Under table_lock.
static struct tier_segment_handle *
find_file(struct tier_segment *cold, uint32_t directory, uint64_t number)
{
    if (number > cold->directories[directory].highest_number) {
        return NULL;
    }
    for (uint32_t i = 0; i < cold->handle_count; i++) {
        uint32_t at = (cold->handle_found + i) % cold->handle_count;
        struct tier_segment_handle *handle = cold->handles[at];

        if (handle != NULL && handle->directory == directory &&
            handle->file_number == number &&
            handle->state != TIER_SEGMENT_GONE) {
            cold->handle_found = at;
            return handle;
        }
    }
    return NULL;
}

static enum cascade_status
note_file(struct tier_segment *cold, uint32_t directory, uint64_t number)
{
    struct tier_segment_handle *handle;

    (void)pthread_mutex_lock(&cold->table_lock);
    handle = find_file(cold, directory, number);
    if (handle == NULL) {
        handle = tier_segment_handle_add(cold, directory, number);
    }
    if (handle != NULL) {
        handle->listed = true;
    }
    (void)pthread_mutex_unlock(&cold->table_lock);
    if (handle == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory for a segment's handle");
    }
    return CASCADE_OK;
}

// Notes an index file "<writer>.<number>.idx" at its subject, if that exists.
static bool
note_index(struct tier_segment *cold, const char *holder, const char *name)
{
    char writer[SEGMENT_LEASE_WRITER_BYTES] = {0};
    struct tier_segment_directory *subject;
    struct tier_segment_handle *handle;
    size_t bytes = strcspn(name, ".");
    uint64_t number;

    if (bytes >= sizeof(writer) || name[bytes] == '\0') {
        return false;
    }
    memcpy(writer, name, bytes);
    if (!segment_lease_is_writer(writer) ||
        !parse_number(name + bytes + 1, "idx", &number)) {
        return false;
    }
    subject = find_directory(cold, writer);
    (void)pthread_mutex_lock(&cold->table_lock);
    handle = subject == NULL
                 ? NULL
                 : find_file(cold, (uint32_t)(subject - cold->directories),
                             number);
    if (handle != NULL && !handle->index_used) {
        (void)snprintf(handle->index, sizeof(handle->index), "%s/%s", holder,
                       name);
    }
    (void)pthread_mutex_unlock(&cold->table_lock);
    return true;
}

static bool
is_side_file(const char *name)
{
    uint64_t number;

    return strncmp(name, SEGMENT_LEASE_PREFIX, strlen(SEGMENT_LEASE_PREFIX)) ==
               0 ||
           parse_number(name, "gone", &number);
}

// Lists one directory: segments in the first pass, index files in the second,
// when all subjects are known.
static enum cascade_status
list_directory(struct tier_segment *cold, uint32_t index, bool indexes)
{
    const struct file_system *files = cold->files;
    char writer[SEGMENT_LEASE_WRITER_BYTES];
    char **names;
    size_t count;
    uint64_t number;
    enum cascade_status status;
    int folder;

    memcpy(writer, cold->directories[index].writer, sizeof(writer));
    folder = files->open_at(files->self, cold->root.directory, writer,
                            O_RDONLY | O_DIRECTORY, 0);
    if (folder == -ENOENT) {
        cold->directories[index].listed = false;
        return CASCADE_OK;
    }
    if (folder < 0) {
        return error_set_errno(-folder, "cannot open %s in %s", writer,
                               cold->root.path);
    }
    status = file_list(files, cold->allocator, folder, writer, &names, &count);
    (void)files->close(files->self, folder);
    if (status != CASCADE_OK) {
        return status;
    }
    for (size_t i = 0; i < count && status == CASCADE_OK; i++) {
        if (parse_number(names[i], "seg", &number)) {
            status = indexes ? CASCADE_OK : note_file(cold, index, number);
        } else if (indexes && !note_index(cold, writer, names[i]) &&
                   !is_side_file(names[i])) {
            (void)pthread_mutex_lock(&cold->table_lock);
            cold->foreign_files++;
            (void)pthread_mutex_unlock(&cold->table_lock);
        }
    }
    file_names_free(cold->allocator, names, count);
    return status;
}

static bool
is_ours_at_top(const char *name)
{
    return strcmp(name, "namespace") == 0 ||
           strcmp(name, SEGMENT_RESERVE_FILE) == 0 ||
           strncmp(name, SEGMENT_ROOT_OWNER, strlen(SEGMENT_ROOT_OWNER)) == 0 ||
           strncmp(name, SEGMENT_ROOT_TEMPORARY,
                   strlen(SEGMENT_ROOT_TEMPORARY)) == 0 ||
           strncmp(name, SEGMENT_LEASE_NOTE_PREFIX,
                   strlen(SEGMENT_LEASE_NOTE_PREFIX)) == 0;
}

static enum cascade_status
list_directories(struct tier_segment *cold, bool adopt)
{
    char **names;
    size_t count;
    uint64_t foreign = 0;
    enum cascade_status status = file_list(cold->files, cold->allocator,
                                           cold->root.directory,
                                           cold->root.path, &names, &count);

    if (status != CASCADE_OK) {
        return status;
    }
    for (size_t i = 0; i < count; i++) {
        struct tier_segment_directory *directory;

        if (!segment_lease_is_writer(names[i])) {
            foreign += !is_ours_at_top(names[i]);
            continue;
        }
        directory = find_directory(cold, names[i]);
        if (directory == NULL) {
            directory = add_directory(cold, names[i]);
        }
        if (directory == NULL) {
            status = error_set(CASCADE_NO_MEMORY, "no memory for a directory");
            break;
        }
        if (directory->relation == TIER_SEGMENT_OWN) {
            directory->listed = true;
        } else {
            settle_directory(cold, directory, adopt);
        }
    }
    (void)pthread_mutex_lock(&cold->table_lock);
    cold->foreign_files = foreign;
    (void)pthread_mutex_unlock(&cold->table_lock);
    file_names_free(cold->allocator, names, count);
    return status;
}

static enum cascade_status
list_files(struct tier_segment *cold)
{
    enum cascade_status status = CASCADE_OK;

    for (unsigned pass = 0; pass < 2; pass++) {
        for (uint32_t i = 0; i < cold->directory_count; i++) {
            if (!cold->directories[i].listed) {
                continue;
            }
            status = list_directory(cold, i, pass == 1);
            if (status != CASCADE_OK) {
                return status;
            }
        }
    }
    return CASCADE_OK;
}

// What was there and is not any more answers STALE from now on.
static void
mark_gone(struct tier_segment *cold)
{
    (void)pthread_mutex_lock(&cold->table_lock);
    for (uint32_t i = 0; i < cold->handle_count; i++) {
        struct tier_segment_handle *handle = cold->handles[i];

        if (handle == NULL || handle->listed ||
            handle->state == TIER_SEGMENT_ACTIVE ||
            handle->state == TIER_SEGMENT_RETIRED) {
            continue;
        }
        cold->losses += handle->state == TIER_SEGMENT_TAIL ||
                        handle->state == TIER_SEGMENT_SEALED;
        handle->state = TIER_SEGMENT_GONE;
        if (handle->references == 0) {
            tier_segment_handle_free(cold, handle);
        }
    }
    for (uint32_t i = 0; i < cold->directory_count; i++) {
        cold->directories[i].gone = !cold->directories[i].listed;
    }
    (void)pthread_mutex_unlock(&cold->table_lock);
}

// ---------------------------------------------------------------------------
// Reading

static bool
wants_reading(const struct tier_segment *cold,
              const struct tier_segment_handle *handle, bool opening)
{
    const struct tier_segment_directory *directory =
        &cold->directories[handle->directory];

    switch (handle->state) {
    case TIER_SEGMENT_NEW:
        return true;
    case TIER_SEGMENT_TAIL:
    case TIER_SEGMENT_DAMAGED:
        return directory->relation != TIER_SEGMENT_OWN && !handle->condemned;
    case TIER_SEGMENT_SEALED:
        return directory->adopted_now && !opening;
    case TIER_SEGMENT_ACTIVE:
    case TIER_SEGMENT_RETIRED:
    case TIER_SEGMENT_GONE:
        return false;
    }
    return false;
}

static void
load_one(void *context, size_t index)
{
    struct wave *wave = context;

    wave->statuses[index] = tier_segment_load(wave->cold, wave->handles[index],
                                              &wave->indexes[index]);
}

// Seals an adopted tail, if it is one; failure leaves it a tail.
static void
seal_if_adopted(struct tier_segment *cold, struct tier_segment_handle *handle,
                const struct segment_index *index)
{
    if (handle->state != TIER_SEGMENT_TAIL || handle->incomplete ||
        cold->directories[handle->directory].relation != TIER_SEGMENT_ADOPTED) {
        return;
    }
    if (tier_segment_seal_adopted(cold, handle, index) != CASCADE_OK) {
        log_write(cold->options.log, LOG_LEVEL_WARNING,
                  "cannot seal an adopted segment: %s", error_message());
    }
}

// A live tail of others is shown at open, then when it is sealed; between, it
// only tells where else a block is.
static void
show_one(void *context, size_t index)
{
    struct wave *wave = context;
    const struct tier_segment *cold = wave->cold;
    const struct tier_segment_handle *handle = wave->handles[index];
    bool again = handle->state == TIER_SEGMENT_TAIL && !wave->opening &&
                 cold->directories[handle->directory].relation !=
                     TIER_SEGMENT_ADOPTED;

    if (handle->state == TIER_SEGMENT_SEALED ||
        handle->state == TIER_SEGMENT_TAIL) {
        tier_segment_show(wave->cold, handle, &wave->indexes[index], again,
                          wave->opening ? cold->options.visit_many : NULL,
                          wave->visit, wave->context);
    }
}

// Reads a wave on the pool, seals on this thread, and shows on the pool.
static enum cascade_status
run_wave(struct tier_segment *cold, struct wave *wave)
{
    enum cascade_status status = CASCADE_OK;

    for (uint32_t i = 0; i < wave->count; i++) {
        segment_index_init(&wave->indexes[i], cold->allocator);
    }
    pool_parallel_for(cold->options.pool, load_one, wave, wave->count);
    for (uint32_t i = 0; i < wave->count && status == CASCADE_OK; i++) {
        status = wave->statuses[i];
        if (status == CASCADE_OK) {
            seal_if_adopted(cold, wave->handles[i], &wave->indexes[i]);
        }
    }
    if (status == CASCADE_OK) {
        pool_parallel_for(cold->options.pool, show_one, wave, wave->count);
    }
    for (uint32_t i = 0; i < wave->count; i++) {
        segment_index_fini(&wave->indexes[i]);
        tier_segment_handle_drop(cold, wave->handles[i]);
    }
    wave->count = 0;
    return status;
}

static enum cascade_status
read_files(struct tier_segment *cold, bool opening, tier_segment_visit *visit,
           void *context)
{
    struct wave *wave = allocator_array(cold->allocator, 1, sizeof(*wave));
    enum cascade_status status = CASCADE_OK;
    uint32_t count;

    if (wave == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory to read segments");
    }
    wave->cold = cold;
    wave->opening = opening;
    wave->visit = visit;
    wave->context = context;
    // What the writer adds from here on is its own, and known.
    (void)pthread_mutex_lock(&cold->table_lock);
    count = cold->handle_count;
    (void)pthread_mutex_unlock(&cold->table_lock);
    for (uint32_t i = 0; i < count && status == CASCADE_OK; i++) {
        struct tier_segment_handle *handle;

        (void)pthread_mutex_lock(&cold->table_lock);
        handle = cold->handles[i];
        if (handle != NULL && !wants_reading(cold, handle, opening)) {
            handle = NULL;
        }
        if (handle != NULL) {
            handle->references++;
        }
        (void)pthread_mutex_unlock(&cold->table_lock);
        if (handle == NULL) {
            continue;
        }
        wave->handles[wave->count++] = handle;
        if (wave->count == WAVE) {
            status = run_wave(cold, wave);
        }
    }
    if (status == CASCADE_OK) {
        status = run_wave(cold, wave);
    }
    allocator_release(cold->allocator, wave);
    return status;
}

enum cascade_status
tier_segment_scan(struct tier_segment *cold, bool adopt, bool opening,
                  tier_segment_visit *visit, void *context)
{
    enum cascade_status status;

    (void)pthread_mutex_lock(&cold->table_lock);
    for (uint32_t i = 0; i < cold->directory_count; i++) {
        cold->directories[i].listed = false;
        cold->directories[i].adopted_now = false;
    }
    for (uint32_t i = 0; i < cold->handle_count; i++) {
        // One that is being written may be sealed, and its file made, behind
        // the listing.
        if (cold->handles[i] != NULL &&
            cold->handles[i]->state != TIER_SEGMENT_ACTIVE) {
            cold->handles[i]->listed = false;
        }
    }
    (void)pthread_mutex_unlock(&cold->table_lock);
    status = list_directories(cold, adopt);
    if (status == CASCADE_OK) {
        status = list_files(cold);
    }
    if (status != CASCADE_OK) {
        return status;
    }
    mark_gone(cold);
    return read_files(cold, opening, visit, context);
}
