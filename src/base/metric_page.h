// SPDX-License-Identifier: Apache-2.0
//
// Metrics in a file that other processes of the same user map and read while
// the store runs. The file lies in a folder of the user: the one given
// ($CASCADE_RUNTIME_DIR), else /dev/shm/cascade-<uid>, else /tmp/cascade-<uid>.
// If no folder works the page is plain memory: statistics are never a reason
// not to open.
//
// Invariant: a page that a reader accepts has the magic, the version and the
// stamp of the reader's own rows, is complete, and its process was alive when
// it was looked at. The owner alone writes, except for questions to it. The
// magic is written last. No lock.
//
// Alive is what base/process.h says. What cannot be judged (another host or
// process namespace) is neither listed nor removed.

#ifndef BASE_METRIC_PAGE_H
#define BASE_METRIC_PAGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"
#include "base/metric.h"
#include "base/metric_page_ask.h"
#include "base/process.h"

struct allocator;
struct file_system;

#define METRIC_PAGE_VERSION 2
#define METRIC_PAGE_NAME_BYTES 96

// Questions to the owner; metric_page_ask.h says who writes what.
struct metric_page_ask {
    _Atomic uint64_t asked;    // ticket and milliseconds
    _Atomic uint32_t answered; // ticket
    _Atomic uint32_t status;   // enum cascade_status
    _Atomic uint64_t numbers[METRIC_PAGE_ASK_NUMBERS];
    _Atomic uint32_t accepts; // 0: questions are not looked at
    uint32_t unused;
};

// The head of a page. The same for owner, reader and file.
struct metric_page_head {
    char magic[8];
    uint32_t version;
    uint32_t page_bytes;
    uint64_t stamp;
    uint64_t opened_wall_ns;
    struct process_identity owner;
    char namespace_name[256];
    char cold_path[4096]; // absolute, as the owner gave it; "": no cold tier
    struct metric_page_ask ask;
    char reserved[3616]; // zero; the values begin on a page of memory
};

struct metric_page {
    struct metric_page_head head;
    struct metric_values values;
};

// Where pages are. Passed to every call; must outlive handles.
struct metric_page_place {
    const struct file_system *files;
    const struct allocator *allocator;
    const char *folder; // NULL or "": the usual ones
    const char *proc;   // "/proc"
};

// An owner's or reader's hold on a page.
struct metric_page_handle {
    struct metric_page *page; // read-only for readers
    bool shared;              // false: plain memory, nobody else sees it
    int folder;               // file descriptor, -1 if not shared
    char name[METRIC_PAGE_NAME_BYTES];
};

// The usual place: real files, the folder of CASCADE_RUNTIME_DIR, /proc.
struct metric_page_place
metric_page_usual_place(const struct allocator *allocator);

// Makes a page of zeros. `publish` false makes plain memory at once. When no
// folder works the page is plain memory too, `shared` is false, and
// error_message() says why. NO_MEMORY: not even that.
enum cascade_status
metric_page_open(const struct metric_page_place *place, bool publish,
                 const char *namespace_name, const char *cold_path,
                 uint64_t wall_ns, struct metric_page_handle *handle) MUST_USE;

// Removes the file and lets the page go. In a forked child the file stays. A
// zeroed handle, or one closed before, does nothing.
void
metric_page_close(const struct metric_page_place *place,
                  struct metric_page_handle *handle);

// A page of a live process. `readable`: its version and stamp are ours.
struct metric_page_info {
    uint64_t pid;
    uint64_t opened_wall_ns;
    bool readable;
    char path[1024]; // of the file
    char namespace_name[256];
    char cold_path[4096];
};

// Pages of live processes, oldest first; files of dead ones are removed. The
// caller releases `*infos` with the place's allocator (NULL when there is
// none). NO_MEMORY. A folder that cannot be read has no pages.
enum cascade_status
metric_page_list(const struct metric_page_place *place,
                 struct metric_page_info **infos, size_t *count) MUST_USE;

// Maps a page for reading. NOT_FOUND: it is gone. VERSION: another version or
// other rows; use the command of that release. IO, PERMISSION, NO_MEMORY.
enum cascade_status
metric_page_attach(const struct metric_page_place *place, const char *path,
                   struct metric_page_handle *handle) MUST_USE;

// The page of the process (pid > 0) or of the store on the cold path (not
// NULL), or of the only live store if neither is given. NOT_FOUND; INVALID:
// several fit, the message names them.
enum cascade_status
metric_page_attach_to(const struct metric_page_place *place, uint64_t pid,
                      const char *cold_path,
                      struct metric_page_handle *handle) MUST_USE;

// Lets a page go that was attached.
void
metric_page_detach(struct metric_page_handle *handle);

// Whether the owner of an attached page still lives.
bool
metric_page_alive(const struct metric_page_place *place,
                  const struct metric_page_handle *handle);

#endif
