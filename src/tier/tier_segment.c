// SPDX-License-Identifier: Apache-2.0
//
// Opening, refreshing and closing the cold tier. The work is in the files
// beside this one: handles, load, scan, append, table, entries, retire.
//
// Invariant: after a failed open nothing is held that another open would wait
// for: the lease is released, or its directory removed.
// Locks: see tier_segment_inner.h.

#include "tier/tier_segment_inner.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>

#include "base/check.h"
#include "base/error.h"
#include "base/units.h"
#include "segment/segment_reserve.h"

#define LEASE_NS_MIN (100 * NS_PER_MS)

// How long the writes of large blocks are.
#define WRITE_DIRECT_BYTES (4 * MIB)

static bool
init_locks(struct tier_segment *cold)
{
    pthread_condattr_t steady;

    if (pthread_condattr_init(&steady) != 0) {
        return false;
    }
    (void)pthread_condattr_setclock(&steady, CLOCK_MONOTONIC);
    if (pthread_mutex_init(&cold->writer_lock, NULL) != 0 ||
        pthread_mutex_init(&cold->table_lock, NULL) != 0 ||
        pthread_cond_init(&cold->changed, &steady) != 0 ||
        pthread_cond_init(&cold->paced, &steady) != 0) {
        (void)pthread_condattr_destroy(&steady);
        return false;
    }
    (void)pthread_condattr_destroy(&steady);
    return true;
}

static enum cascade_status
create(const struct tier_segment_options *options, struct tier_segment **cold)
{
    struct tier_segment *made;
    size_t bytes = strlen(options->namespace_name);
    struct segment_io_options io = {
        .kind = (enum segment_io_kind)options->io,
        .direct_bytes = WRITE_DIRECT_BYTES,
        .files = options->files,
        .allocator = options->allocator,
    };
    enum cascade_status status;

    if (bytes > SEGMENT_ROOT_NAMESPACE_BYTES_MAX) {
        return error_set(CASCADE_INVALID, "the namespace's name is too long");
    }
    made = allocator_array(options->allocator, 1, sizeof(*made));
    if (made == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory for the cold tier");
    }
    made->options = *options;
    memcpy(made->namespace_name, options->namespace_name, bytes);
    made->options.namespace_name = made->namespace_name;
    made->options.root = NULL; // the caller's texts are not kept
    made->options.group = NULL;
    made->files = options->files;
    made->clock = options->clock;
    made->allocator = options->allocator;
    made->root.directory = -1;
    made->current = TIER_SEGMENT_WRITERS;
    made->next_number = 1;
    made->marked_from = 1;
    check(SHA256((const unsigned char *)made->namespace_name, bytes,
                 made->namespace_digest) != NULL);
    if (!init_locks(made)) {
        allocator_release(options->allocator, made);
        return error_set(CASCADE_NO_MEMORY, "the system gave no lock");
    }
    status = segment_io_create(&io, &made->writer_io);
    if (status != CASCADE_OK) {
        allocator_release(options->allocator, made);
        return status;
    }
    *cold = made;
    return CASCADE_OK;
}

static void
destroy(struct tier_segment *cold)
{
    for (uint32_t i = 0; i < cold->handle_count; i++) {
        if (cold->handles[i] != NULL) {
            tier_segment_handle_free(cold, cold->handles[i]);
        }
    }
    for (uint32_t i = 0; i < TIER_SEGMENT_READERS; i++) {
        segment_reader_destroy(cold->readers[i].reader);
        segment_io_destroy(cold->readers[i].io);
    }
    segment_io_destroy(cold->writer_io);
    if (cold->has_watch) {
        segment_lease_watch_fini(&cold->watch);
    }
    if (cold->has_lease) {
        segment_lease_close(&cold->lease);
    }
    segment_root_close(&cold->root);
    allocator_release(cold->allocator, cold->handles);
    allocator_release(cold->allocator, cold->generations);
    allocator_release(cold->allocator, cold->directories);
    (void)pthread_cond_destroy(&cold->paced);
    (void)pthread_cond_destroy(&cold->changed);
    (void)pthread_mutex_destroy(&cold->table_lock);
    (void)pthread_mutex_destroy(&cold->writer_lock);
    allocator_release(cold->allocator, cold);
}

// Gives the own directory up: it is free for the next store, or gone if it
// holds nothing but the lease.
static enum cascade_status
give_up_lease(struct tier_segment *cold)
{
    const struct file_system *files = cold->files;
    enum cascade_status status = segment_lease_release(&cold->lease);
    char **names;
    size_t count;

    if (status != CASCADE_OK ||
        file_list(files, cold->allocator, cold->lease.directory,
                  cold->lease.writer, &names, &count) != CASCADE_OK) {
        return status;
    }
    // An adopter may have been first: it takes nothing from it.
    if (count == 1) {
        segment_lease_discard(&cold->root, cold->allocator, cold->lease.writer);
    }
    file_names_free(cold->allocator, names, count);
    return CASCADE_OK;
}

