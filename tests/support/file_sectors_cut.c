// SPDX-License-Identifier: Apache-2.0
//
// A disk that can lose power: its state, and what a cut leaves of it.

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "support/file_sectors.h"
#include "support/file_sectors_inner.h"

// One file in three begins in fresh space.
#define FRESH_ONE_IN 3

static char *
copy_text(const char *text)
{
    char *copy = text == NULL ? NULL : strdup(text);

    check((copy == NULL) == (text == NULL));
    return copy;
}

static void *
grow(void *memory, uint64_t bytes)
{
    void *larger = realloc(memory, bytes);

    check(larger != NULL);
    return larger;
}

// ---------------------------------------------------------------------------
// Names

static void
put_name(struct file_sectors_names *names, const char *name,
         struct file_sectors_node *node)
{
    for (uint32_t i = 0; i < names->count; i++) {
        if (strcmp(names->entries[i].name, name) == 0) {
            names->entries[i].node = node;
            return;
        }
    }
    if (names->count == names->room) {
        names->room = names->room * 2 + 8;
        names->entries = grow(names->entries,
                              names->room * sizeof(*names->entries));
    }
    names->entries[names->count].name = copy_text(name);
    names->entries[names->count++].node = node;
}

static void
drop_name(struct file_sectors_names *names, const char *name)
{
    for (uint32_t i = 0; i < names->count; i++) {
        if (strcmp(names->entries[i].name, name) == 0) {
            free(names->entries[i].name);
            names->entries[i] = names->entries[--names->count];
            return;
        }
    }
}

static void
clear_names(struct file_sectors_names *names)
{
    for (uint32_t i = 0; i < names->count; i++) {
        free(names->entries[i].name);
    }
    names->count = 0;
}

static void
copy_names(struct file_sectors_names *to, const struct file_sectors_names *from)
{
    clear_names(to);
    for (uint32_t i = 0; i < from->count; i++) {
        put_name(to, from->entries[i].name, from->entries[i].node);
    }
}

static void
note_change(struct file_sectors *disk, struct file_sectors_node *folder,
            const char *from, const char *to, struct file_sectors_node *node)
{
    struct file_sectors_change *change;

    if (folder->change_count == folder->change_room) {
        folder->change_room = folder->change_room * 2 + 8;
        folder->changes = grow(folder->changes,
                               folder->change_room * sizeof(*folder->changes));
    }
    change = &folder->changes[folder->change_count++];
    change->from = copy_text(from);
    change->to = copy_text(to);
    change->node = node;
    change->step = ++disk->steps;
}

static void
clear_changes(struct file_sectors_node *folder)
{
    for (uint32_t i = 0; i < folder->change_count; i++) {
        free(folder->changes[i].from);
        free(folder->changes[i].to);
    }
    folder->change_count = 0;
}

// A change is possible only on top of what it was made on.
static void
apply_change(struct file_sectors_names *names,
             const struct file_sectors_change *change)
{
    struct file_sectors_node *node = change->node;

    if (change->from != NULL) {
        node = file_sectors_find(names, change->from);
        if (node == NULL || node != change->node) {
            return;
        }
        drop_name(names, change->from);
    }
    if (change->to != NULL) {
        put_name(names, change->to, node);
    }
}

struct file_sectors_node *
file_sectors_find(const struct file_sectors_names *names, const char *name)
{
    for (uint32_t i = 0; i < names->count; i++) {
        if (strcmp(names->entries[i].name, name) == 0) {
            return names->entries[i].node;
        }
    }
    return NULL;
}

void
file_sectors_link(struct file_sectors *disk, struct file_sectors_node *folder,
                  const char *name, struct file_sectors_node *node)
{
    put_name(&folder->now, name, node);
    note_change(disk, folder, NULL, name, node);
}

void
file_sectors_unlink(struct file_sectors *disk, struct file_sectors_node *folder,
                    const char *name)
{
    note_change(disk, folder, name, NULL,
                file_sectors_find(&folder->now, name));
    drop_name(&folder->now, name);
}

void
file_sectors_rename(struct file_sectors *disk, struct file_sectors_node *folder,
                    const char *from, const char *to)
{
    struct file_sectors_node *node = file_sectors_find(&folder->now, from);

    note_change(disk, folder, from, to, node);
    drop_name(&folder->now, from);
    put_name(&folder->now, to, node);
}

