// SPDX-License-Identifier: Apache-2.0
//
// A file system whose N-th call fails. Wraps another table (the real one if
// NULL), counts the calls that it is told to count, and makes some of them fail
// or fall short. Counters are atomic; set the faults before the threads start.

#ifndef SUPPORT_FILE_FAULTY_H
#define SUPPORT_FILE_FAULTY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/file.h"

enum file_faulty_call {
    FILE_FAULTY_OPEN = 1,
    FILE_FAULTY_CLOSE = 2,
    FILE_FAULTY_PREAD = 4,
    FILE_FAULTY_PWRITE = 8,
    FILE_FAULTY_SYNC_DATA = 16,
    FILE_FAULTY_SYNC = 32,
    FILE_FAULTY_MAKE_DIRECTORY = 64,
    FILE_FAULTY_RENAME = 128,
    FILE_FAULTY_UNLINK = 256,
    FILE_FAULTY_STAT = 512,
    FILE_FAULTY_ALL = 1023,
    FILE_FAULTY_RESERVE = 1024, // may always fail: not one of ALL
};

#define FILE_FAULTY_FILES_MAX 1024

struct file_faulty {
    struct file_system table; // give this to the code under test
    const struct file_system *under;
    uint64_t calls; // counted so far

    uint32_t counted;    // enum file_faulty_call, as flags
    uint64_t fail_from;  // first call that fails, from 1; 0 = none
    uint64_t fail_count; // how many fail; UINT64_MAX = all from then on
    int error;           // errno; 0 = reads and writes move half, and other
                         // calls work
    bool torn;           // a failing write leaves its first half in the file
    bool refuse_direct;  // O_DIRECT is EINVAL
    bool sparse;         // writes of zeros make holes
    bool lazy;           // syncs that do not fail do nothing

    // Files that were written and not synced since, by descriptor.
    uint8_t unsynced[FILE_FAULTY_FILES_MAX];
    uint64_t closed_unsynced;
};

// No faults, all calls counted.
void
file_faulty_init(struct file_faulty *faulty, const struct file_system *under);

// Files with writes that no sync has followed, open or closed by now.
uint64_t
file_faulty_unsynced(const struct file_faulty *faulty);

#endif
