// SPDX-License-Identifier: Apache-2.0
//
// The store behind one shell command: the options that put, get, rm, ls and
// find share, and the opening of a cold directory with little memory. Looking
// works beside a live store that owns the directory.

#ifndef TOOLS_SHELL_STORE_H
#define TOOLS_SHELL_STORE_H

#include <argp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"
#include "cascade/cascade.h"

#define SHELL_STORE_SETTINGS_MAX 64

struct shell_store_request {
    const char *directory;  // NULL = from the environment
    const char *name_space; // NULL likewise
    const char *rebind;     // NULL likewise
    bool hex_keys;
    size_t setting_count;
    const char *settings[SHELL_STORE_SETTINGS_MAX]; // "name=value"
};

enum shell_store_mode {
    SHELL_STORE_LOOK, // never writes, takes no lease
    SHELL_STORE_OWN
};

// Parser of the shared options, to be a child of a command's parser; its input
// is a zeroed struct shell_store_request.
const struct argp *
shell_store_argp(void);

// Applies one "name=value" to the options. INVALID.
enum cascade_status
shell_store_set(struct cascade_options *options, const char *setting) MUST_USE;

// Opens the store with memory for one block of `block_bytes`. INVALID: no
// directory was named, or an option is wrong; else as cascade_open.
enum cascade_status
shell_store_open(const struct shell_store_request *request,
                 enum shell_store_mode mode, uint64_t block_bytes,
                 struct cascade **store) MUST_USE;

// The key that `text` means. `room` holds CASCADE_KEY_BYTES_MAX and must
// outlive the key. INVALID: empty, too long, not hexadecimal.
enum cascade_status
shell_store_key(const struct shell_store_request *request, const char *text,
                uint8_t *room, struct cascade_key *key) MUST_USE;

// Checks a list of keys, ended by NULL, before anything is opened. INVALID.
enum cascade_status
shell_store_check_keys(const struct shell_store_request *request,
                       char *const *texts) MUST_USE;

// Flushes if the work went well (`status`) and something was `written`, then
// closes. Returns the first failure, `status` included, with its message.
enum cascade_status
shell_store_close(struct cascade *store, bool written,
                  enum cascade_status status) MUST_USE;

#endif
