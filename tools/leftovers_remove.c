// SPDX-License-Identifier: Apache-2.0
//
// Taking things out of a root; see leftovers.h for what may go. What it took to
// be sure of a silent lease is remembered in the namespace between two runs. No
// lock.

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/error.h"
#include "base/units.h"
#include "tools/leftovers_inner.h"

// Folders in folders: a namespace that stands aside, and its writers.
#define DEPTH 3

static enum cascade_status
came_back(const char *name)
{
    return error_set(CASCADE_LOCKED, "somebody came back to %s; it stays",
                     name);
}

// Removes a file, or a folder with what is ours in it; one with other things
// stays.
static enum cascade_status
remove_path(const struct leftovers *left, int parent, const char *name,
            unsigned depth)
{
    const struct file_system *files = left->files;
    char **names;
    size_t count;
    int result = files->unlink_at(files->self, parent, name, 0);
    int folder;

    if (result == 0 || result == -ENOENT) {
        return CASCADE_OK;
    }
    folder = files->open_at(files->self, parent, name,
                            O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
    if (folder >= 0) {
        if (file_list(files, left->allocator, folder, name, &names, &count) ==
            CASCADE_OK) {
            for (size_t i = 0; i < count && depth > 0; i++) {
                if (leftovers_is_known(names[i])) {
                    (void)remove_path(left, folder, names[i], depth - 1);
                }
            }
            file_names_free(left->allocator, names, count);
        }
        (void)files->close(files->self, folder);
    }
    result = files->unlink_at(files->self, parent, name, AT_REMOVEDIR);
    if (result != 0 && result != -ENOENT) {
        return error_set_errno(-result, "cannot remove %s", name);
    }
    return CASCADE_OK;
}

// Takes the directory of an ended writer for `adopter`, whoever that is.
static enum cascade_status
take(struct leftovers *left, const char *writer, const char *adopter)
{
    struct segment_lease_sight sight;
    uint64_t silent_ns = 0;

    if (leftovers_state(left, writer, &sight, &silent_ns) != LEFTOVER_ENDED) {
        return came_back(writer);
    }
    if (sight.state == SEGMENT_LEASE_MISSING ||
        sight.state == SEGMENT_LEASE_NONE) {
        return CASCADE_OK;
    }
    if (sight.state == SEGMENT_LEASE_ADOPTED) {
        struct segment_lease_sight other;

        // Its death is made final first, as an adopter does it.
        segment_lease_look(&left->root, left->allocator, sight.adopter, &other);
        if (other.state == SEGMENT_LEASE_NUMBERED &&
            segment_lease_take(&left->root, sight.adopter, &other, adopter) !=
                CASCADE_OK) {
            return came_back(writer);
        }
    }
    return segment_lease_take(&left->root, writer, &sight, adopter);
}

// A taken directory. It vanishes under its name in one step, so that nobody
// meets it without a lease.
static enum cascade_status
remove_directory(const struct leftovers *left, const char *writer)
{
    const struct file_system *files = left->files;
    char aside[SEGMENT_LEASE_WRITER_BYTES + 48];
    int result;

    (void)snprintf(aside, sizeof(aside), SEGMENT_ROOT_TEMPORARY "%016llx-%s",
                   (unsigned long long)left->root.tag, writer);
    result = files->rename_at(files->self, left->root.directory, writer,
                              left->root.directory, aside);
    if (result == -ENOENT) {
        return CASCADE_OK;
    }
    if (result != 0) {
        return error_set_errno(-result, "cannot move %s", writer);
    }
    return remove_path(left, left->root.directory, aside, DEPTH);
}

// A file without a record: marked as gone first, as reclaim does, so that the
// gap in the numbers is explained.
static enum cascade_status
remove_empty(const struct leftovers *left, const char *path)
{
    const struct file_system *files = left->files;
    char marker[SEGMENT_LEASE_WRITER_BYTES + 64];
    int file;

    (void)snprintf(marker, sizeof(marker), "%.*s.gone",
                   (int)(strrchr(path, '.') - path), path);
    file = files->open_at(files->self, left->root.directory, marker,
                          O_WRONLY | O_CREAT, left->root.file_mode);
    if (file < 0) {
        return error_set_errno(-file, "cannot mark %s as gone", path);
    }
    (void)files->sync(files->self, file);
    (void)files->close(files->self, file);
    return remove_path(left, left->root.directory, path, 0);
}

// Runs with a lease of this process' own, under which the writer is taken.
static enum cascade_status
remove_of_writer(struct leftovers *left, const struct leftover *leftover)
{
    struct segment_lease lease;
    char writer[SEGMENT_LEASE_WRITER_BYTES];
    enum cascade_status status = segment_lease_create(&left->root, left->clock,
                                                      &left->self, &lease);

    if (status != CASCADE_OK) {
        return status;
    }
    (void)snprintf(writer, sizeof(writer), "%.*s",
                   (int)strcspn(leftover->name, "/"), leftover->name);
    status = take(left, writer, lease.writer);
    if (status == CASCADE_OK) {
        status = leftover->kind == LEFTOVER_EMPTY
                     ? remove_empty(left, leftover->name)
                     : remove_directory(left, writer);
    }
    segment_lease_discard(&left->root, left->allocator, lease.writer);
    segment_lease_close(&lease);
    segment_lease_watch_save(&left->watch);
    return status;
}

// Everybody in a namespace that stands aside must have ended, and stay so.
static enum cascade_status
take_all(struct leftovers *left, const struct leftover *leftover)
{
    struct leftover whole = {.age_ns = UINT64_MAX};
    uint64_t foreign = left->foreign;
    char nobody[SEGMENT_LEASE_WRITER_BYTES];
    char **names;
    size_t count;
    enum cascade_status status = leftovers_look(
        left, leftover->folder, leftover->namespace_name, NULL, NULL, &whole);

    if (status == CASCADE_OK &&
        (whole.state != LEFTOVER_ENDED || left->foreign > foreign)) {
        status = came_back(leftover->folder);
    }
    left->foreign = foreign;
    if (status == CASCADE_OK) {
        status = file_list(left->files, left->allocator, left->root.directory,
                           leftover->folder, &names, &count);
    }
    if (status != CASCADE_OK) {
        return status;
    }
    // A writer that never was: who is taken for it has ended for good.
    (void)snprintf(nobody, sizeof(nobody), "w%016llx-%016llx", 0ULL,
                   (unsigned long long)left->root.tag);
    for (size_t i = 0; i < count && status == CASCADE_OK; i++) {
        if (segment_lease_is_writer(names[i])) {
            status = take(left, names[i], nobody);
        }
    }
    file_names_free(left->allocator, names, count);
    return status;
}

// The folder moves out of the way first. Who had it open finds everything as
// before; if there is anybody, it moves back. Once removal has begun it does
// not come back, for a part of it could show old bindings.
static enum cascade_status
remove_namespace(struct leftovers *left, const struct leftover *leftover)
{
    const struct file_system *files = left->files;
    char aside[64];
    enum cascade_status status;
    int result;

    (void)snprintf(aside, sizeof(aside), SEGMENT_ROOT_TEMPORARY "%016llx-gc",
                   (unsigned long long)left->root.tag);
    result = files->rename_at(files->self, left->root_folder, leftover->folder,
                              left->root_folder, aside);
    if (result != 0) {
        return error_set_errno(-result, "cannot move %s", leftover->folder);
    }
    status = take_all(left, leftover);
    if (status != CASCADE_OK) {
        (void)files->rename_at(files->self, left->root_folder, aside,
                               left->root_folder, leftover->folder);
        return status;
    }
    return remove_path(left, left->root_folder, aside, DEPTH);
}

enum cascade_status
leftovers_remove(struct leftovers *left, const struct leftover *leftover)
{
    if (!leftover->removable) {
        return error_set(CASCADE_LOCKED, "%s%s%s stays: %s", leftover->folder,
                         leftover->name[0] != '\0' ? "/" : "", leftover->name,
                         leftover->why);
    }
    switch (leftover->kind) {
    case LEFTOVER_NAMESPACE:
        return remove_namespace(left, leftover);
    case LEFTOVER_WRITER:
    case LEFTOVER_EMPTY:
        return remove_of_writer(left, leftover);
    case LEFTOVER_LITTER:
        return remove_path(left,
                           leftover->folder[0] != '\0' ? left->root.directory
                                                       : left->root_folder,
                           leftover->name, DEPTH);
    case LEFTOVER_KINDS:
        break;
    }
    check(false);
    return CASCADE_INVALID;
}
