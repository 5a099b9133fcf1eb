// SPDX-License-Identifier: Apache-2.0
//
// cascade info: what this build is and what it found on this machine. A tier
// or fabric that is missing says why.

#include <argp.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/file.h"
#include "base/machine.h"
#include "base/sha256.h"
#include "base/units.h"
#include "cascade/cascade.h"
#include "tools/command.h"
#include "tools/output.h"
#include "tools/probe.h"

// Given by the build.
#ifndef CASCADE_BUILD_COMMIT
#define CASCADE_BUILD_COMMIT "unknown"
#endif
#ifndef CASCADE_BUILD_FLAGS
#define CASCADE_BUILD_FLAGS "unknown"
#endif

#if defined(__clang__)
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

#define PARTS_MAX 16
#define PART_TEXT_BYTES (3 * FABRIC_MODULE_PATH_BYTES)

struct part {
    const char *kind; // "tier" or "fabric"
    const char *name;
    bool there;
    char reason[PART_TEXT_BYTES]; // what is there, or why nothing is
};

struct facts {
    struct probe_processor processor;
    struct machine_limits limits;
    struct utsname system;
    struct probe_fabric fabric;
    size_t part_count;
    struct part parts[PARTS_MAX];
};

static const struct argp_option options[] = {
    {"json", 'j', NULL, 0, "Print one JSON object", 0},
    {NULL, 0, NULL, 0, NULL, 0},
};

