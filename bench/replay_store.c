// SPDX-License-Identifier: Apache-2.0
//
// The store of a replay: with the capacities asked for, an index that has room
// for all that they hold, and a namespace of its own.

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/units.h"
#include "bench/replay.h"
#include "tools/shell_store.h"

static enum cascade_status
set_number(struct cascade_options *options, const char *name, uint64_t value)
{
    char text[32];

    (void)snprintf(text, sizeof(text), "%" PRIu64, value);
    return cascade_options_set(options, name, text);
}

// The index has room for every block that both tiers can hold; of a rank also for
// those that it is the home of and others have.
static enum cascade_status
set_index(const struct replay_options *from, struct cascade_options *options)
{
    uint64_t bytes = from->dram_bytes + from->cold_bytes;
    uint64_t blocks = bytes / from->block_bytes;

    if (from->route != ROUTE_NONE) {
        blocks *= 2;
    }
    return set_number(options, "max_blocks",
                      units_max(blocks + blocks / 4, 1024));
}

static enum cascade_status
set_capacities(const struct replay_options *from,
               struct cascade_options *options)
{
    char name_space[64];
    enum cascade_status status;

    (void)snprintf(name_space, sizeof(name_space),
                   "replay-%" PRIu64 "-%" PRIu64, from->block_bytes,
                   from->seed);
    status = cascade_options_set(options, "namespace", name_space);
    if (status == CASCADE_OK && from->dram_bytes > 0) {
        status = set_number(options, "dram_capacity", from->dram_bytes);
    }
    if (status == CASCADE_OK && from->cold_path != NULL) {
        status = cascade_options_set(options, "cold_path", from->cold_path);
    }
    if (status == CASCADE_OK && from->cold_bytes > 0) {
        status = set_number(options, "cold_capacity", from->cold_bytes);
    }
    if (status == CASCADE_OK && from->dram_bytes > 0 &&
        (from->cold_bytes > 0 || from->cold_path == NULL)) {
        status = set_index(from, options);
    }
    return status;
}

enum cascade_status
replay_open(struct replay *replay)
{
    const struct replay_options *from = replay->options;
    struct cascade_options *options = cascade_options_create();
    enum cascade_status status;

    if (options == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory for options");
    }
    status = cascade_options_load_environment(options);
    if (status == CASCADE_OK) {
        status = set_capacities(from, options);
    }
    for (size_t i = 0; i < from->setting_count && status == CASCADE_OK; i++) {
        status = shell_store_set(options, from->settings[i]);
    }
    if (status == CASCADE_OK) {
        status = cascade_open(options, &replay->store);
    }
    memset(replay->hits_seen, 0, sizeof(replay->hits_seen));
    cascade_options_destroy(options);
    return status;
}

enum cascade_status
replay_close(struct replay *replay)
{
    struct cascade *store = replay->store;

    replay->store = NULL;
    return cascade_close(store);
}
