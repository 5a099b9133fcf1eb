// SPDX-License-Identifier: Apache-2.0
//
// Opens a cold directory for one command. Memory is what one block needs; GPU
// and fabric stay out, whatever the environment of a job says.

#include "tools/shell_store.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/allocator.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/machine.h"
#include "base/units.h"
#include "segment/segment_format.h"
#include "store/store_internal.h"
#include "tools/output.h"
#include "tools/segment_paths.h"

#define NAME_BYTES_MAX 64
#define INDEX_BLOCKS_MIN ((uint64_t)4096)
#define INDEX_BLOCKS_MAX ((uint64_t)1 << 19)

enum {
    OPTION_REBIND = 256,
    OPTION_HEX_KEY,
};

static const struct argp_option shared_options[] = {
    {"store", 's', "DIR", 0, "The cold directory (else $CASCADE_COLD_PATH)", 0},
    {"namespace", 'n', "NAME", 0, "The namespace of the keys", 0},
    {"rebind", OPTION_REBIND, "allowed|refused", 0,
     "Whether a key may move to other bytes", 0},
    {"hex-key", OPTION_HEX_KEY, NULL, 0, "Keys are given as hexadecimal digits",
     0},
    {"option", 'o', "NAME=VALUE", 0,
     "Set an option of the store (see cascade config)", 0},
    {NULL, 0, NULL, 0, NULL, 0},
};

