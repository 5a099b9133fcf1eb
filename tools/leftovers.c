// SPDX-License-Identifier: Apache-2.0
//
// Looking through a root and taking things out of it; see the header. Leases
// are judged as a store judges them (segment_lease_watch.h); what it takes to
// be sure is remembered in the namespace between two runs, once something is
// removed there. No lock.

#include "tools/leftovers.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/allocator.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/units.h"
#include "segment/segment_io.h"
#include "segment/segment_lease.h"
#include "segment/segment_lease_watch.h"
#include "segment/segment_read.h"
#include "segment/segment_root.h"

#define LEASE_NS (30 * NS_PER_S)
#define DIGITS 8

// Folders in folders: a namespace that stands aside, and its writers.
#define DEPTH 3

struct leftovers {
    const struct file_system *files;
    const struct allocator *allocator;
    const struct clock_source *clock;
    char path[SEGMENT_ROOT_PATH_BYTES];
    int root_folder;
    struct segment_io *io;
    struct segment_reader *reader;
    struct segment_root root; // of the namespace being shown
    bool has_root;
    bool rebind_allowed;
    struct segment_lease_watch watch;
    struct segment_lease_holder self;
    uint64_t foreign;
};

struct sum {
    uint64_t bytes;
    uint64_t files;
    uint64_t foreign;
    uint64_t changed_ns; // wall
};

static bool
begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

// Names of the files that a writer makes in its directory.
static bool
is_ours(const char *name)
{
    const char *ending = strrchr(name, '.');

    return begins(name, SEGMENT_LEASE_PREFIX) ||
           begins(name, SEGMENT_ROOT_TEMPORARY) ||
           (ending != NULL && strspn(name, "0123456789") >= DIGITS &&
            (strcmp(ending, ".seg") == 0 || strcmp(ending, ".gone") == 0)) ||
           (ending != NULL && strcmp(ending, ".idx") == 0 && name[0] == 'w');
}

// And of those in a namespace's folder, and in half-made ones.
static bool
is_known(const char *name)
{
    return is_ours(name) || segment_lease_is_writer(name) ||
           begins(name, SEGMENT_ROOT_OWNER) ||
           begins(name, SEGMENT_LEASE_NOTE_PREFIX) ||
           strcmp(name, "namespace") == 0 || strcmp(name, "root") == 0;
}

static void
add_stat(struct sum *sum, const struct stat *found)
{
    uint64_t changed_ns = (uint64_t)found->st_mtim.tv_sec * NS_PER_S +
                          (uint64_t)found->st_mtim.tv_nsec;

    sum->changed_ns = units_max(sum->changed_ns, changed_ns);
    if (S_ISREG(found->st_mode)) {
        sum->files++;
        sum->bytes += (uint64_t)found->st_size;
    }
}

// Sums up a file, or a folder with the files in it.
static void
add_path(const struct leftovers *left, int parent, const char *name,
         struct sum *sum)
{
    const struct file_system *files = left->files;
    struct stat found;
    char **names;
    size_t count;
    int folder;

    if (files->stat_at(files->self, parent, name, &found) != 0) {
        return;
    }
    add_stat(sum, &found);
    if (!S_ISDIR(found.st_mode)) {
        return;
    }
    folder = files->open_at(files->self, parent, name, O_RDONLY | O_DIRECTORY,
                            0);
    if (folder < 0) {
        return;
    }
    if (file_list(files, left->allocator, folder, name, &names, &count) ==
        CASCADE_OK) {
        for (size_t i = 0; i < count; i++) {
            sum->foreign += is_known(names[i]) ? 0 : 1;
            if (files->stat_at(files->self, folder, names[i], &found) == 0) {
                add_stat(sum, &found);
            }
        }
        file_names_free(left->allocator, names, count);
    }
    (void)files->close(files->self, folder);
}

static uint64_t
age_of(const struct leftovers *left, const struct sum *sum)
{
    uint64_t now_ns = clock_wall_ns(left->clock);

    return now_ns > sum->changed_ns ? now_ns - sum->changed_ns : 0;
}

