// SPDX-License-Identifier: Apache-2.0
//
// A folder for the files of one test, removed with all that is in it.

#ifndef SUPPORT_SCRATCH_H
#define SUPPORT_SCRATCH_H

#define SCRATCH_BYTES 128

struct scratch {
    char path[SCRATCH_BYTES];
};

// Makes an empty folder under $TMPDIR or /tmp; stops the test if it cannot.
void
scratch_make(struct scratch *scratch);

// Writes a text file, with the folders above it; `name` is relative.
void
scratch_write(const struct scratch *scratch, const char *name,
              const char *text);

void
scratch_remove(struct scratch *scratch);

#endif