static error_t
parse_shared(int key, char *argument, struct argp_state *state)
{
    struct shell_store_request *request = state->input;

    switch (key) {
    case 's':
        request->directory = argument;
        return 0;
    case 'n':
        request->name_space = argument;
        return 0;
    case OPTION_REBIND:
        request->rebind = argument;
        return 0;
    case OPTION_HEX_KEY:
        request->hex_keys = true;
        return 0;
    case 'o':
        if (request->setting_count == SHELL_STORE_SETTINGS_MAX) {
            argp_error(state, "more than %d times --option",
                       SHELL_STORE_SETTINGS_MAX);
        }
        request->settings[request->setting_count++] = argument;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp shared_argp = {
    shared_options, parse_shared, NULL, NULL, NULL, NULL, NULL,
};

// Sets `name` unless `value` is NULL.
static enum cascade_status
set_given(struct cascade_options *options, const char *name, const char *value)
{
    return value == NULL ? CASCADE_OK
                         : cascade_options_set(options, name, value);
}

// Bytes of all segment files of the directory; 0 if there is none yet,
// UINT64_MAX if that cannot be told (opening then says why).
static enum cascade_status
count_directory(const struct cascade_options *options, uint64_t *bytes)
{
    char path[PATH_MAX];
    struct segment_paths paths = {.count = 0};
    enum cascade_status status = cascade_options_get(options, "cold_path", path,
                                                     sizeof(path));

    if (status != CASCADE_OK) {
        return status;
    }
    if (path[0] == '\0' || access(path, F_OK) != 0) {
        *bytes = 0;
    } else if (segment_paths_add(&paths, path) == CASCADE_OK) {
        *bytes = paths.bytes;
    } else {
        *bytes = UINT64_MAX;
    }
    segment_paths_release(&paths);
    return CASCADE_OK;
}

// The arena holds the block, what it is rounded up to, and the bookkeeping of
// a small store. It also says how many bytes may be protected, and what others
// protected shall stay so: thus room for the whole directory, as far as the
// machine allows. Memory that is not used is not taken.
static enum cascade_status
set_memory(struct cascade_options *options, uint64_t block_bytes,
           uint64_t directory_bytes)
{
    struct machine_limits limits;
    uint64_t wanted = block_bytes + block_bytes / 4;
    uint64_t others;
    char text[32];
    enum cascade_status status;

    machine_read(file_system_real(), "", &limits);
    // The block itself lies beside the arena: little memory is shared out.
    wanted += units_min(64 * MIB, limits.memory_bytes / 16);
    others = units_min(directory_bytes, limits.memory_bytes / 8);
    units_format_bytes(units_round_up(wanted + others, 4 * MIB), text,
                       sizeof(text));
    status = cascade_options_set(options, "dram_capacity", text);
    return status == CASCADE_OK
               ? cascade_options_set(options, "prefix_fraction_max", "1")
               : status;
}

// The index has room for every binding that the files of the directory can
// hold: each takes at least an item of a record header. Small directories are
// most; for others the default stands.
static enum cascade_status
set_index(struct cascade_options *options, uint64_t directory_bytes)
{
    uint64_t bindings = directory_bytes / sizeof(struct segment_record_item);
    char text[32];

    if (bindings > INDEX_BLOCKS_MAX) {
        return CASCADE_OK;
    }
    (void)snprintf(text, sizeof(text), "%" PRIu64, INDEX_BLOCKS_MIN + bindings);
    return cascade_options_set(options, "max_blocks", text);
}

static enum cascade_status
check_directory(const struct cascade_options *options)
{
    char path[2];
    enum cascade_status status = cascade_options_get(options, "cold_path", path,
                                                     sizeof(path));

    if (status == CASCADE_OK && path[0] == '\0') {
        return error_set(CASCADE_INVALID,
                         "no store is named; give --store DIR or set "
                         "CASCADE_COLD_PATH");
    }
    return status == CASCADE_TOO_SMALL ? CASCADE_OK : status;
}

static enum cascade_status
fill_options(struct cascade_options *options,
             const struct shell_store_request *request,
             enum shell_store_mode mode, uint64_t block_bytes)
{
    const struct {
        const char *name;
        const char *value;
    } settings[] = {
        {"cold_path", request->directory},
        {"namespace", request->name_space},
        {"rebind", request->rebind},
        {"cold_mode", mode == SHELL_STORE_LOOK ? "look" : NULL},
        {"gpu_capacity", "0"},
        {"fabric", "self"},
    };
    uint64_t directory_bytes = 0;
    enum cascade_status status = cascade_options_load_environment(options);

    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
        if (status == CASCADE_OK) {
            status = set_given(options, settings[i].name, settings[i].value);
        }
    }
    if (status == CASCADE_OK) {
        status = count_directory(options, &directory_bytes);
    }
    if (status == CASCADE_OK) {
        status = set_memory(options, block_bytes, directory_bytes);
    }
    if (status == CASCADE_OK) {
        status = set_index(options, directory_bytes);
    }
    for (size_t i = 0; i < request->setting_count; i++) {
        if (status == CASCADE_OK) {
            status = shell_store_set(options, request->settings[i]);
        }
    }
    return status == CASCADE_OK ? check_directory(options) : status;
}

const struct argp *
shell_store_argp(void)
{
    return &shared_argp;
}

enum cascade_status
shell_store_set(struct cascade_options *options, const char *setting)
{
    const char *equals = strchr(setting, '=');
    char name[NAME_BYTES_MAX];

    if (equals == NULL || equals - setting >= NAME_BYTES_MAX) {
        return error_set(CASCADE_INVALID, "'%s' is not NAME=VALUE", setting);
    }
    memcpy(name, setting, (size_t)(equals - setting));
    name[equals - setting] = '\0';
    return cascade_options_set(options, name, equals + 1);
}

enum cascade_status
shell_store_open(const struct shell_store_request *request,
                 enum shell_store_mode mode, uint64_t block_bytes,
                 struct cascade **store)
{
    const struct store_surroundings around = {
        .allocator = allocator_system(),
        .clock = clock_system(),
        .files = file_system_real(),
        .background = true,
        .short_lived = true,
    };
    struct cascade_options *options = cascade_options_create();
    enum cascade_status status;

    if (options == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory for options");
    }
    status = fill_options(options, request, mode, block_bytes);
    if (status == CASCADE_OK) {
        status = store_open_in(options, &around, store);
    }
    cascade_options_destroy(options);
    return status;
}

enum cascade_status
shell_store_key(const struct shell_store_request *request, const char *text,
                uint8_t *room, struct cascade_key *key)
{
    size_t bytes = strlen(text);

    if (!request->hex_keys) {
        memcpy(room, text, units_min(bytes, CASCADE_KEY_BYTES_MAX));
    } else if (!output_parse_hex(text, room, CASCADE_KEY_BYTES_MAX, &bytes)) {
        return error_set(CASCADE_INVALID,
                         "the key '%s' is not an even number of hexadecimal "
                         "digits, at most %d",
                         text, 2 * CASCADE_KEY_BYTES_MAX);
    }
    if (bytes == 0 || bytes > CASCADE_KEY_BYTES_MAX) {
        return error_set(CASCADE_INVALID, "a key has 1 to %d bytes, not %zu",
                         CASCADE_KEY_BYTES_MAX, bytes);
    }
    key->data = room;
    key->bytes = bytes;
    return CASCADE_OK;
}

enum cascade_status
shell_store_check_keys(const struct shell_store_request *request,
                       char *const *texts)
{
    enum cascade_status status = CASCADE_OK;

    for (size_t i = 0; texts[i] != NULL && status == CASCADE_OK; i++) {
        uint8_t room[CASCADE_KEY_BYTES_MAX];
        struct cascade_key key;

        status = shell_store_key(request, texts[i], room, &key);
    }
    return status;
}

enum cascade_status
shell_store_close(struct cascade *store, bool written,
                  enum cascade_status status)
{
    char message[ERROR_MESSAGE_BYTES];
    enum cascade_status closed;

    if (status == CASCADE_OK && written) {
        status = cascade_flush(store, NULL);
    }
    (void)snprintf(message, sizeof(message), "%s", cascade_error_message());
    closed = cascade_close(store);
    if (status != CASCADE_OK) {
        return error_set(status, "%s", message);
    }
    return closed;
}
