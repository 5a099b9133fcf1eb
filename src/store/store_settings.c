// SPDX-License-Identifier: Apache-2.0
//
// What options mean on a machine: text to typed values, "auto" to numbers, and
// the checks that need more than one option or the machine. Pure: reads the
// options and the limits, asks the system nothing. No lock.

#include "store/store_options.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/error.h"
#include "base/machine.h"
#include "base/option.h"
#include "base/units.h"

// The share of the usable memory that the DRAM tier takes by itself.
#define AUTO_MEMORY_PERCENT 25
#define AUTO_MEMORY_BYTES_MIN (64 * MIB)

#define AUTO_QUEUE_BYTES_MIN (16 * MIB)
#define AUTO_QUEUE_BYTES_MAX (4 * GIB)

// An automatic index counts the automatic cold tier, whose size is not known
// yet, as this many times the memory.
#define AUTO_COLD_FACTOR 16

#define BYTES_PER_BLOCK (64 * KIB)
#define AUTO_BLOCKS_MIN 4096
#define AUTO_BLOCKS_MAX (4096 * 1024)

static bool
is_word(const struct option_set *set, enum store_option option,
        const char *word)
{
    return strcmp(option_text(set, option), word) == 0;
}

// Copies a text whose length the table bounds to fit.
static void
copy_text(const struct option_set *set, enum store_option option, char *field,
          size_t size)
{
    const char *text = option_text(set, option);

    check(strlen(text) < size);
    memcpy(field, text, strlen(text) + 1);
}

static enum cascade_status
resolve_dram(const struct option_set *set, const struct machine_limits *machine,
             struct store_settings *settings)
{
    uint64_t share = machine->memory_bytes / machine->ranks_on_node;
    uint64_t bytes = option_bytes(set, STORE_OPTION_DRAM_CAPACITY);
    char limit[32];

    if (is_word(set, STORE_OPTION_DRAM_CAPACITY, "auto")) {
        bytes = share / 100 * AUTO_MEMORY_PERCENT;
        bytes = units_max(bytes, AUTO_MEMORY_BYTES_MIN);
        settings->dram_capacity_bytes = units_round_down(bytes, MIB);
        return CASCADE_OK;
    }
    if (bytes == 0 && settings->cold_path[0] == '\0') {
        return error_set(CASCADE_INVALID,
                         "dram_capacity = 0 leaves no place for blocks; set "
                         "cold_path or give dram_capacity at least 1MiB");
    }
    if (bytes > share) {
        units_format_bytes(share >= MIB ? units_round_down(share, MIB) : share,
                           limit, sizeof(limit));
        return error_set(CASCADE_INVALID,
                         "dram_capacity = %s is more than the %s that %s "
                         "leaves to this process; lower it or raise the limit",
                         option_text(set, STORE_OPTION_DRAM_CAPACITY), limit,
                         machine_memory_reason(machine));
    }
    settings->dram_capacity_bytes = bytes;
    return CASCADE_OK;
}

static void
resolve_queue(const struct option_set *set, struct store_settings *settings)
{
    uint64_t bytes = option_bytes(set, STORE_OPTION_COLD_QUEUE);

    if (bytes == 0) {
        bytes = units_round_down(settings->dram_capacity_bytes / 4, MIB);
        bytes = units_max(bytes, AUTO_QUEUE_BYTES_MIN);
        bytes = units_min(bytes, AUTO_QUEUE_BYTES_MAX);
    }
    settings->cold_queue_bytes = bytes;
}

static void
resolve_blocks(const struct option_set *set, struct store_settings *settings)
{
    uint64_t blocks = option_count(set, STORE_OPTION_MAX_BLOCKS);
    uint64_t memory = settings->dram_capacity_bytes +
                      settings->gpu_capacity_bytes;
    uint64_t cold = settings->cold_capacity_bytes;

    if (settings->cold_path[0] == '\0') {
        cold = 0;
    } else if (cold == 0) {
        cold = memory * AUTO_COLD_FACTOR;
    }
    settings->max_blocks = blocks != 0
                               ? (uint32_t)blocks
                               : store_settings_max_blocks(memory + cold);
}

static enum cascade_status
resolve_alignment(const struct option_set *set, struct store_settings *settings)
{
    uint64_t bytes = option_bytes(set, STORE_OPTION_COLD_ALIGNMENT);

    if ((bytes & (bytes - 1)) != 0) {
        return error_set(CASCADE_INVALID,
                         "cold_alignment = %s is no power of two; write 4KiB, "
                         "8KiB, 16KiB and so on",
                         option_text(set, STORE_OPTION_COLD_ALIGNMENT));
    }
    settings->cold_alignment_bytes = bytes;
    return CASCADE_OK;
}