static error_t
parse(int key, char *argument, struct argp_state *state)
{
    bool *json = state->input;

    (void)argument;
    switch (key) {
    case 'j':
        *json = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_usage(state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static struct part *
add_part(struct facts *facts, const char *kind, const char *name, bool there)
{
    struct part *part = &facts->parts[facts->part_count++];

    part->kind = kind;
    part->name = name;
    part->there = there;
    return part;
}

static void
add_gpu_tier(struct facts *facts)
{
    struct probe_gpus gpus;
    struct part *part;
    char bytes[32];

    probe_gpus(&gpus);
    part = add_part(facts, "tier", "gpu", gpus.count > 0);
    if (gpus.count == 0) {
        (void)snprintf(part->reason, sizeof(part->reason), "%.180s%s",
                       gpus.reason,
                       gpus.hardware ? "" : "; no NVIDIA GPU on the bus");
        return;
    }
    units_format_bytes(units_round_down(gpus.gpus[0].memory_bytes, MIB), bytes,
                       sizeof(bytes));
    (void)snprintf(part->reason, sizeof(part->reason),
                   "%zu of %.120s, %s, driver %d.%d", gpus.count,
                   gpus.gpus[0].name, bytes, gpus.driver_version / 1000,
                   gpus.driver_version % 1000 / 10);
}

static void
add_tiers(struct facts *facts)
{
    struct part *part;
    char reason[PROBE_TEXT_BYTES];
    char bytes[32];

    add_gpu_tier(facts);
    part = add_part(facts, "tier", "dram", true);
    units_format_bytes(units_round_down(facts->limits.memory_bytes, MIB), bytes,
                       sizeof(bytes));
    (void)snprintf(part->reason, sizeof(part->reason), "%s, set by %s", bytes,
                   machine_memory_reason(&facts->limits));
    part = add_part(facts, "tier", "segments", true);
    (void)snprintf(part->reason, sizeof(part->reason), "%s%.200s",
                   probe_ring(reason, sizeof(reason))
                       ? "read through io_uring"
                       : "read without io_uring: ",
                   reason);
}

static void
add_fabrics(struct facts *facts)
{
    const struct fabric_launcher *launcher = &facts->fabric.found.launcher;
    struct part *part;
    char modules[2 * FABRIC_MODULE_PATH_BYTES];

    probe_fabric(&facts->fabric);
    part = add_part(facts, "fabric", "self", true);
    (void)snprintf(part->reason, sizeof(part->reason), "one rank");
    part = add_part(facts, "fabric", "mpi",
                    probe_fabric_has_module(&facts->fabric));
    probe_fabric_modules(&facts->fabric, modules, sizeof(modules));
    (void)snprintf(part->reason, sizeof(part->reason), "%s; started by %s",
                   modules,
                   launcher->name != NULL ? launcher->name : "no launcher");
}

static const char *
chosen_fabric(const struct probe_fabric *fabric)
{
    if (fabric->found.status != CASCADE_OK) {
        return "none";
    }
    return fabric->found.choice.mpi
               ? fabric_family_name(fabric->found.choice.family)
               : "self";
}

static void
print_text(const struct facts *facts)
{
    const struct sha256_kernel *kernel = sha256_kernel_widest();

    (void)printf("cascade   %s\n", cascade_version());
    (void)printf("commit    %s\n", CASCADE_BUILD_COMMIT);
    (void)printf("compiler  %s\n", COMPILER);
    (void)printf("flags     %s\n", CASCADE_BUILD_FLAGS);
    (void)printf("system    %s %s %s\n", facts->system.sysname,
                 facts->system.release, facts->system.machine);
    (void)printf("processor %s, %" PRIu32 " for this process\n",
                 facts->processor.model, facts->limits.cpus);
    (void)printf("features  %s\n", facts->processor.features);
    (void)printf("hash      %s, %zu lanes\n", kernel->name, kernel->lanes);
    (void)printf("page      %" PRIu32 " bytes\n", facts->processor.page_bytes);
    for (size_t i = 0; i < facts->part_count; i++) {
        const struct part *part = &facts->parts[i];

        (void)printf("%-9s %-9s %-4s %s\n", part->kind, part->name,
                     part->there ? "yes" : "no", part->reason);
    }
    (void)printf("fabric=%s: %s, %s\n", facts->fabric.which,
                 chosen_fabric(&facts->fabric),
                 facts->fabric.found.choice.reason);
}

static void
add_words(json_t *object, const char *name, const char *words)
{
    json_t *list = json_array();

    output_need(list != NULL);
    while (*words != '\0') {
        size_t length = strcspn(words, " ");

        output_need(json_array_append_new(list, json_stringn(words, length)) ==
                    0);
        words += length;
        words += strspn(words, " ");
    }
    output_need(json_object_set_new(object, name, list) == 0);
}

// The parts of a kind: {"self": {"there": true, "reason": "..."}, ...}.
static void
add_parts(json_t *object, const char *name, const struct facts *facts,
          const char *kind)
{
    json_t *parts = json_object();

    output_need(parts != NULL);
    for (size_t i = 0; i < facts->part_count; i++) {
        const struct part *part = &facts->parts[i];
        json_t *one;

        if (strcmp(part->kind, kind) != 0) {
            continue;
        }
        one = json_object();
        output_need(one != NULL);
        output_json_flag(one, "there", part->there);
        output_json_text(one, "reason", part->reason);
        output_need(json_object_set_new(parts, part->name, one) == 0);
    }
    output_need(json_object_set_new(object, name, parts) == 0);
}

static void
print_json(const struct facts *facts)
{
    const struct sha256_kernel *kernel = sha256_kernel_widest();
    json_t *object = json_object();

    output_need(object != NULL);
    output_json_text(object, "version", cascade_version());
    output_json_text(object, "commit", CASCADE_BUILD_COMMIT);
    output_json_text(object, "compiler", COMPILER);
    output_json_text(object, "flags", CASCADE_BUILD_FLAGS);
    output_json_text(object, "system", facts->system.sysname);
    output_json_text(object, "kernel", facts->system.release);
    output_json_text(object, "machine", facts->system.machine);
    output_json_text(object, "processor", facts->processor.model);
    add_words(object, "cpu_features", facts->processor.features);
    output_json_text(object, "hash_kernel", kernel->name);
    output_json_unsigned(object, "hash_lanes", kernel->lanes);
    output_json_unsigned(object, "page_bytes", facts->processor.page_bytes);
    output_json_unsigned(object, "cpus", facts->limits.cpus);
    output_json_unsigned(object, "memory_bytes", facts->limits.memory_bytes);
    output_json_text(object, "memory_set_by",
                     machine_memory_reason(&facts->limits));
    add_parts(object, "tiers", facts, "tier");
    add_parts(object, "fabrics", facts, "fabric");
    output_json_text(object, "fabric_option", facts->fabric.which);
    output_json_text(object, "fabric_chosen", chosen_fabric(&facts->fabric));
    output_json_text(object, "fabric_reason",
                     facts->fabric.found.choice.reason);
    output_json_line(object);
}

int
command_info(int argc, char **argv)
{
    static const char what[] =
        "Tells version, build, processor, and the tiers and fabrics found "
        "here, and why one is missing.";
    const struct argp argp = {
        options, parse, NULL, what, NULL, NULL, NULL,
    };
    struct facts facts = {.part_count = 0};
    bool json = false;

    (void)argp_parse(&argp, argc, argv, 0, NULL, &json);
    probe_processor(&facts.processor);
    machine_read(file_system_real(), "", &facts.limits);
    (void)uname(&facts.system);
    add_tiers(&facts);
    add_fabrics(&facts);
    (json ? print_json : print_text)(&facts);
    return COMMAND_OK;
}
