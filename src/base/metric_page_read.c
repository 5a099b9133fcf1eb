// SPDX-License-Identifier: Apache-2.0
//
// The readers' side of pages: listing those of live processes, removing those
// of dead ones, and mapping one for reading. Nothing is written to a page
// here. No lock.

#include "base/metric_page.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/allocator.h"
#include "base/error.h"
#include "base/file.h"
#include "base/metric_page_folder.h"

// More pages than this are not looked at.
#define PAGES_MAX 1024

struct list {
    struct metric_page_info *infos;
    size_t count;
    size_t room;
};

static bool
is_page_name(const char *name)
{
    size_t length = strlen(name);
    size_t suffix = strlen(METRIC_PAGE_SUFFIX);

    return length > suffix && length < METRIC_PAGE_NAME_BYTES &&
           strcmp(name + length - suffix, METRIC_PAGE_SUFFIX) == 0;
}

// Reads the head of a page. False: it is none, or is not complete.
static bool
read_head(const struct file_system *files, int file,
          struct metric_page_head *head)
{
    if (file_read_all(files, file, "page", head, sizeof(*head), 0) !=
            CASCADE_OK ||
        memcmp(head->magic, METRIC_PAGE_MAGIC, sizeof(head->magic)) != 0) {
        return false;
    }
    head->owner.boot[sizeof(head->owner.boot) - 1] = '\0';
    head->owner.host[sizeof(head->owner.host) - 1] = '\0';
    head->namespace_name[sizeof(head->namespace_name) - 1] = '\0';
    head->cold_path[sizeof(head->cold_path) - 1] = '\0';
    return true;
}

// Whether the file is as long as its head says: a shorter one must not be
// mapped, for touching what is missing stops the process.
static bool
has_values(const struct file_system *files, int file,
           const struct metric_page_head *head)
{
    uint64_t last;

    return head->page_bytes > sizeof(*head) &&
           file_read_all(files, file, "page", &last, sizeof(last),
                         head->page_bytes - sizeof(last)) == CASCADE_OK;
}

static bool
is_ours(const struct metric_page_head *head)
{
    return head->version == METRIC_PAGE_VERSION &&
           head->page_bytes == sizeof(struct metric_page) &&
           head->stamp == metric_stamp();
}

// Adds one more; false if there is no memory.
static bool
append(const struct allocator *allocator, struct list *list,
       const struct metric_page_info *info)
{
    if (list->count == list->room) {
        size_t room = list->room * 2 + 4;
        struct metric_page_info *larger = allocator_array(allocator, room,
                                                          sizeof(*larger));

        if (larger == NULL) {
            return false;
        }
        if (list->count > 0) {
            memcpy(larger, list->infos, list->count * sizeof(*larger));
        }
        allocator_release(allocator, list->infos);
        list->infos = larger;
        list->room = room;
    }
    list->infos[list->count++] = *info;
    return true;
}

// Looks at one file: adds it if its owner lives, removes it if it is dead.
static enum cascade_status
look_at(const struct metric_page_place *place, int folder,
        const char *folder_path, const char *name, struct list *list)
{
    const struct file_system *files = place->files;
    struct metric_page_head head;
    struct metric_page_info info = {0};
    enum process_state state;
    bool complete;
    int file = files->open_at(files->self, folder, name,
                              O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);

    if (file < 0) {
        return CASCADE_OK;
    }
    complete = read_head(files, file, &head);
    (void)files->close(files->self, file);
    if (!complete) {
        return CASCADE_OK;
    }
    state = process_state(files, place->proc, &head.owner);
    if (state == PROCESS_GONE) {
        (void)files->unlink_at(files->self, folder, name, 0);
    }
    if (state != PROCESS_ALIVE ||
        (size_t)snprintf(info.path, sizeof(info.path), "%s/%s", folder_path,
                         name) >= sizeof(info.path)) {
        return CASCADE_OK;
    }
    info.pid = head.owner.pid;
    info.opened_wall_ns = head.opened_wall_ns;
    info.readable = is_ours(&head);
    memcpy(info.namespace_name, head.namespace_name,
           sizeof(info.namespace_name));
    memcpy(info.cold_path, head.cold_path, sizeof(info.cold_path));
    if (!append(place->allocator, list, &info)) {
        return error_set(CASCADE_NO_MEMORY, "no memory to list metrics");
    }
    return CASCADE_OK;
}

static enum cascade_status
list_folder(const struct metric_page_place *place, const char *path,
            struct list *list)
{
    enum cascade_status status;
    char **names;
    size_t count;
    int folder;

    if (metric_page_folder_open(place, path, false, &folder) != CASCADE_OK) {
        return CASCADE_OK;
    }
    status = file_list(place->files, place->allocator, folder, path, &names,
                       &count);
    if (status == CASCADE_OK) {
        for (size_t i = 0; i < count && status == CASCADE_OK; i++) {
            if (is_page_name(names[i]) && list->count < PAGES_MAX) {
                status = look_at(place, folder, path, names[i], list);
            }
        }
        file_names_free(place->allocator, names, count);
    } else if (status != CASCADE_NO_MEMORY) {
        status = CASCADE_OK;
    }
    (void)place->files->close(place->files->self, folder);
    return status;
}

