// SPDX-License-Identifier: Apache-2.0
//
// The owner's side of a page: making, publishing and removing it. Readers are
// in metric_page_read.c. The owner alone writes; no lock.

#include "base/metric_page.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/allocator.h"
#include "base/error.h"
#include "base/file.h"
#include "base/metric_page_folder.h"

static_assert(sizeof(struct metric_page_head) == 8192,
              "the layout of the head is that of version 1");
static_assert(offsetof(struct metric_page_head, owner) == 32 &&
                  offsetof(struct metric_page_head, namespace_name) == 168 &&
                  offsetof(struct metric_page_head, cold_path) == 424 &&
                  offsetof(struct metric_page_head, ask) == 4520,
              "the layout of the head is that of version 1");

// Stores of one process that can be published at a time.
#define PAGES_PER_PROCESS 64

#define PAGE_ALIGNMENT 4096

// Makes a new file in the folder and keeps its name; the file, or -errno.
static int
make_file(const struct metric_page_place *place, int folder, uint64_t pid,
          char *name, size_t size)
{
    int file = -EEXIST;

    for (unsigned i = 0; i < PAGES_PER_PROCESS && file == -EEXIST; i++) {
        (void)snprintf(name, size, "%llu-%u" METRIC_PAGE_SUFFIX,
                       (unsigned long long)pid, i);
        file = place->files->open_at(place->files->self, folder, name,
                                     O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW,
                                     0600);
    }
    return file;
}

// Fills the file: first everything that is zero, so that the system has given
// the space before it is mapped; the head, with the magic, last.
static enum cascade_status
fill_file(const struct metric_page_place *place, int file, const char *name,
          const struct metric_page *page)
{
    size_t head_bytes = sizeof(page->head);
    enum cascade_status status = file_write_all(
        place->files, file, name, &page->values, sizeof(page->values),
        head_bytes);

    if (status != CASCADE_OK) {
        return status;
    }
    return file_write_all(place->files, file, name, &page->head, head_bytes, 0);
}

// Publishes the page in one folder. The mapping replaces handle->page.
static enum cascade_status
publish_in(const struct metric_page_place *place, const char *folder_path,
           const struct metric_page *page, struct metric_page_handle *handle)
{
    const struct file_system *files = place->files;
    enum cascade_status status;
    void *mapped;
    int folder;
    int file;

    status = metric_page_folder_open(place, folder_path, true, &folder);
    if (status != CASCADE_OK) {
        return status;
    }
    file = make_file(place, folder, page->head.owner.pid, handle->name,
                     sizeof(handle->name));
    if (file < 0) {
        status = error_set_errno(-file, "cannot make a page of metrics in %s",
                                 folder_path);
        goto close_folder;
    }
    status = fill_file(place, file, handle->name, page);
    if (status != CASCADE_OK) {
        goto remove_file;
    }
    mapped = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED, file,
                  0);
    if (mapped == MAP_FAILED) {
        status = error_set_errno(errno, "cannot map a page of metrics in %s",
                                 folder_path);
        goto remove_file;
    }
    (void)files->close(files->self, file);
    handle->page = mapped;
    handle->shared = true;
    handle->folder = folder;
    return CASCADE_OK;

remove_file:
    (void)files->close(files->self, file);
    (void)files->unlink_at(files->self, folder, handle->name, 0);
close_folder:
    (void)files->close(files->self, folder);
    return status;
}

static void
fill_head(const struct metric_page_place *place, const char *namespace_name,
          const char *cold_path, uint64_t wall_ns,
          struct metric_page_head *head)
{
    memcpy(head->magic, METRIC_PAGE_MAGIC, sizeof(head->magic));
    head->version = METRIC_PAGE_VERSION;
    head->page_bytes = (uint32_t)sizeof(struct metric_page);
    head->stamp = metric_stamp();
    head->opened_wall_ns = wall_ns;
    process_self(place->files, place->proc, &head->owner);
    (void)snprintf(head->namespace_name, sizeof(head->namespace_name), "%s",
                   namespace_name);
    (void)snprintf(head->cold_path, sizeof(head->cold_path), "%s", cold_path);
}

struct metric_page_place
metric_page_usual_place(const struct allocator *allocator)
{
    struct metric_page_place place = {
        .files = file_system_real(),
        .allocator = allocator,
        .folder = getenv("CASCADE_RUNTIME_DIR"),
        .proc = "/proc",
    };

    return place;
}

enum cascade_status
metric_page_open(const struct metric_page_place *place, bool publish,
                 const char *namespace_name, const char *cold_path,
                 uint64_t wall_ns, struct metric_page_handle *handle)
{
    struct metric_page_handle made = {.folder = -1};
    char path[METRIC_PAGE_FOLDER_BYTES];
    struct metric_page *page = allocator_aligned(place->allocator,
                                                 sizeof(*page), PAGE_ALIGNMENT);

    if (page == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory for the metrics");
    }
    fill_head(place, namespace_name, cold_path, wall_ns, &page->head);
    made.page = page;
    for (unsigned i = 0; publish && !made.shared &&
                         metric_page_folder_path(place, i, path, sizeof(path));
         i++) {
        if (publish_in(place, path, page, &made) == CASCADE_OK) {
            allocator_release(place->allocator, page);
        }
    }
    *handle = made;
    return CASCADE_OK;
}

void
metric_page_close(const struct metric_page_place *place,
                  struct metric_page_handle *handle)
{
    const struct file_system *files = place->files;

    if (handle->page == NULL) {
        return;
    }
    if (!handle->shared) {
        allocator_release(place->allocator, handle->page);
    } else {
        if (handle->page->head.owner.pid == (uint64_t)getpid()) {
            (void)files->unlink_at(files->self, handle->folder, handle->name,
                                   0);
        }
        (void)munmap(handle->page, sizeof(*handle->page));
        (void)files->close(files->self, handle->folder);
    }
    *handle = (struct metric_page_handle){.folder = -1};
}
