// SPDX-License-Identifier: Apache-2.0
//
// Keys, ids and places by number, for tests of one directory.

#ifndef DIRECTORY_FIXTURE_H
#define DIRECTORY_FIXTURE_H

#include "directory/directory.h"

#define DIRECTORY_FIXTURE_BYTES 100 // of every block

struct block_key
directory_fixture_key(uint32_t number);

struct block_id
directory_fixture_id(uint32_t number);

struct block_place
directory_fixture_place(uint32_t slot, uint32_t generation);

// Given by another store.
struct block_version
directory_fixture_version(uint64_t time_ns);

// Checks every invariant.
void
directory_fixture_end(struct directory *directory);

#endif