// ---------------------------------------------------------------------------
// Bytes

// Makes room and fills what is new with zeros.
static void
set_bytes(uint8_t **data, uint64_t *bytes, uint64_t *room, uint64_t wanted)
{
    if (wanted > *room) {
        *room = wanted * 2;
        *data = grow(*data, *room);
    }
    if (wanted > *bytes) {
        memset(*data + *bytes, 0, wanted - *bytes);
    }
    *bytes = wanted;
}

static void
clear_writes(struct file_sectors_node *node)
{
    for (uint32_t i = 0; i < node->write_count; i++) {
        free(node->writes[i].data);
    }
    node->write_count = 0;
}

struct file_sectors_node *
file_sectors_new(struct file_sectors *disk, bool is_folder)
{
    struct file_sectors_node *node = calloc(1, sizeof(*node));
    const struct file_sectors_grave *grave;

    check(node != NULL);
    node->is_folder = is_folder;
    node->next = disk->nodes;
    disk->nodes = node;
    grave =
        &disk->graves[file_sectors_next(&disk->random) % FILE_SECTORS_GRAVES];
    if (!is_folder && grave->bytes > 0 &&
        file_sectors_next(&disk->random) % FRESH_ONE_IN != 0) {
        node->ghost_data = grow(NULL, grave->bytes);
        node->ghost_bytes = grave->bytes;
        memcpy(node->ghost_data, grave->data, grave->bytes);
        disk->recycled++;
    }
    return node;
}

void
file_sectors_write(struct file_sectors_node *node, const void *data,
                   uint64_t bytes, uint64_t offset)
{
    struct file_sectors_write *write;

    if (bytes == 0) {
        return;
    }
    if (node->write_count == node->write_room) {
        node->write_room = node->write_room * 2 + 8;
        node->writes = grow(node->writes,
                            node->write_room * sizeof(*node->writes));
    }
    write = &node->writes[node->write_count++];
    write->offset = offset;
    write->bytes = bytes;
    write->data = grow(NULL, bytes);
    memcpy(write->data, data, bytes);
    if (offset + bytes > node->now_bytes) {
        set_bytes(&node->now_data, &node->now_bytes, &node->now_room,
                  offset + bytes);
    }
    memcpy(node->now_data + offset, data, bytes);
}

void
file_sectors_sync(struct file_sectors_node *node)
{
    if (node->is_folder) {
        if (node->change_count > 0) {
            copy_names(&node->kept, &node->now);
            clear_changes(node);
        }
        return;
    }
    set_bytes(&node->kept_data, &node->kept_bytes, &node->kept_room,
              node->now_bytes);
    for (uint32_t i = 0; i < node->write_count; i++) {
        const struct file_sectors_write *write = &node->writes[i];

        memcpy(node->kept_data + write->offset, write->data, write->bytes);
    }
    clear_writes(node);
}

uint64_t
file_sectors_sum(const struct file_sectors *disk)
{
    uint64_t sum = 0;

    // Deleted files count until nobody has them open; their nodes stay.
    for (const struct file_sectors_node *node = disk->nodes; node != NULL;
         node = node->next) {
        if (node->is_folder) {
            for (uint32_t i = 0; i < node->now.count; i++) {
                sum += node->now.entries[i].node->now_bytes;
            }
        }
    }
    return sum;
}

// ---------------------------------------------------------------------------
// The cut

static bool
chance(struct file_sectors *disk, uint32_t percent)
{
    return file_sectors_next(&disk->random) % 100 < percent;
}

// How many of the pending writes count for one sector.
static uint32_t
writes_that_count(struct file_sectors *disk,
                  const struct file_sectors_node *node, uint32_t kept_percent)
{
    if (chance(disk, kept_percent)) {
        return UINT32_MAX;
    }
    if (chance(disk, 20)) {
        return (uint32_t)(file_sectors_next(&disk->random) %
                          (node->write_count + 1u));
    }
    return 0;
}

