// SPDX-License-Identifier: Apache-2.0
//
// Looking through a root; see the header. Leases are judged as a store judges
// them (segment_lease_watch.h). Nothing is changed here. No lock.

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
#include "segment/segment_reserve.h"
#include "segment/segment_root.h"
#include "tools/leftovers_inner.h"

#define LEASE_NS (30 * NS_PER_S)
#define DIGITS 8

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
bool
leftovers_is_known(const char *name)
{
    return is_ours(name) || segment_lease_is_writer(name) ||
           begins(name, SEGMENT_ROOT_OWNER) ||
           begins(name, SEGMENT_LEASE_NOTE_PREFIX) ||
           strcmp(name, SEGMENT_RESERVE_FILE) == 0 ||
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
            sum->foreign += leftovers_is_known(names[i]) ? 0 : 1;
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
enum leftover_state
leftovers_state(struct leftovers *left, const char *writer,
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
enum cascade_status
leftovers_look(struct leftovers *left, const char *folder,
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
        left->foreign += sum.foreign + (leftovers_is_known(names[i]) ? 0 : 1);
        if (segment_lease_is_writer(names[i])) {
            thing.kind = LEFTOVER_WRITER;
            thing.state = leftovers_state(left, names[i], &sight,
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
    status = leftovers_look(left, folder, name, NULL, NULL, &whole);
    if (status == CASCADE_OK) {
        whole.why = reason(whole.state);
        if (whole.why[0] == '\0' && left->foreign > foreign) {
            whole.why = not_ours;
        }
        whole.removable = whole.why[0] == '\0';
        left->foreign = foreign; // the second look counts
        visit(context, &whole);
        status = leftovers_look(left, folder, name, visit, context,
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
