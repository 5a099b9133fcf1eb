// SPDX-License-Identifier: Apache-2.0
//
// Leases by rename. See the header for the states and why they hold.

#include "segment/segment_lease.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

#define LOOK_TRIES 4
#define HEX_DIGITS 16

static void
lease_name(char *name, size_t size, uint64_t number)
{
    (void)snprintf(name, size, SEGMENT_LEASE_PREFIX "%llu",
                   (unsigned long long)number);
}

static bool
is_hex(const char *text, size_t digits)
{
    return strspn(text, "0123456789abcdef") >= digits;
}

// Understands the part of a lease file's name after the prefix.
static enum segment_lease_state
parse_state(const char *rest, struct segment_lease_sight *sight)
{
    char *end = NULL;

    if (strcmp(rest, SEGMENT_LEASE_RELEASED) == 0) {
        return SEGMENT_LEASE_FREE;
    }
    if (segment_lease_is_writer(rest)) {
        (void)snprintf(sight->adopter, sizeof(sight->adopter), "%s", rest);
        return SEGMENT_LEASE_ADOPTED;
    }
    if (rest[0] < '0' || rest[0] > '9') {
        return SEGMENT_LEASE_UNCLEAR;
    }
    sight->number = strtoull(rest, &end, 10);
    return *end == '\0' ? SEGMENT_LEASE_NUMBERED : SEGMENT_LEASE_UNCLEAR;
}

static void
read_holder(const struct segment_root *root, int directory, const char *name,
            struct segment_lease_sight *sight)
{
    const struct file_system *files = root->files;
    struct segment_lease_record record;
    int file = files->open_at(files->self, directory, name, O_RDONLY, 0);

    if (file < 0) {
        return;
    }
    if (file_read_all(files, file, name, &record, sizeof(record), 0) ==
        CASCADE_OK) {
        sight->known = segment_lease_holder_decode(&record, &sight->holder);
    }
    (void)files->close(files->self, file);
}

// One listing. False if it caught a rename half way (no lease file or two),
// which a second listing tells from a directory that is really so.
static bool
look_once(const struct segment_root *root, const struct allocator *allocator,
          int directory, const char *writer, struct segment_lease_sight *sight)
{
    char **names;
    size_t count;
    size_t found = 0;

    memset(sight, 0, sizeof(*sight));
    if (file_list(root->files, allocator, directory, writer, &names, &count) !=
        CASCADE_OK) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        size_t prefix = strlen(SEGMENT_LEASE_PREFIX);

        if (strncmp(names[i], SEGMENT_LEASE_PREFIX, prefix) == 0) {
            found++;
            sight->state = parse_state(names[i] + prefix, sight);
            read_holder(root, directory, names[i], sight);
        }
    }
    file_names_free(allocator, names, count);
    if (found != 1) {
        sight->state = found == 0 ? SEGMENT_LEASE_NONE : SEGMENT_LEASE_UNCLEAR;
        return false;
    }
    // A numbered lease whose content was gone when it was opened was renewed
    // in between: look again, so that its holder is known.
    return sight->state != SEGMENT_LEASE_NUMBERED || sight->known;
}

static enum cascade_status
fill(const struct segment_root *root, const struct clock_source *clock,
     const struct segment_lease_holder *holder, struct segment_lease *lease)
{
    struct segment_lease_holder named = *holder;
    struct segment_lease_record record;
    struct segment_root_file born = {SEGMENT_LEASE_PREFIX "0", &record,
                                     sizeof(record)};
    enum cascade_status status;
    bool existed;

    lease->files = root->files;
    lease->clock = clock;
    lease->number = 0;
    lease->lease_ns = holder->lease_ns;
    lease->lost = false;
    named.since_wall_ns = clock_wall_ns(clock);
    (void)snprintf(lease->writer, sizeof(lease->writer), "w%016llx-%016llx",
                   (unsigned long long)named.since_wall_ns,
                   (unsigned long long)root->tag);
    segment_lease_holder_encode(&named, &record);
    lease->renewed_ns = clock_steady_ns(clock);
    status = segment_root_publish(root, root->directory, root->path,
                                  lease->writer, &born, 1, &existed);
    if (status != CASCADE_OK) {
        return status;
    }
    if (existed) {
        return error_set(CASCADE_IO, "the folder %s in %s is taken; open again",
                         lease->writer, root->path);
    }
    lease->directory = root->files->open_at(root->files->self, root->directory,
                                            lease->writer,
                                            O_RDONLY | O_DIRECTORY, 0);
    if (lease->directory < 0) {
        return error_set_errno(-lease->directory, "cannot open %s in %s",
                               lease->writer, root->path);
    }
    return CASCADE_OK;
}