static void
apply_sector(const struct file_sectors_node *node, uint32_t limit,
             uint64_t begin, uint8_t *sector)
{
    for (uint32_t i = 0; i < node->write_count && i < limit; i++) {
        const struct file_sectors_write *write = &node->writes[i];
        uint64_t from = write->offset > begin ? write->offset : begin;
        uint64_t to = write->offset + write->bytes;

        if (to > begin + FILE_SECTORS_BYTES) {
            to = begin + FILE_SECTORS_BYTES;
        }
        if (from < to) {
            memcpy(sector + (from - begin),
                   write->data + (from - write->offset), to - from);
        }
    }
}

// The sector as if nothing of what is pending had come.
static void
old_sector(const struct file_sectors_node *node, uint64_t begin,
           uint8_t *sector)
{
    memset(sector, 0, FILE_SECTORS_BYTES);
    if (begin < node->kept_bytes) {
        uint64_t bytes = node->kept_bytes - begin;

        memcpy(sector, node->kept_data + begin,
               bytes < FILE_SECTORS_BYTES ? bytes : FILE_SECTORS_BYTES);
    } else if (begin < node->ghost_bytes) {
        uint64_t bytes = node->ghost_bytes - begin;

        memcpy(sector, node->ghost_data + begin,
               bytes < FILE_SECTORS_BYTES ? bytes : FILE_SECTORS_BYTES);
    }
}

static uint64_t
choose_bytes(struct file_sectors *disk, const struct file_sectors_node *node)
{
    const struct file_sectors_write *write;
    uint64_t end;

    if (chance(disk, 60)) {
        return node->now_bytes;
    }
    if (chance(disk, 30)) {
        return node->kept_bytes;
    }
    write = &node->writes[file_sectors_next(&disk->random) % node->write_count];
    end = write->offset + write->bytes;
    if (chance(disk, 30)) {
        end -= file_sectors_next(&disk->random) % write->bytes;
    }
    return end > node->kept_bytes ? end : node->kept_bytes;
}

static void
cut_file(struct file_sectors *disk, struct file_sectors_node *node)
{
    static const uint32_t tempers[] = {0, 3, 50, 97, 100, 100};
    uint32_t temper = tempers[file_sectors_next(&disk->random) % 6];
    // Sometimes writes landed in their order, up to one of them.
    bool ordered = chance(disk, 30);
    uint32_t limit = 0;
    uint64_t bytes;

    if (node->write_count > 0) {
        limit = (uint32_t)(file_sectors_next(&disk->random) %
                           (node->write_count + 1u));
        bytes = choose_bytes(disk, node);
        // Written sectors, each once, into what is seen.
        for (uint64_t begin = 0; begin < node->now_bytes;
             begin += FILE_SECTORS_BYTES) {
            uint8_t sector[FILE_SECTORS_BYTES];
            uint64_t there = node->now_bytes - begin;

            old_sector(node, begin, sector);
            apply_sector(
                node, ordered ? limit : writes_that_count(disk, node, temper),
                begin, sector);
            memcpy(node->now_data + begin, sector,
                   there < FILE_SECTORS_BYTES ? there : FILE_SECTORS_BYTES);
        }
        set_bytes(&node->now_data, &node->now_bytes, &node->now_room, bytes);
    } else if (node->now_bytes > node->kept_bytes) {
        check(false); // only writes make a file longer
    }
    set_bytes(&node->kept_data, &node->kept_bytes, &node->kept_room,
              node->now_bytes);
    if (node->now_bytes > 0) {
        memcpy(node->kept_data, node->now_data, node->now_bytes);
    }
    clear_writes(node);
}

// Which changes of folders happened: up to one of them in the order in which
// they were made, as a journal keeps them, or each by itself.
static void
cut_folder(struct file_sectors *disk, struct file_sectors_node *folder,
           uint64_t last_step)
{
    uint32_t kept_percent = chance(disk, 50) ? 50 : 90;

    if (folder->change_count == 0) {
        return;
    }
    for (uint32_t i = 0; i < folder->change_count; i++) {
        const struct file_sectors_change *change = &folder->changes[i];

        if (last_step != 0 ? change->step <= last_step
                           : chance(disk, kept_percent)) {
            apply_change(&folder->kept, change);
        }
    }
    clear_changes(folder);
}

static int
remove_one(const char *path, const struct stat *found, int kind,
           struct FTW *place)
{
    (void)found;
    (void)kind;
    (void)place;
    return remove(path);
}