static enum cascade_status
resolve_mode(const struct option_set *set, struct store_settings *settings)
{
    const char *text = option_text(set, STORE_OPTION_COLD_FILE_MODE);
    uint32_t mode = 0;

    for (const char *at = text; *at != '\0'; at++) {
        if (*at < '0' || *at > '7') {
            mode = 0;
            break;
        }
        mode = mode * 8 + (uint32_t)(*at - '0');
    }
    if (mode > 0777 || (mode & 0600) != 0600) {
        return error_set(CASCADE_INVALID,
                         "cold_file_mode = %s: write an octal mode such as "
                         "0640 in which the owner may read and write",
                         text);
    }
    settings->cold_file_mode = mode;
    return CASCADE_OK;
}

static enum cascade_status
resolve_namespace(const struct option_set *set, struct store_settings *settings)
{
    const char *text = option_text(set, STORE_OPTION_NAMESPACE);

    for (const char *at = text; *at != '\0'; at++) {
        unsigned char letter = (unsigned char)*at;

        if (letter == '/' || letter < ' ' || letter == 0x7f) {
            return error_set(CASCADE_INVALID,
                             "namespace has the byte 0x%02x at place %zu; use "
                             "printable text without a slash",
                             letter, (size_t)(at - text));
        }
    }
    copy_text(set, STORE_OPTION_NAMESPACE, settings->namespace_name,
              sizeof(settings->namespace_name));
    return CASCADE_OK;
}

static enum cascade_status
resolve_devices(const struct option_set *set, struct store_settings *settings)
{
    const char *text = option_text(set, STORE_OPTION_GPU_DEVICES);

    if (strspn(text, "0123456789,") != strlen(text)) {
        return error_set(CASCADE_INVALID,
                         "gpu_devices = %s: write numbers separated by commas, "
                         "such as 0,1",
                         text);
    }
    copy_text(set, STORE_OPTION_GPU_DEVICES, settings->gpu_devices,
              sizeof(settings->gpu_devices));
    return CASCADE_OK;
}

// Options of parts that this release does not have.
static enum cascade_status
refuse_missing_parts(const struct option_set *set)
{
    if (!is_word(set, STORE_OPTION_METRICS_LISTEN, "")) {
        return error_set(CASCADE_UNSUPPORTED,
                         "metrics_listen = %.100s: this release serves no "
                         "metrics over a socket; leave it empty and use "
                         "`cascade stats`",
                         option_text(set, STORE_OPTION_METRICS_LISTEN));
    }
    return CASCADE_OK;
}

// Values that need no more than their own text.
static void
resolve_plain(const struct option_set *set, struct store_settings *settings)
{
    settings->gpu_capacity_bytes = option_bytes(set, STORE_OPTION_GPU_CAPACITY);
    settings->cold_capacity_bytes = option_bytes(set,
                                                 STORE_OPTION_COLD_CAPACITY);
    settings->segment_bytes = option_bytes(set, STORE_OPTION_SEGMENT_SIZE);
    settings->cold_write_rate = option_bytes(set, STORE_OPTION_COLD_WRITE_RATE);
    settings->timeout_ns = option_time_ns(set, STORE_OPTION_TIMEOUT);
    settings->put_wait_ns = option_time_ns(set, STORE_OPTION_PUT_WAIT);
    settings->drain_deadline_ns = option_time_ns(set,
                                                 STORE_OPTION_DRAIN_DEADLINE);
    // The words stand in the order of the flags.
    settings->drain_signals = (uint32_t)option_word(set,
                                                    STORE_OPTION_DRAIN_SIGNALS);
    settings->drain_requests = option_flag(set, STORE_OPTION_DRAIN_REQUESTS);
    settings->lease_ns = option_time_ns(set, STORE_OPTION_LEASE_TIME);
    settings->promotion_threshold = (uint32_t)option_count(
        set, STORE_OPTION_PROMOTION_THRESHOLD);
    settings->prefix_fraction_max = option_real(
        set, STORE_OPTION_PREFIX_FRACTION_MAX);
    settings->semantic_eviction = option_flag(set,
                                              STORE_OPTION_SEMANTIC_EVICTION);
    settings->locality_aware = option_flag(set, STORE_OPTION_LOCALITY_AWARE);
    settings->spill = option_flag(set, STORE_OPTION_SPILL);
    settings->stats_page = option_flag(set, STORE_OPTION_STATS_PAGE);
    settings->huge_pages = is_word(set, STORE_OPTION_HUGE_PAGES, "auto");
    settings->dedup = (enum store_dedup)option_word(set, STORE_OPTION_DEDUP);
    settings->verify = (enum store_verify)option_word(set, STORE_OPTION_VERIFY);
    settings->cold_admits_all = option_word(set, STORE_OPTION_COLD_ADMISSION) !=
                                0;
    settings->rebind = (enum store_rebind)option_word(set, STORE_OPTION_REBIND);
    settings->sync = (enum store_sync)option_word(set, STORE_OPTION_SYNC);
    settings->cold_look_only = option_word(set, STORE_OPTION_COLD_MODE) == 1;
    settings->cold_io = (enum store_cold_io)option_word(set,
                                                        STORE_OPTION_COLD_IO);
    settings->fabric = (enum store_fabric)option_word(set, STORE_OPTION_FABRIC);
    // The words stand in the order of the rungs.
    settings->rung = (uint32_t)option_word(set, STORE_OPTION_FABRIC_RUNG);
    settings->binding_lease_ns = option_time_ns(set,
                                                STORE_OPTION_BINDING_LEASE);
    settings->log_level = (enum log_level)option_word(set,
                                                      STORE_OPTION_LOG_LEVEL);
    copy_text(set, STORE_OPTION_COLD_PATH, settings->cold_path,
              sizeof(settings->cold_path));
    copy_text(set, STORE_OPTION_COLD_GROUP, settings->cold_group,
              sizeof(settings->cold_group));
    copy_text(set, STORE_OPTION_EVICTION_POLICY, settings->eviction_policy,
              sizeof(settings->eviction_policy));
}