// Renames the own lease file. Under the lock.
static enum cascade_status
rename_own(struct segment_lease *lease, const char *to)
{
    char from[SEGMENT_LEASE_WRITER_BYTES + 16];
    struct stat found;
    int result;

    lease_name(from, sizeof(from), lease->number);
    result = lease->files->rename_at(lease->files->self, lease->directory, from,
                                     lease->directory, to);
    // A rename that the network repeated answers ENOENT although it was done;
    // only this writer makes the new name.
    if (result == -ENOENT &&
        lease->files->stat_at(lease->files->self, lease->directory, to,
                              &found) == 0) {
        result = 0;
    }
    if (result == -ENOENT) {
        lease->lost = true;
        return error_set(CASCADE_CLOSED,
                         "the lease on %s was lost: another store adopted the "
                         "directory; open the store again",
                         lease->writer);
    }
    if (result < 0) {
        return error_set_errno(-result, "cannot renew the lease on %s",
                               lease->writer);
    }
    return CASCADE_OK;
}

static enum cascade_status
lost_already(const struct segment_lease *lease)
{
    return error_set(CASCADE_CLOSED,
                     "the lease on %s was lost; open the store again",
                     lease->writer);
}

bool
segment_lease_is_writer(const char *name)
{
    return name[0] == 'w' && is_hex(name + 1, HEX_DIGITS) &&
           name[1 + HEX_DIGITS] == '-' &&
           is_hex(name + 2 + HEX_DIGITS, HEX_DIGITS) &&
           strlen(name) == 2 + 2 * HEX_DIGITS;
}

enum cascade_status
segment_lease_create(const struct segment_root *root,
                     const struct clock_source *clock,
                     const struct segment_lease_holder *holder,
                     struct segment_lease *lease)
{
    enum cascade_status status = fill(root, clock, holder, lease);

    if (status != CASCADE_OK) {
        return status;
    }
    if (pthread_mutex_init(&lease->lock, NULL) != 0) {
        (void)lease->files->close(lease->files->self, lease->directory);
        return error_set(CASCADE_NO_MEMORY, "the system gave no lock");
    }
    return CASCADE_OK;
}

void
segment_lease_close(struct segment_lease *lease)
{
    (void)lease->files->close(lease->files->self, lease->directory);
    lease->directory = -1;
    (void)pthread_mutex_destroy(&lease->lock);
}

enum cascade_status
segment_lease_renew(struct segment_lease *lease)
{
    char to[SEGMENT_LEASE_WRITER_BYTES + 16];
    enum cascade_status status;
    uint64_t before_ns;

    (void)pthread_mutex_lock(&lease->lock);
    before_ns = clock_steady_ns(lease->clock);
    if (lease->lost) {
        status = lost_already(lease);
    } else {
        lease_name(to, sizeof(to), lease->number + 1);
        status = rename_own(lease, to);
    }
    if (status == CASCADE_OK) {
        lease->number++;
        lease->renewed_ns = before_ns;
    }
    (void)pthread_mutex_unlock(&lease->lock);
    return status;
}

bool
segment_lease_is_due(struct segment_lease *lease)
{
    uint64_t now_ns = clock_steady_ns(lease->clock);
    bool due;

    (void)pthread_mutex_lock(&lease->lock);
    due = now_ns >= lease->renewed_ns + lease->lease_ns / 4;
    (void)pthread_mutex_unlock(&lease->lock);
    return due;
}

bool
segment_lease_may_write(struct segment_lease *lease)
{
    uint64_t now_ns = clock_steady_ns(lease->clock);
    bool may;

    (void)pthread_mutex_lock(&lease->lock);
    may = !lease->lost && now_ns < lease->renewed_ns + lease->lease_ns / 2;
    (void)pthread_mutex_unlock(&lease->lock);
    return may;
}