// What became of the writer of a directory, or of who adopted it.
static enum leftover_state
state_of(struct leftovers *left, const char *writer,
         struct segment_lease_sight *sight, uint64_t *silent_for_ns)
{
    enum segment_lease_verdict verdict;
    uint64_t left_ns = 0;

    segment_lease_look(&left->root, left->allocator, writer, sight);
    verdict = segment_lease_watch_judge(&left->watch, writer, sight, &left_ns);
    if (sight->state == SEGMENT_LEASE_ADOPTED) {
        struct segment_lease_sight other;

        segment_lease_look(&left->root, left->allocator, sight->adopter,
                           &other);
        verdict = segment_lease_watch_judge(&left->watch, sight->adopter,
                                            &other, &left_ns);
    }
    if (verdict != SEGMENT_LEASE_ALIVE) {
        return LEFTOVER_ENDED;
    }
    *silent_for_ns = units_max(*silent_for_ns, left_ns);
    // One of this machine whose process runs is alive for sure; a stranger may
    // only not have been looked at for long enough.
    return sight->known && strcmp(sight->holder.boot, left->self.boot) == 0 &&
                   left->self.boot[0] != '\0'
               ? LEFTOVER_LIVE
               : LEFTOVER_UNKNOWN;
}

// ---------------------------------------------------------------------------
// Listing

// A segment file that ends where its header does.
static bool
has_no_record(const struct leftovers *left, int folder, const char *name)
{
    struct segment_file *file;
    enum cascade_status status = segment_read_open(left->reader, folder, name,
                                                   name, &file, NULL);
    bool empty = status == CASCADE_STALE; // too short for a header

    if (status == CASCADE_OK) {
        empty = file->facts.kind == SEGMENT_FILE_RECORDS &&
                file->bytes <= file->facts.alignment_bytes;
        segment_read_close(left->io, file);
    }
    return empty;
}

static void
show_empty(struct leftovers *left, const struct leftover *writer,
           leftover_visit *visit, void *context)
{
    const struct file_system *files = left->files;
    char path[SEGMENT_LEASE_WRITER_BYTES + 64];
    struct leftover empty = *writer;
    char **names;
    size_t count;
    int folder = files->open_at(files->self, left->root.directory, writer->name,
                                O_RDONLY | O_DIRECTORY, 0);

    if (folder < 0) {
        return;
    }
    if (file_list(files, left->allocator, folder, writer->name, &names,
                  &count) == CASCADE_OK) {
        for (size_t i = 0; i < count; i++) {
            const char *ending = strrchr(names[i], '.');
            struct sum sum = {0};

            if (!is_ours(names[i]) || ending == NULL ||
                strcmp(ending, ".seg") != 0 ||
                !has_no_record(left, folder, names[i])) {
                continue;
            }
            (void)snprintf(path, sizeof(path), "%s/%s", writer->name, names[i]);
            add_path(left, folder, names[i], &sum);
            empty.kind = LEFTOVER_EMPTY;
            empty.name = path;
            empty.bytes = sum.bytes;
            empty.files = sum.files;
            empty.age_ns = age_of(left, &sum);
            empty.removable = writer->state == LEFTOVER_ENDED;
            empty.why = empty.removable ? "" : writer->why;
            if (writer->state == LEFTOVER_ENDED) {
                visit(context, &empty);
            }
        }
        file_names_free(left->allocator, names, count);
    }
    (void)files->close(files->self, folder);
}

static const char not_ours[] = "there are files in it that are not ours";

static const char *
reason(enum leftover_state state)
{
    return state == LEFTOVER_LIVE      ? "it is in use"
           : state == LEFTOVER_UNKNOWN ? "its lease may still be renewed"
                                       : "";
}

// What is in the namespace; `visit` may be NULL. `whole` sums it up.
static enum cascade_status
look_through(struct leftovers *left, const char *folder,
             const char *namespace_name, leftover_visit *visit, void *context,
             struct leftover *whole)
{
    char **names;
    size_t count;
    enum cascade_status status = file_list(left->files, left->allocator,
                                           left->root.directory, folder, &names,
                                           &count);

