// SPDX-License-Identifier: Apache-2.0
//
// What the two files of the simulated disk share. Under the disk's lock.

#ifndef SUPPORT_FILE_SECTORS_INNER_H
#define SUPPORT_FILE_SECTORS_INNER_H

#include "support/file_sectors.h"

// Names of a folder, in no order.
struct file_sectors_names {
    struct file_sectors_entry *entries;
    uint32_t count;
    uint32_t room;
};

// A change of a folder that no sync has followed. `from` NULL: `node` got the
// name `to`. `to` NULL: the name `from` went. Both: a rename.
struct file_sectors_change {
    char *from;
    char *to;
    struct file_sectors_node *node;
    uint64_t step;
};

// A write that no sync has followed.
struct file_sectors_write {
    uint64_t offset;
    uint64_t bytes;
    uint8_t *data;
};

struct file_sectors_node {
    struct file_sectors_node *next; // of all
    bool is_folder;
    bool reached; // for the collection
    uint32_t open;
    // A file: what is seen, what is durable, what lay there before.
    uint8_t *now_data;
    uint64_t now_bytes;
    uint64_t now_room;
    uint8_t *kept_data;
    uint64_t kept_bytes;
    uint64_t kept_room;
    uint8_t *ghost_data;
    uint64_t ghost_bytes;
    struct file_sectors_write *writes;
    uint32_t write_count;
    uint32_t write_room;
    // A folder.
    struct file_sectors_names now;
    struct file_sectors_names kept;
    struct file_sectors_change *changes;
    uint32_t change_count;
    uint32_t change_room;
};

struct file_sectors_entry {
    char *name;
    struct file_sectors_node *node;
};

struct file_sectors_node *
file_sectors_new(struct file_sectors *disk, bool is_folder);

struct file_sectors_node *
file_sectors_find(const struct file_sectors_names *names, const char *name);

void
file_sectors_link(struct file_sectors *disk, struct file_sectors_node *folder,
                  const char *name, struct file_sectors_node *node);

void
file_sectors_unlink(struct file_sectors *disk, struct file_sectors_node *folder,
                    const char *name);

void
file_sectors_rename(struct file_sectors *disk, struct file_sectors_node *folder,
                    const char *from, const char *to);

void
file_sectors_write(struct file_sectors_node *node, const void *data,
                   uint64_t bytes, uint64_t offset);

void
file_sectors_sync(struct file_sectors_node *node);

// The descriptor is closed: a listing closes its folder around the table.
void
file_sectors_forget_open(struct file_sectors *disk, int file);

// Forgets what no name leads to; deleted files become graves.
void
file_sectors_collect(struct file_sectors *disk);

uint64_t
file_sectors_sum(const struct file_sectors *disk);

void
file_sectors_remove_names(const char *path);

#endif
