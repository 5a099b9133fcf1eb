// SPDX-License-Identifier: Apache-2.0
//
// What the segment tests share: a folder, engines, made-up blocks, and one
// checker of everything that a file shows.
//
// Blocks are made from their number alone, so that the checker knows what each
// key must carry: whatever a damaged file shows must be exactly that.

#ifndef SEGMENT_FIXTURE_H
#define SEGMENT_FIXTURE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/allocator.h"
#include "base/file.h"
#include "segment/segment_format.h"
#include "segment/segment_io.h"
#include "segment/segment_read.h"
#include "segment/segment_walk.h"
#include "segment/segment_write.h"

#define FIXTURE_ITEMS_MAX 64

struct fixture {
    char path[64];
    int directory;
    const struct file_system *files;
    const struct allocator *allocator;
    struct segment_io *io;
    struct segment_reader *reader;
};

// Makes a folder and an engine; `fault` may be NULL.
void
fixture_open(struct fixture *fixture, enum segment_io_kind kind,
             const struct file_system *files, segment_io_fault *fault,
             void *fault_context);

// Removes the folder and all files in it.
void
fixture_close(struct fixture *fixture);

// Fills item `number` with a block of `bytes`; payload is one of
// fixture_items_free's. `misaligned` shifts its memory by one byte.
void
fixture_make_block(struct segment_write_item *item, uint32_t number,
                   uint64_t bytes, bool misaligned);

// Fills item `number` with a record without payload (BIND, REMOVAL or CLEAR).
void
fixture_make_bind(struct segment_write_item *item, uint32_t number,
                  uint32_t flags);

// Items of every size around the limits, and binds. Returns how many.
size_t
fixture_make_items(struct segment_write_item items[FIXTURE_ITEMS_MAX],
                   bool misaligned);

// A few small ones.
size_t
fixture_make_small_items(struct segment_write_item items[FIXTURE_ITEMS_MAX]);

void
fixture_items_free(struct segment_write_item *items, size_t count);

void
fixture_options(const struct fixture *fixture, const char *name,
                uint32_t alignment_bytes,
                struct segment_write_options *options);

struct segment_writer *
fixture_create(const struct fixture *fixture, const char *name,
               uint32_t alignment_bytes);

// What a file showed.
struct fixture_found {
    enum cascade_status status; // of open
    bool sealed;
    bool walked;
    uint32_t shown;              // entries
    uint32_t intact;             // entries whose payload (if any) was OK
    bool has[FIXTURE_ITEMS_MAX]; // intact, by number
};

// Opens the file and looks at all it shows: through the footer if it has one,
// else (or if that is damaged) by walking with verification. Fails the test if
// anything that is shown differs from what its number must carry.
void
fixture_look(const struct fixture *fixture, const char *name,
             const struct segment_write_item *items, size_t count,
             struct fixture_found *found);

// Checks one entry against its item; returns the status of reading its payload.
enum cascade_status
fixture_check_entry(const struct fixture *fixture,
                    const struct segment_io_file *file,
                    const struct segment_entry *entry,
                    const struct segment_write_item *items, size_t count,
                    uint32_t *number);

// The whole file in memory; free() it.
uint8_t *
fixture_load(const struct fixture *fixture, const char *name, uint64_t *bytes);

void
fixture_store(const struct fixture *fixture, const char *name,
              const uint8_t *data, uint64_t bytes);

void
fixture_poke(const struct fixture *fixture, const char *name, uint64_t offset,
             uint8_t value);

void
fixture_truncate(const struct fixture *fixture, const char *name,
                 uint64_t bytes);

void
fixture_remove(const struct fixture *fixture, const char *name);

bool
fixture_exists(const struct fixture *fixture, const char *name);

#endif
