// SPDX-License-Identifier: Apache-2.0
//
// A disk that can lose power, behind the table of file calls. What was written
// is visible at once and durable only after a sync; names in a folder are
// durable only after a sync of that folder. At a power cut each sector of what
// was not synced is, by itself, lost, kept, or of an older pending version; a
// lost one that never was durable reads as zeros or, in a file that took over
// the space of a deleted one, as what lay there before. A file has its old
// length, its new one, or one between. Each change of a folder is there or not.
//
// The names exist for real in a folder in memory, as empty files, so that what
// goes around the table (listing, modes) works; the bytes are here alone. Calls
// that change something are counted, and the power goes at the one asked for:
// from then on all of them fail.
//
// Not a model of a file system that loses a file by renaming it, nor of one
// that damages what was synced. One lock, over each call.

#ifndef SUPPORT_FILE_SECTORS_H
#define SUPPORT_FILE_SECTORS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/file.h"

#define FILE_SECTORS_BYTES 512
#define FILE_SECTORS_OPEN_MAX 1024
#define FILE_SECTORS_GRAVES 8

// Ways in which a disk may lie, for tests that must notice.
enum file_sectors_lie {
    FILE_SECTORS_NO_DATA_SYNC = 1,   // a sync of a file does nothing
    FILE_SECTORS_NO_FOLDER_SYNC = 2, // nor does one of a folder
};

struct file_sectors_node;

struct file_sectors_grave {
    uint8_t *data;
    uint64_t bytes;
};

struct file_sectors {
    struct file_system table; // give this to the code under test
    char path[64];            // where the disk is mounted
    uint64_t random;
    uint64_t changes;   // calls that change something, so far
    uint64_t cut_at;    // the power goes at that one; 0 = never
    uint64_t cuts;      // so far
    uint64_t recycled;  // files that took over the space of others
    uint64_t bytes_max; // writes that would need more are ENOSPC; 0 = no limit
    uint32_t lies;      // enum file_sectors_lie, as flags
    bool off;           // the power is gone

    pthread_mutex_t lock;
    struct file_sectors_node *root;
    struct file_sectors_node *nodes; // all there are
    struct file_sectors_node *open[FILE_SECTORS_OPEN_MAX];
    struct file_sectors_grave graves[FILE_SECTORS_GRAVES];
    uint32_t grave;
    uint64_t steps;
};

// An empty disk; everything random in it follows from `seed`.
void
file_sectors_make(struct file_sectors *disk, uint64_t seed);

void
file_sectors_remove(struct file_sectors *disk);

// The power goes `calls` changes from now. 0: it stays.
void
file_sectors_cut_after(struct file_sectors *disk, uint64_t calls);

// The power goes now, if it is not gone, and comes back: the disk holds what the
// cut left. No file of it is open.
void
file_sectors_restart(struct file_sectors *disk);

// Bytes in the files that have a name.
uint64_t
file_sectors_used(struct file_sectors *disk);

// The next number of a random sequence whose state is `*state`.
uint64_t
file_sectors_next(uint64_t *state);

#endif