    whole->state = LEFTOVER_ENDED;
    if (status != CASCADE_OK) {
        return status;
    }
    for (size_t i = 0; i < count; i++) {
        struct leftover thing = {.folder = folder,
                                 .namespace_name = namespace_name,
                                 .name = names[i],
                                 .state = LEFTOVER_ENDED,
                                 .why = ""};
        struct segment_lease_sight sight;
        struct sum sum = {0};

        add_path(left, left->root.directory, names[i], &sum);
        thing.bytes = sum.bytes;
        thing.files = sum.files;
        thing.age_ns = age_of(left, &sum);
        whole->bytes += sum.bytes;
        whole->files += sum.files;
        whole->age_ns = units_min(whole->age_ns, thing.age_ns);
        left->foreign += sum.foreign + (is_known(names[i]) ? 0 : 1);
        if (segment_lease_is_writer(names[i])) {
            thing.kind = LEFTOVER_WRITER;
            thing.state = state_of(left, names[i], &sight,
                                   &thing.silent_for_ns);
            if (thing.state != LEFTOVER_ENDED) {
                whole->state = whole->state == LEFTOVER_LIVE ? LEFTOVER_LIVE
                                                             : thing.state;
                whole->silent_for_ns = units_max(whole->silent_for_ns,
                                                 thing.silent_for_ns);
            }
            thing.why = reason(thing.state);
            if (thing.state == LEFTOVER_ENDED && left->rebind_allowed) {
                thing.why = "its records may outrank others'; the namespace "
                            "goes whole or not at all";
            }
            if (thing.why[0] == '\0' && sum.foreign > 0) {
                thing.why = not_ours;
            }
            thing.removable = thing.why[0] == '\0';
        } else if (begins(names[i], SEGMENT_ROOT_TEMPORARY)) {
            thing.kind = LEFTOVER_LITTER;
            thing.removable = true;
        } else {
            continue;
        }
        if (visit != NULL) {
            visit(context, &thing);
            if (thing.kind == LEFTOVER_WRITER) {
                show_empty(left, &thing, visit, context);
            }
        }
    }
    file_names_free(left->allocator, names, count);
    return CASCADE_OK;
}

static uint64_t
new_tag(void)
{
    uint64_t tag = 0;

    while (tag == 0) {
        check(getrandom(&tag, sizeof(tag), 0) == (ssize_t)sizeof(tag));
    }
    return tag;
}

static enum cascade_status
enter(struct leftovers *left, const char *namespace_name)
{
    struct segment_root_options options = {
        .path = left->path,
        .namespace_name = namespace_name,
        .look_only = true,
        .tag = new_tag(),
        .files = left->files,
    };
    enum cascade_status status = segment_root_open(&options, &left->root);

    if (status != CASCADE_OK) {
        return status;
    }
    status = segment_lease_watch_init(&left->watch, &left->root, left->clock,
                                      &left->self, left->allocator);
    if (status != CASCADE_OK) {
        segment_root_close(&left->root);
        return status;
    }
    left->has_root = true;
    return CASCADE_OK;
}

static void
leave(struct leftovers *left)
{
    if (left->has_root) {
        segment_lease_watch_fini(&left->watch);
        segment_root_close(&left->root);
        left->has_root = false;
    }
}

static enum cascade_status
show_namespace(struct leftovers *left, const char *folder, const char *name,
               leftover_visit *visit, void *context)
{
    struct leftover whole = {.kind = LEFTOVER_NAMESPACE,
                             .folder = folder,
                             .namespace_name = name,
                             .name = "",
                             .age_ns = UINT64_MAX};
    uint64_t foreign = left->foreign;
    enum cascade_status status = enter(left, name);

    if (status != CASCADE_OK) {
        return status;
    }
    status = look_through(left, folder, name, NULL, NULL, &whole);
    if (status == CASCADE_OK) {
        whole.why = reason(whole.state);
        if (whole.why[0] == '\0' && left->foreign > foreign) {
            whole.why = not_ours;
        }
        whole.removable = whole.why[0] == '\0';
        left->foreign = foreign; // the second look counts
        visit(context, &whole);
        status = look_through(left, folder, name, visit, context,
                              &(struct leftover){0});
        // Somebody may have removed it just now.
        status = status == CASCADE_NOT_FOUND ? CASCADE_OK : status;
    }
    leave(left);
    return status;
}

