// SPDX-License-Identifier: Apache-2.0
//
// What the fuzz targets share. A target is one function over bytes: libFuzzer
// calls it with inputs of its own (`make fuzz`), replay.c with the files of
// corpus/<target>/ (`make check`). Not the targets, and no test framework: a
// broken promise ends the process, which is what a fuzzer looks for.
//
// Invariant: a target leaves nothing behind that the next input could see.
// One thread.

#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

#include "base/file.h"

// What each target defines. The answer is always 0.
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

// Ends the process, naming the promise that was broken.
void
fuzz_fail(const char *what, const char *file, int line)
    __attribute__((noreturn));

#define FUZZ_REQUIRE(condition)                        \
    do {                                               \
        if (!(condition)) {                            \
            fuzz_fail(#condition, __FILE__, __LINE__); \
        }                                              \
    } while (0)

// A file system of one read-only file with these bytes, whatever its name. The
// table stays valid until the next call.
const struct file_system *
fuzz_file(const uint8_t *data, size_t bytes);

// A path under which the system's own calls read these bytes, until the next
// call.
const char *
fuzz_path(const uint8_t *data, size_t bytes);

// Makes the checksums, lengths and names inside a segment file agree with what
// lies there, so that mutated bytes get past the first comparison.
void
fuzz_mend_segment(uint8_t *data, size_t bytes);

#endif
