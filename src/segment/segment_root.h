// SPDX-License-Identifier: Apache-2.0
//
// The root of the cold tier and the folder of one namespace inside it. Not the
// writers' directories (segment_lease.h) nor the files in them.
//
//   root/.cascade/root           who this root is
//   root/<namespace>/namespace   name and rebind kind
//   root/<namespace>/owner.*     rebind=allowed: which writer owns it
//   root/<namespace>/w*-*/       one directory for each writer
//
// Invariant: a folder of ours appears whole or not at all. It is filled under
// a name of its maker (".new-...") and renamed into place, which fails if
// something with content is there already; so of two makers one wins and the
// other reads what the winner wrote, and no reader ever meets a half-made one.
// No key and no namespace is used as a path as it stands.
//
// No lock: a struct segment_root does not change between open and close.

#ifndef SEGMENT_ROOT_H
#define SEGMENT_ROOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/allocator.h"
#include "base/attributes.h"
#include "base/file.h"

#define SEGMENT_ROOT_VERSION 1
#define SEGMENT_ROOT_NAMESPACE_BYTES_MAX 255
// Longest folder name that encoding gives, with the terminator.
#define SEGMENT_ROOT_FOLDER_BYTES 200
#define SEGMENT_ROOT_PATH_BYTES 1024
// Temporary folders begin with this; so do none that encoding gives.
#define SEGMENT_ROOT_TEMPORARY ".new-"
#define SEGMENT_ROOT_OWNER "owner."
#define SEGMENT_ROOT_OWNER_NOBODY "owner.released"

struct segment_root_options {
    const char *path;
    const char *namespace_name;
    bool rebind_allowed;
    bool look_only;     // create nothing; take the rebind kind that is there
    uint32_t file_mode; // of files; folders add "x" where there is "r"
    const char *group;  // "" = leave
    uint64_t tag;       // of this store: names its temporary folders
    const struct file_system *files;
};

struct segment_root {
    const struct file_system *files;
    int directory; // the namespace's folder, open
    uint32_t file_mode;
    gid_t group; // (gid_t)-1 = leave
    uint64_t tag;
    bool rebind_allowed;
    uint8_t uuid[16];                   // of the root
    char path[SEGMENT_ROOT_PATH_BYTES]; // root/<namespace>, for messages
};

// Reads what namespace a folder inside the root (open as `parent`) is of.
// NOT_FOUND: of none. VERSION, IO: it is damaged.
enum cascade_status
segment_root_describe(const struct file_system *files, int parent,
                      const char *folder, char name[256],
                      bool *rebind_allowed) MUST_USE;

// A file that a new folder is born with.
struct segment_root_file {
    const char *name;
    const void *data;
    size_t bytes;
};

// Opens the root and the namespace; creates both unless look_only.
// NOT_FOUND: the parent of the root is missing (look_only: root or namespace).
// INVALID: a file is in the way, the path or name is too long, the group is
// unknown, or the namespace has the other rebind kind (the message names both).
// VERSION: made by a newer release. PERMISSION, NO_SPACE, IO.
enum cascade_status
segment_root_open(const struct segment_root_options *options,
                  struct segment_root *root) MUST_USE;

void
segment_root_close(struct segment_root *root);

// Makes folder `name` in `parent` with these files, all synced, in one step.
// `*existed` says that one with content was there; it was left alone.
// `path` is for messages.
enum cascade_status
segment_root_publish(const struct segment_root *root, int parent,
                     const char *path, const char *name,
                     const struct segment_root_file *born, size_t count,
                     bool *existed) MUST_USE;

// Gives an open file or folder the mode and the group that the options ask for.
// PERMISSION, IO.
enum cascade_status
segment_root_adorn(const struct segment_root *root, int file, bool is_folder,
                   const char *path) MUST_USE;

// Mode of folders: that of files, with "x" where there is "r".
uint32_t
segment_root_folder_mode(const struct segment_root *root);

// Syncs an open folder. IO and others as the system says.
enum cascade_status
segment_root_sync(const struct segment_root *root, int directory,
                  const char *path) MUST_USE;

// Writes a small file whole, synced, over whatever had the name.
enum cascade_status
segment_root_replace(const struct segment_root *root, int directory,
                     const struct segment_root_file *file) MUST_USE;

// The folder's name for a namespace: letters, digits, '-', '_' and inner '.'
// stand for themselves, the rest is %XX; long names are cut and end in '~' and
// digits of their SHA-256. Injective but for collisions of those.
void
segment_root_encode(const char *namespace_name,
                    char folder[SEGMENT_ROOT_FOLDER_BYTES]);

#endif