enum cascade_status
leftovers_list(struct leftovers *left, leftover_visit *visit, void *context)
{
    char **names;
    size_t count;
    enum cascade_status status = file_list(left->files, left->allocator,
                                           left->root_folder, left->path,
                                           &names, &count);

    left->foreign = 0;
    if (status != CASCADE_OK) {
        return status;
    }
    for (size_t i = 0; i < count && status == CASCADE_OK; i++) {
        char name[256];

        if (begins(names[i], SEGMENT_ROOT_TEMPORARY)) {
            struct leftover litter = {.kind = LEFTOVER_LITTER,
                                      .state = LEFTOVER_ENDED,
                                      .folder = "",
                                      .namespace_name = "",
                                      .name = names[i],
                                      .removable = true,
                                      .why = ""};
            struct sum sum = {0};

            add_path(left, left->root_folder, names[i], &sum);
            litter.bytes = sum.bytes;
            litter.files = sum.files;
            litter.age_ns = age_of(left, &sum);
            visit(context, &litter);
        } else if (strcmp(names[i], ".cascade") != 0) {
            status = segment_root_describe(left->files, left->root_folder,
                                           names[i], name,
                                           &left->rebind_allowed);
            if (status == CASCADE_OK) {
                status = show_namespace(left, names[i], name, visit, context);
            } else {
                left->foreign++;
                status = CASCADE_OK;
            }
        }
    }
    file_names_free(left->allocator, names, count);
    return status;
}

uint64_t
leftovers_foreign(const struct leftovers *left)
{
    return left->foreign;
}

// ---------------------------------------------------------------------------
// Removing

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
                if (is_known(names[i])) {
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

    if (state_of(left, writer, &sight, &silent_ns) != LEFTOVER_ENDED) {
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
    enum cascade_status status = look_through(
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

// ---------------------------------------------------------------------------

static enum cascade_status
open_reading(struct leftovers *left)
{
    const struct segment_io_options io_options = {
        .files = left->files,
        .allocator = left->allocator,
    };
    struct segment_reader_options reader_options = {
        .allocator = left->allocator,
    };
    enum cascade_status status = segment_io_create(&io_options, &left->io);

    reader_options.io = left->io;
    return status == CASCADE_OK
               ? segment_reader_create(&reader_options, &left->reader)
               : status;
}

enum cascade_status
leftovers_open(const char *path, struct leftovers **leftovers)
{
    const struct allocator *allocator = allocator_system();
    struct leftovers *left = allocator_array(allocator, 1, sizeof(*left));
    enum cascade_status status;
    struct stat found;

    if (left == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory to look for leftovers");
    }
    left->files = file_system_real();
    left->allocator = allocator;
    left->clock = clock_system();
    segment_lease_holder_read(&left->self);
    left->self.lease_ns = LEASE_NS;
    left->self.job = new_tag();
    left->root_folder = left->files->open_at(left->files->self, AT_FDCWD, path,
                                             O_RDONLY | O_DIRECTORY, 0);
    if (left->root_folder < 0) {
        status = error_set_errno(-left->root_folder, "cannot open %s", path);
        goto release;
    }
    if ((size_t)snprintf(left->path, sizeof(left->path), "%s", path) >=
            sizeof(left->path) ||
        left->files->stat_at(left->files->self, left->root_folder,
                             ".cascade/root", &found) != 0) {
        status = error_set(CASCADE_INVALID,
                           "%s is no cold_path of Cascade; nothing in it was "
                           "touched",
                           path);
        goto close_root;
    }
    status = open_reading(left);
    if (status == CASCADE_OK) {
        *leftovers = left;
        return CASCADE_OK;
    }
    segment_io_destroy(left->io);

close_root:
    (void)left->files->close(left->files->self, left->root_folder);
release:
    allocator_release(allocator, left);
    return status;
}

void
leftovers_close(struct leftovers *left)
{
    segment_reader_destroy(left->reader);
    segment_io_destroy(left->io);
    (void)left->files->close(left->files->self, left->root_folder);
    allocator_release(left->allocator, left);
}
