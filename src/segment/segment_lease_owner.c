// SPDX-License-Identifier: Apache-2.0
//
// Claiming a namespace; see the header for the order and why it holds.

#include "segment/segment_lease_owner.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/error.h"
#include "base/units.h"

#define CLAIM_TRIES 16
#define OWNER_NAME_BYTES (SEGMENT_LEASE_WRITER_BYTES + 16)

static enum cascade_status
locked(const struct segment_lease_watch *watch, const char *writer,
       const struct segment_lease_sight *sight, uint64_t left_ns)
{
    time_t since = (time_t)(sight->holder.since_wall_ns / NS_PER_S);
    char when[32] = "an unknown time";
    struct tm parts;

    if (!sight->known) {
        return error_set(
            CASCADE_LOCKED,
            "%s is owned by the live writer %s, whose lease cannot "
            "be read; close it, or use another namespace",
            watch->root->path, writer);
    }
    if (gmtime_r(&since, &parts) != NULL) {
        (void)strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &parts);
    }
    return error_set(
        CASCADE_LOCKED,
        "%s is owned by process %llu on host %s since %s; close "
        "it, or use another namespace; if it stays silent its "
        "lease ends in %.1f s",
        watch->root->path, (unsigned long long)sight->holder.process,
        sight->holder.host, when, (double)left_ns / (double)NS_PER_S);
}

// The one owner file's name. NOT_FOUND: none, or caught between two.
static enum cascade_status
find_owner(const struct segment_lease_watch *watch, char *name)
{
    size_t prefix = strlen(SEGMENT_ROOT_OWNER);
    char **names;
    size_t count;
    size_t found = 0;
    enum cascade_status status = file_list(watch->root->files, watch->allocator,
                                           watch->root->directory,
                                           watch->root->path, &names, &count);

    if (status != CASCADE_OK) {
        return status;
    }
    for (size_t i = 0; i < count; i++) {
        if (strncmp(names[i], SEGMENT_ROOT_OWNER, prefix) == 0 &&
            strlen(names[i]) < OWNER_NAME_BYTES) {
            (void)snprintf(name, OWNER_NAME_BYTES, "%s", names[i]);
            found++;
        }
    }
    file_names_free(watch->allocator, names, count);
    if (found != 1) {
        return error_set(CASCADE_NOT_FOUND, "%s has no clear owner file",
                         watch->root->path);
    }
    return CASCADE_OK;
}

// NOT_FOUND: somebody else was first.
static enum cascade_status
take_owner(const struct segment_lease_watch *watch, const char *from,
           const char *writer)
{
    const struct file_system *files = watch->root->files;
    char to[OWNER_NAME_BYTES];
    int result;

    (void)snprintf(to, sizeof(to), SEGMENT_ROOT_OWNER "%s", writer);
    result = files->rename_at(files->self, watch->root->directory, from,
                              watch->root->directory, to);
    if (result == 0) {
        result = files->sync(files->self, watch->root->directory);
    }
    if (result < 0) {
        return error_set_errno(-result, "cannot take the namespace %s",
                               watch->root->path);
    }
    return CASCADE_OK;
}

// Somebody deleted the owner file: make it anew, for all to race for.
static enum cascade_status
make_owner(const struct segment_lease_watch *watch)
{
    const struct file_system *files = watch->root->files;
    int file = files->open_at(
        files->self, watch->root->directory, SEGMENT_ROOT_OWNER_NOBODY,
        O_WRONLY | O_CREAT | O_EXCL, watch->root->file_mode);

    if (file < 0 && file != -EEXIST) {
        return error_set_errno(-file, "cannot create the owner file in %s",
                               watch->root->path);
    }
    if (file >= 0) {
        (void)files->close(files->self, file);
    }
    return CASCADE_OK;
}

// One look at the owner and one step towards owning. `*mine` says it is done.
// NOT_FOUND: it changed under us.
static enum cascade_status
step(struct segment_lease_watch *watch, const struct segment_lease *lease,
     bool *mine)
{
    char name[OWNER_NAME_BYTES];
    const char *writer = name + strlen(SEGMENT_ROOT_OWNER);
    struct segment_lease_sight sight;
    enum segment_lease_verdict verdict;
    uint64_t left_ns;
    enum cascade_status status = find_owner(watch, name);

    *mine = false;
    if (status != CASCADE_OK) {
        return status;
    }
    if (strcmp(writer, lease->writer) == 0) {
        *mine = true;
        return CASCADE_OK;
    }
    if (!segment_lease_is_writer(writer)) {
        return take_owner(watch, name, lease->writer);
    }
    segment_lease_look(watch->root, watch->allocator, writer, &sight);
    verdict = segment_lease_watch_judge(watch, writer, &sight, &left_ns);
    switch (verdict) {
    case SEGMENT_LEASE_ALIVE:
        if (sight.known && sight.holder.job == watch->self.job) {
            *mine = true;
            return CASCADE_OK;
        }
        return locked(watch, writer, &sight, left_ns);
    case SEGMENT_LEASE_EXPIRED:
    case SEGMENT_LEASE_GONE:
        status = segment_lease_take(watch->root, writer, &sight, lease->writer);
        if (status != CASCADE_OK) {
            return status;
        }
        break;
    case SEGMENT_LEASE_ENDED:
        break;
    }
    return take_owner(watch, name, lease->writer);
}