// Values that may be refused.
static enum cascade_status
resolve_checked(const struct option_set *set,
                const struct machine_limits *machine,
                struct store_settings *settings)
{
    enum cascade_status status = refuse_missing_parts(set);

    if (status == CASCADE_OK) {
        status = resolve_dram(set, machine, settings);
    }
    if (status == CASCADE_OK) {
        status = resolve_alignment(set, settings);
    }
    if (status == CASCADE_OK) {
        status = resolve_mode(set, settings);
    }
    if (status == CASCADE_OK) {
        status = resolve_namespace(set, settings);
    }
    if (status == CASCADE_OK) {
        status = resolve_devices(set, settings);
    }
    return status;
}

enum cascade_status
store_settings_resolve(const struct cascade_options *options,
                       const struct machine_limits *machine,
                       struct store_settings *settings)
{
    const struct option_set *set = options->set;
    struct store_settings made = {0};
    uint64_t threads = option_count(set, STORE_OPTION_THREADS);
    enum cascade_status status;

    resolve_plain(set, &made);
    status = resolve_checked(set, machine, &made);
    if (status != CASCADE_OK) {
        return status;
    }
    resolve_queue(set, &made);
    resolve_blocks(set, &made);
    made.threads = (uint32_t)units_min(threads != 0 ? threads : machine->cpus,
                                       256);
    *settings = made;
    return CASCADE_OK;
}

uint32_t
store_settings_max_blocks(uint64_t capacity_bytes)
{
    uint64_t blocks = capacity_bytes / BYTES_PER_BLOCK;

    blocks = units_max(blocks, AUTO_BLOCKS_MIN);
    return (uint32_t)units_min(blocks, AUTO_BLOCKS_MAX);
}

enum cascade_status
store_settings_text(const struct cascade_options *options,
                    const struct store_settings *settings, const char *name,
                    char *value, size_t size)
{
    struct {
        const char *name;
        uint64_t number;
        bool is_bytes;
    } resolved[] = {
        {"dram_capacity", settings->dram_capacity_bytes, true},
        {"cold_capacity", settings->cold_capacity_bytes, true},
        {"cold_queue", settings->cold_queue_bytes, true},
        {"cold_alignment", settings->cold_alignment_bytes, true},
        {"max_blocks", settings->max_blocks, false},
        {"threads", settings->threads, false},
    };
    char text[32];

    for (size_t i = 0; i < sizeof(resolved) / sizeof(resolved[0]); i++) {
        if (strcmp(name, resolved[i].name) != 0) {
            continue;
        }
        if (resolved[i].is_bytes) {
            units_format_bytes(resolved[i].number, text, sizeof(text));
        } else {
            (void)snprintf(text, sizeof(text), "%llu",
                           (unsigned long long)resolved[i].number);
        }
        if (strlen(text) >= size) {
            return error_set(CASCADE_TOO_SMALL, "option %s needs %zu bytes",
                             name, strlen(text) + 1);
        }
        memcpy(value, text, strlen(text) + 1);
        return CASCADE_OK;
    }
    return cascade_options_get(options, name, value, size);
}
