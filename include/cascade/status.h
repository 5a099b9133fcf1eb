// SPDX-License-Identifier: Apache-2.0
//
// Status of a call. One closed set for the whole product; 0 is success.
// Grouped by what the caller can do: nothing is wrong; ask again or later;
// correct the call; repair the surroundings.

#ifndef CASCADE_STATUS_H
#define CASCADE_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define CASCADE_API __attribute__((visibility("default")))
#define CASCADE_MUST_USE __attribute__((warn_unused_result))
#else
#define CASCADE_API
#define CASCADE_MUST_USE
#endif

enum cascade_status {
    CASCADE_OK = 0,

    // Answers, not failures.
    CASCADE_NOT_FOUND = 1, // no block under that key
    CASCADE_EXISTS = 2,    // the key is bound already and was left as it is

    // The cache is as before; the same call may succeed later.
    CASCADE_NO_SPACE = 3,  // no tier has room for the block
    CASCADE_BUSY = 4,      // in use: views out, pinned, queue full
    CASCADE_TIMEOUT = 5,   // the deadline passed first
    CASCADE_CANCELLED = 6, // cancelled before it started
    CASCADE_NO_MEMORY = 7, // the system gave no memory

    // The call is wrong; correct it.
    CASCADE_INVALID = 8,      // an argument is out of its range
    CASCADE_TOO_SMALL = 9,    // the output does not hold the answer
    CASCADE_TOO_LARGE = 10,   // no tier could ever hold the block
    CASCADE_UNSUPPORTED = 11, // this build or machine cannot do that
    CASCADE_FORKED = 12,      // the store belongs to the parent process
    CASCADE_CLOSED = 13,      // the store or queue is closing

    // Something outside is damaged, held or missing.
    CASCADE_CORRUPT = 14,    // the only copies are damaged and now forgotten
    CASCADE_STALE = 15,      // that copy is gone; look again
    CASCADE_IO = 16,         // a file or device failed
    CASCADE_LOCKED = 17,     // another live store owns the directory
    CASCADE_PERMISSION = 18, // the system refused access
    CASCADE_VERSION = 19     // written by a newer release; left alone
};

// Number of statuses, for tables over all of them.
#define CASCADE_STATUS_COUNT 20

// The status' name, for example "NOT_FOUND". Static text; never NULL.
CASCADE_API const char *
cascade_status_name(enum cascade_status status);

// One sentence without a full stop. Static text; never NULL.
CASCADE_API const char *
cascade_status_sentence(enum cascade_status status);

#ifdef __cplusplus
}
#endif

#endif