static void
fill_holder(struct tier_segment *cold,
            const struct tier_segment_options *options)
{
    if (options->holder != NULL) {
        cold->self = *options->holder;
    } else {
        segment_lease_holder_read(&cold->self);
    }
    cold->self.job = options->job != 0 ? options->job : options->version_tag;
    cold->self.lease_ns = units_min(units_max(options->lease_ns, LEASE_NS_MIN),
                                    SEGMENT_LEASE_NS_MAX);
    cold->self.since_wall_ns = clock_wall_ns(cold->clock);
}

// Adds the own directory to the table.
static enum cascade_status
add_own_directory(struct tier_segment *cold)
{
    struct tier_segment_directory *own;

    cold->directories = allocator_array(cold->allocator, 16, sizeof(*own));
    if (cold->directories == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory for the cold tier");
    }
    cold->directory_room = 16;
    cold->directory_count = 1;
    cold->own_directory = 0;
    own = &cold->directories[0];
    own->relation = TIER_SEGMENT_OWN;
    (void)snprintf(own->writer, sizeof(own->writer), "%s", cold->lease.writer);
    return CASCADE_OK;
}

// LOCKED if the namespace's folder is not where it was opened: somebody moved
// it away to remove it. Who moves it looks for leases afterwards, so that one of
// the two always sees the other.
static enum cascade_status
check_not_moved(struct tier_segment *cold)
{
    const struct segment_root *root = &cold->root;
    struct stat opened;
    struct stat named;

    if (cold->files->stat_at(cold->files->self, root->directory, ".",
                             &opened) == 0 &&
        cold->files->stat_at(cold->files->self, AT_FDCWD, root->path, &named) ==
            0 &&
        opened.st_dev == named.st_dev && opened.st_ino == named.st_ino) {
        return CASCADE_OK;
    }
    return error_set(CASCADE_LOCKED,
                     "%s was moved away while it was being opened, to be "
                     "removed; open it again",
                     root->path);
}

static enum cascade_status
take_lease(struct tier_segment *cold)
{
    enum cascade_status status = segment_lease_watch_init(
        &cold->watch, &cold->root, cold->clock, &cold->self, cold->allocator);

    if (status != CASCADE_OK) {
        return status;
    }
    cold->has_watch = true;
    status = segment_lease_create(&cold->root, cold->clock, &cold->self,
                                  &cold->lease);
    if (status == CASCADE_NO_SPACE && segment_reserve_give_up(&cold->root)) {
        status = segment_lease_create(&cold->root, cold->clock, &cold->self,
                                      &cold->lease);
    }
    if (status != CASCADE_OK) {
        return status;
    }
    cold->has_lease = true;
    status = check_not_moved(cold);
    if (status == CASCADE_OK) {
        status = add_own_directory(cold);
    }
    if (status != CASCADE_OK) {
        return status;
    }
    return cold->rebind_allowed
               ? segment_lease_owner_claim(&cold->watch, &cold->lease)
               : segment_lease_renew(&cold->lease);
}

static enum cascade_status
open_root(struct tier_segment *cold, const struct tier_segment_options *options)
{
    struct segment_root_options root = {
        .path = options->root,
        .namespace_name = cold->namespace_name,
        .rebind_allowed = options->rebind_allowed,
        .look_only = options->look_only,
        .file_mode = options->file_mode,
        .group = options->group,
        .tag = options->version_tag,
        .files = options->files,
    };
    enum cascade_status status = segment_root_open(&root, &cold->root);

    if (status == CASCADE_OK) {
        cold->rebind_allowed = cold->root.rebind_allowed;
    }
    return status;
}

// A damaged file that is the last of its writer voids all that is known, at
// every start anew. A clear of that version says so once and for all, and the
// file, of which nothing counts any more, goes. Where that fails, the next
// start tries again.
static void
settle_floor(struct tier_segment *cold, struct block_version floor,
             tier_segment_visit *visit, void *context)
{
    struct tier_segment_put clear = {
        .label.flags = BLOCK_LABEL_CLEAR,
        .label.version = {floor.time_ns, cold->root.tag},
    };
    struct tier_segment_entry shown = {
        .label = clear.label, .own = true, .durable = true};
    uint32_t count = cold->handle_count;
    bool any = false;

    for (uint32_t i = 0; i < count; i++) {
        const struct tier_segment_handle *handle = cold->handles[i];

        if (handle != NULL && handle->withholds) {
            any = true;
            if (!handle->corrupt) {
                return; // it may be readable another time
            }
        }
    }
    if (!any || tier_segment_append(cold, &clear, 1) != CASCADE_OK ||
        tier_segment_sync(cold) != CASCADE_OK) {
        return;
    }
    shown.segment = clear.segment;
    visit(context, &shown);
    for (uint32_t i = 0; i < count; i++) {
        if (cold->handles[i] != NULL && cold->handles[i]->withholds &&
            tier_segment_retire(cold, i, 0) != CASCADE_OK) {
            log_write(cold->options.log, LOG_LEVEL_WARNING, "%s",
                      error_message());
        }
    }
}

enum cascade_status
tier_segment_open(const struct tier_segment_options *options,
                  tier_segment_visit *visit, void *context,
                  struct block_version *floor, struct block_version *highest,
                  struct tier_segment **cold)
{
    struct tier_segment *opened = NULL;
    enum cascade_status status = create(options, &opened);