static void
make_name(const char *path, const struct file_sectors_node *node)
{
    int file;

    if (node->is_folder) {
        check(mkdir(path, 0700) == 0);
        return;
    }
    file = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    check(file >= 0);
    (void)close(file);
}

// Makes the real names those that are durable. `fresh`: the real folder is new.
static void
settle_folder(const char *path, struct file_sectors_node *folder, bool fresh)
{
    char inner[512];

    for (uint32_t i = 0; i < folder->now.count && !fresh; i++) {
        const struct file_sectors_entry *entry = &folder->now.entries[i];

        if (file_sectors_find(&folder->kept, entry->name) != entry->node) {
            (void)snprintf(inner, sizeof(inner), "%s/%s", path, entry->name);
            file_sectors_remove_names(inner);
        }
    }
    for (uint32_t i = 0; i < folder->kept.count; i++) {
        const struct file_sectors_entry *entry = &folder->kept.entries[i];
        bool made = fresh ||
                    file_sectors_find(&folder->now, entry->name) != entry->node;

        (void)snprintf(inner, sizeof(inner), "%s/%s", path, entry->name);
        if (made) {
            make_name(inner, entry->node);
        }
        if (entry->node->is_folder) {
            settle_folder(inner, entry->node, made);
        }
    }
    copy_names(&folder->now, &folder->kept);
}

static void
reach(struct file_sectors_node *node)
{
    node->reached = true;
    for (uint32_t i = 0; i < node->now.count; i++) {
        reach(node->now.entries[i].node);
    }
}

static void
bury(struct file_sectors *disk, struct file_sectors_node *node)
{
    struct file_sectors_grave *grave = &disk->graves[disk->grave];

    if (node->is_folder || node->now_bytes < 8192) {
        return;
    }
    disk->grave = (disk->grave + 1) % FILE_SECTORS_GRAVES;
    free(grave->data);
    grave->data = node->now_data;
    grave->bytes = node->now_bytes;
    node->now_data = NULL;
}

void
file_sectors_forget_open(struct file_sectors *disk, int file)
{
    if (disk->open[file] != NULL) {
        disk->open[file]->open--;
        disk->open[file] = NULL;
    }
}

void
file_sectors_remove_names(const char *path)
{
    (void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void
file_sectors_collect(struct file_sectors *disk)
{
    struct file_sectors_node **at = &disk->nodes;

    for (int i = 0; i < FILE_SECTORS_OPEN_MAX; i++) {
        if (disk->open[i] != NULL) {
            check(disk->open[i]->is_folder && fcntl(i, F_GETFD) == -1);
            file_sectors_forget_open(disk, i);
        }
    }
    if (disk->root != NULL) {
        reach(disk->root);
    }
    while (*at != NULL) {
        struct file_sectors_node *node = *at;

        if (node->reached) {
            node->reached = false;
            at = &node->next;
            continue;
        }
        check(node->open == 0);
        *at = node->next;
        bury(disk, node);
        clear_writes(node);
        clear_changes(node);
        clear_names(&node->now);
        clear_names(&node->kept);
        free(node->writes);
        free(node->changes);
        free(node->now.entries);
        free(node->kept.entries);
        free(node->now_data);
        free(node->kept_data);
        free(node->ghost_data);
        free(node);
    }
}

void
file_sectors_restart(struct file_sectors *disk)
{
    uint64_t last_step = 0;

    (void)pthread_mutex_lock(&disk->lock);
    if (chance(disk, 50)) {
        last_step = 1 + file_sectors_next(&disk->random) % (disk->steps + 1);
        // Mostly not long ago.
        if (chance(disk, 80) && disk->steps > 8) {
            last_step = disk->steps - file_sectors_next(&disk->random) % 8;
        }
    }
    for (struct file_sectors_node *node = disk->nodes; node != NULL;
         node = node->next) {
        if (node->is_folder) {
            cut_folder(disk, node, last_step);
        } else {
            cut_file(disk, node);
        }
    }
    settle_folder(disk->path, disk->root, false);
    file_sectors_collect(disk);
    disk->off = false;
    disk->cut_at = 0;
    disk->cuts++;
    (void)pthread_mutex_unlock(&disk->lock);
}