static enum cascade_status
claim(struct segment_lease_watch *watch, const struct segment_lease *lease)
{
    bool mine = false;

    for (unsigned i = 0; i < CLAIM_TRIES && !mine; i++) {
        enum cascade_status status = step(watch, lease, &mine);

        // Several empty looks in a row are no rename caught half way.
        if (status == CASCADE_NOT_FOUND && i == CLAIM_TRIES / 2) {
            status = make_owner(watch);
        }
        if (status != CASCADE_OK && status != CASCADE_NOT_FOUND) {
            return status;
        }
    }
    if (!mine) {
        return error_set(CASCADE_LOCKED,
                         "%s changes hands all the time; open again later",
                         watch->root->path);
    }
    return CASCADE_OK;
}

// LOCKED if this writer is another job's open store. One that seems dead is
// fenced, so that it cannot come back.
static enum cascade_status
look_at_writer(struct segment_lease_watch *watch,
               const struct segment_lease *lease, const char *writer)
{
    struct segment_lease_sight sight;
    uint64_t left_ns = 0;

    for (unsigned i = 0; i < CLAIM_TRIES; i++) {
        enum cascade_status status;
        enum segment_lease_verdict verdict;

        segment_lease_look(watch->root, watch->allocator, writer, &sight);
        verdict = segment_lease_watch_judge(watch, writer, &sight, &left_ns);
        if (verdict == SEGMENT_LEASE_ENDED ||
            (sight.known && sight.holder.job == watch->self.job) ||
            (sight.state == SEGMENT_LEASE_NUMBERED && sight.number == 0)) {
            return CASCADE_OK;
        }
        if (verdict == SEGMENT_LEASE_ALIVE) {
            break;
        }
        status = segment_lease_take(watch->root, writer, &sight, lease->writer);
        if (status != CASCADE_NOT_FOUND) {
            return status;
        }
    }
    return locked(watch, writer, &sight, left_ns);
}

static enum cascade_status
look_at_writers(struct segment_lease_watch *watch,
                const struct segment_lease *lease)
{
    char **names;
    size_t count;
    enum cascade_status status = file_list(watch->root->files, watch->allocator,
                                           watch->root->directory,
                                           watch->root->path, &names, &count);

    if (status != CASCADE_OK) {
        return status;
    }
    for (size_t i = 0; i < count && status == CASCADE_OK; i++) {
        if (segment_lease_is_writer(names[i]) &&
            strcmp(names[i], lease->writer) != 0) {
            status = look_at_writer(watch, lease, names[i]);
        }
    }
    file_names_free(watch->allocator, names, count);
    return status;
}

// Begins to count the silence of all writers at once: a machine that died while
// it opened leaves more than one, and nobody shall wait for one after the other.
static void
note_writers(struct segment_lease_watch *watch,
             const struct segment_lease *lease)
{
    struct segment_lease_sight sight;
    char **names;
    size_t count;

    if (file_list(watch->root->files, watch->allocator, watch->root->directory,
                  watch->root->path, &names, &count) != CASCADE_OK) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        if (segment_lease_is_writer(names[i]) &&
            strcmp(names[i], lease->writer) != 0) {
            segment_lease_look(watch->root, watch->allocator, names[i], &sight);
            (void)segment_lease_watch_judge(watch, names[i], &sight, NULL);
        }
    }
    file_names_free(watch->allocator, names, count);
}

enum cascade_status
segment_lease_owner_claim(struct segment_lease_watch *watch,
                          struct segment_lease *lease)
{
    enum cascade_status status = claim(watch, lease);

    if (status == CASCADE_OK) {
        status = segment_lease_renew(lease);
    }
    if (status == CASCADE_OK) {
        status = look_at_writers(watch, lease);
    }
    if (status == CASCADE_LOCKED) {
        char cause[ERROR_MESSAGE_BYTES];

        (void)snprintf(cause, sizeof(cause), "%s", error_message());
        note_writers(watch, lease);
        status = error_set(CASCADE_LOCKED, "%s", cause);
    }
    return status;
}