    if (status != CASCADE_OK) {
        return status;
    }
    fill_holder(opened, options);
    status = open_root(opened, options);
    if (status == CASCADE_OK && !options->look_only) {
        status = take_lease(opened);
    }
    if (status == CASCADE_OK) {
        status = tier_segment_scan(opened, true, true, visit, context);
    }
    if (opened->has_watch) {
        segment_lease_watch_save(&opened->watch);
    }
    if (status != CASCADE_OK) {
        if (opened->has_lease) {
            enum cascade_status released = give_up_lease(opened);

            (void)released; // the first failure is the one to tell
        }
        destroy(opened);
        return status;
    }
    *floor = tier_segment_floor(opened);
    if (opened->has_lease) {
        settle_floor(opened, *floor, visit, context);
        tier_segment_sweep(opened);
        segment_reserve_make(&opened->root, opened->allocator,
                             opened->options.segment_bytes);
    }
    *highest = opened->highest;
    *cold = opened;
    return CASCADE_OK;
}

enum cascade_status
tier_segment_close(struct tier_segment *cold)
{
    enum cascade_status status = CASCADE_OK;
    enum cascade_status released = CASCADE_OK;

    for (uint32_t i = 0; i < cold->handle_count; i++) {
        check(cold->handles[i] == NULL || cold->handles[i]->references == 0);
    }
    if (cold->has_lease) {
        status = tier_segment_may_write(cold);
        if (status == CASCADE_OK) {
            tier_segment_sweep(cold);
            status = tier_segment_writers_end(cold);
            released = give_up_lease(cold);
        } else {
            for (uint32_t i = 0; i < TIER_SEGMENT_WRITERS; i++) {
                segment_write_close(cold->writers[i].writer);
            }
        }
        segment_lease_watch_save(&cold->watch);
    }
    destroy(cold);
    return status != CASCADE_OK ? status : released;
}

enum cascade_status
tier_segment_refresh(struct tier_segment *cold, bool adopt,
                     tier_segment_visit *visit, void *context)
{
    enum cascade_status status = CASCADE_OK;
    bool busy;

    if (cold->has_lease && segment_lease_is_due(&cold->lease)) {
        status = segment_lease_renew(&cold->lease);
    }
    if (cold->has_lease && segment_lease_is_lost(&cold->lease)) {
        return error_set(CASCADE_CLOSED,
                         "the lease on %s was lost; open the store again",
                         cold->lease.writer);
    }
    if (status != CASCADE_OK) {
        return status;
    }
    (void)pthread_mutex_lock(&cold->table_lock);
    busy = cold->scanning;
    cold->scanning = true;
    (void)pthread_mutex_unlock(&cold->table_lock);
    if (busy) {
        return CASCADE_OK; // another thread is at it
    }
    status = tier_segment_scan(cold, adopt || cold->rebind_allowed, false,
                               visit, context);
    (void)pthread_mutex_lock(&cold->table_lock);
    cold->scanning = false;
    (void)pthread_cond_broadcast(&cold->changed);
    (void)pthread_mutex_unlock(&cold->table_lock);
    if (cold->has_lease) {
        tier_segment_sweep(cold);
        segment_reserve_make(&cold->root, cold->allocator,
                             cold->options.segment_bytes);
    }
    return status;
}

bool
tier_segment_use_reserve(struct tier_segment *cold)
{
    return cold->has_lease && segment_reserve_give_up(&cold->root);
}

static void
count_handle(const struct tier_segment *cold,
             const struct tier_segment_handle *handle,
             struct tier_segment_usage *usage)
{
    bool ours = cold->directories[handle->directory].relation >=
                TIER_SEGMENT_ADOPTED;

    if (handle->state == TIER_SEGMENT_GONE) {
        return;
    }
    usage->damaged_files += handle->state == TIER_SEGMENT_DAMAGED;
    if (handle->state == TIER_SEGMENT_ACTIVE) {
        usage->active_bytes += handle->bytes;
    }
    if (ours) {
        usage->own_bytes += handle->bytes;
        usage->own_segments++;
    } else {
        usage->foreign_bytes += handle->bytes;
        usage->foreign_segments++;
    }
}

void
tier_segment_usage_of(struct tier_segment *cold,
                      struct tier_segment_usage *usage)
{
    struct statvfs space;

    memset(usage, 0, sizeof(*usage));
    (void)pthread_mutex_lock(&cold->table_lock);
    for (uint32_t i = 0; i < cold->handle_count; i++) {
        if (cold->handles[i] != NULL) {
            count_handle(cold, cold->handles[i], usage);
        }
    }
    usage->written_bytes = cold->written_bytes;
    usage->sealed = cold->sealed;
    usage->foreign_files = cold->foreign_files;
    (void)pthread_mutex_unlock(&cold->table_lock);
    usage->io_name = segment_io_name(cold->writer_io);
    if (fstatvfs(cold->root.directory, &space) == 0) {
        usage->free_bytes = (uint64_t)space.f_bavail * space.f_frsize;
    }
}