static int
compare_age(const void *a, const void *b)
{
    const struct metric_page_info *one = a;
    const struct metric_page_info *other = b;

    if (one->opened_wall_ns != other->opened_wall_ns) {
        return one->opened_wall_ns < other->opened_wall_ns ? -1 : 1;
    }
    return strcmp(one->path, other->path);
}

enum cascade_status
metric_page_list(const struct metric_page_place *place,
                 struct metric_page_info **infos, size_t *count)
{
    struct list list = {0};
    char path[METRIC_PAGE_FOLDER_BYTES];

    for (unsigned i = 0; metric_page_folder_path(place, i, path, sizeof(path));
         i++) {
        enum cascade_status status = list_folder(place, path, &list);

        if (status != CASCADE_OK) {
            allocator_release(place->allocator, list.infos);
            return status;
        }
    }
    if (list.count > 1) {
        qsort(list.infos, list.count, sizeof(*list.infos), compare_age);
    }
    *infos = list.infos;
    *count = list.count;
    return CASCADE_OK;
}

static enum cascade_status
attach(const struct metric_page_place *place, const char *path, bool to_ask,
       struct metric_page_handle *handle)
{
    const struct file_system *files = place->files;
    struct metric_page_head head;
    enum cascade_status status = CASCADE_OK;
    void *mapped;
    int file = files->open_at(
        files->self, AT_FDCWD, path,
        (to_ask ? O_RDWR : O_RDONLY) | O_NOFOLLOW | O_NONBLOCK, 0);

    if (file < 0) {
        return error_set_errno(-file, "cannot open the metrics %s", path);
    }
    if (!read_head(files, file, &head) || !has_values(files, file, &head)) {
        status = error_set(CASCADE_NOT_FOUND, "%s is no page of metrics", path);
        goto close_file;
    }
    if (!is_ours(&head)) {
        status = error_set(CASCADE_VERSION,
                           "process %llu runs another release of Cascade; read "
                           "its metrics with the command of that release",
                           (unsigned long long)head.owner.pid);
        goto close_file;
    }
    mapped = mmap(NULL, sizeof(struct metric_page),
                  to_ask ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, file,
                  0);
    if (mapped == MAP_FAILED) {
        status = error_set_errno(errno, "cannot map the metrics %s", path);
        goto close_file;
    }
    *handle = (struct metric_page_handle){
        .page = mapped,
        .shared = true,
        .folder = -1,
    };

close_file:
    (void)files->close(files->self, file);
    return status;
}

enum cascade_status
metric_page_attach(const struct metric_page_place *place, const char *path,
                   struct metric_page_handle *handle)
{
    return attach(place, path, false, handle);
}

enum cascade_status
metric_page_ask_attach(const struct metric_page_place *place, const char *path,
                       struct metric_page_handle *handle)
{
    return attach(place, path, true, handle);
}

// Why none or several of the pages fit.
static enum cascade_status
not_one(size_t fitting, uint64_t pid, const char *cold_path,
        const struct metric_page_info *infos, const size_t *found)
{
    if (fitting > 1) {
        return error_set(CASCADE_INVALID,
                         "%zu live stores fit, for example of processes %llu "
                         "and %llu; name one",
                         fitting, (unsigned long long)infos[found[0]].pid,
                         (unsigned long long)infos[found[1]].pid);
    }
    if (pid != 0) {
        return error_set(CASCADE_NOT_FOUND,
                         "process %llu has no live store of this user",
                         (unsigned long long)pid);
    }
    if (cold_path != NULL) {
        return error_set(CASCADE_NOT_FOUND,
                         "no live store of this user is on %.300s", cold_path);
    }
    return error_set(CASCADE_NOT_FOUND, "this user has no live store; start "
                                        "one, or set CASCADE_RUNTIME_DIR");
}

enum cascade_status
metric_page_attach_to(const struct metric_page_place *place, uint64_t pid,
                      const char *cold_path, struct metric_page_handle *handle)
{
    struct metric_page_info *infos;
    size_t found[2] = {0};
    size_t fitting = 0;
    size_t count;
    enum cascade_status status = metric_page_list(place, &infos, &count);

    if (status != CASCADE_OK) {
        return status;
    }
    for (size_t i = 0; i < count; i++) {
        if ((pid == 0 || infos[i].pid == pid) &&
            (cold_path == NULL || strcmp(infos[i].cold_path, cold_path) == 0)) {
            found[fitting < 2 ? fitting : 1] = i;
            fitting++;
        }
    }
    status = fitting == 1
                 ? metric_page_attach(place, infos[found[0]].path, handle)
                 : not_one(fitting, pid, cold_path, infos, found);
    allocator_release(place->allocator, infos);
    return status;
}

void
metric_page_detach(struct metric_page_handle *handle)
{
    if (handle->page != NULL) {
        (void)munmap(handle->page, sizeof(*handle->page));
    }
    *handle = (struct metric_page_handle){.folder = -1};
}

bool
metric_page_alive(const struct metric_page_place *place,
                  const struct metric_page_handle *handle)
{
    return process_state(place->files, place->proc,
                         &handle->page->head.owner) == PROCESS_ALIVE;
}