bool
segment_lease_is_lost(struct segment_lease *lease)
{
    bool lost;

    (void)pthread_mutex_lock(&lease->lock);
    lost = lease->lost;
    (void)pthread_mutex_unlock(&lease->lock);
    return lost;
}

enum cascade_status
segment_lease_release(struct segment_lease *lease)
{
    enum cascade_status status;

    (void)pthread_mutex_lock(&lease->lock);
    status = lease->lost
                 ? lost_already(lease)
                 : rename_own(lease,
                              SEGMENT_LEASE_PREFIX SEGMENT_LEASE_RELEASED);
    lease->lost = true;
    (void)pthread_mutex_unlock(&lease->lock);
    return status;
}

void
segment_lease_look(const struct segment_root *root,
                   const struct allocator *allocator, const char *writer,
                   struct segment_lease_sight *sight)
{
    const struct file_system *files = root->files;
    bool clear = false;

    memset(sight, 0, sizeof(*sight));
    // Opened each time: a directory that was removed meanwhile is an empty one
    // to whoever holds it open.
    for (unsigned i = 0; i < LOOK_TRIES && !clear; i++) {
        int directory = files->open_at(files->self, root->directory, writer,
                                       O_RDONLY | O_DIRECTORY, 0);

        if (directory < 0) {
            memset(sight, 0, sizeof(*sight));
            if (directory == -ENOENT) {
                sight->state = SEGMENT_LEASE_MISSING;
            }
            return;
        }
        clear = look_once(root, allocator, directory, writer, sight);
        (void)files->close(files->self, directory);
    }
}

enum cascade_status
segment_lease_take(const struct segment_root *root, const char *writer,
                   const struct segment_lease_sight *sight, const char *adopter)
{
    const struct file_system *files = root->files;
    char from[SEGMENT_LEASE_WRITER_BYTES + 16];
    char to[SEGMENT_LEASE_WRITER_BYTES + 16];
    int directory = files->open_at(files->self, root->directory, writer,
                                   O_RDONLY | O_DIRECTORY, 0);
    int result;

    if (directory < 0) {
        return error_set_errno(-directory, "cannot open %s in %s", writer,
                               root->path);
    }
    if (sight->state == SEGMENT_LEASE_NUMBERED) {
        lease_name(from, sizeof(from), sight->number);
    } else {
        (void)snprintf(from, sizeof(from), SEGMENT_LEASE_PREFIX "%s",
                       sight->state == SEGMENT_LEASE_ADOPTED
                           ? sight->adopter
                           : SEGMENT_LEASE_RELEASED);
    }
    (void)snprintf(to, sizeof(to), SEGMENT_LEASE_PREFIX "%s", adopter);
    result = files->rename_at(files->self, directory, from, directory, to);
    if (result == 0) {
        // Not acted upon before it is there for good.
        result = files->sync(files->self, directory);
    }
    (void)files->close(files->self, directory);
    if (result < 0) {
        return error_set_errno(-result, "cannot adopt %s in %s", writer,
                               root->path);
    }
    return CASCADE_OK;
}

void
segment_lease_discard(const struct segment_root *root,
                      const struct allocator *allocator, const char *writer)
{
    const struct file_system *files = root->files;
    char name[SEGMENT_LEASE_WRITER_BYTES + 48];
    char **names;
    size_t count;
    int folder;

    (void)snprintf(name, sizeof(name), SEGMENT_ROOT_TEMPORARY "%016llx-%s",
                   (unsigned long long)root->tag, writer);
    // The new name is durable before the lease goes: else a crash could leave
    // the writer's folder without one, which is taken for held for an hour.
    if (files->rename_at(files->self, root->directory, writer, root->directory,
                         name) < 0 ||
        files->sync(files->self, root->directory) < 0) {
        return;
    }
    folder = files->open_at(files->self, root->directory, name,
                            O_RDONLY | O_DIRECTORY, 0);
    if (folder >= 0) {
        if (file_list(files, allocator, folder, name, &names, &count) ==
            CASCADE_OK) {
            for (size_t i = 0; i < count; i++) {
                (void)files->unlink_at(files->self, folder, names[i], 0);
            }
            file_names_free(allocator, names, count);
        }
        (void)files->close(files->self, folder);
    }
    (void)files->unlink_at(files->self, root->directory, name, AT_REMOVEDIR);
}
