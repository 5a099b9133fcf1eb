// SPDX-License-Identifier: Apache-2.0
//
// cascade segment list, verify, dump: looks into segment files without a
// store. Changes nothing; a live writer does not notice.

#include <argp.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/allocator.h"
#include "base/error.h"
#include "base/file.h"
#include "cascade/cascade.h"
#include "segment/segment_read.h"
#include "segment/segment_walk.h"
#include "tools/command.h"
#include "tools/output.h"
#include "tools/progress.h"
#include "tools/segment_paths.h"
#include "tools/segment_verify.h"

struct segment_request {
    const char *action;
    bool json;
    bool quiet;
    struct segment_paths paths;
    enum cascade_status status; // of finding the paths
};

// What all files are read with, and what is told about them.
struct reading {
    const struct segment_request *request;
    struct segment_io *io;
    struct segment_reader *walker;
    struct segment_reader *checker;
    struct progress progress;
    uint64_t done_bytes; // of files before this one
    const char *path;    // of this one
    bool bad;            // damage, or a file that could not be read
};

static const struct argp_option options[] = {
    {"json", 'j', NULL, 0, "Print one JSON object per file, damage or record",
     0},
    {"quiet", 'q', NULL, 0, "With verify, say nothing of files without damage",
     0},
    {NULL, 0, NULL, 0, NULL, 0},
};

static error_t
parse(int key, char *argument, struct argp_state *state)
{
    struct segment_request *request = state->input;

    switch (key) {
    case 'j':
        request->json = true;
        return 0;
    case 'q':
        request->quiet = true;
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num == 0) {
            request->action = argument;
        } else if (request->status == CASCADE_OK) {
            request->status = segment_paths_add(&request->paths, argument);
        }
        return 0;
    case ARGP_KEY_END:
        if (state->arg_num < 2) {
            argp_usage(state);
        }
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const char *
state_name(const struct segment_file *file)
{
    return file->facts.kind == SEGMENT_FILE_INDEX ? "index"
           : file->sealed                         ? "sealed"
                                                  : "open";
}

// What an entry is about.
static const char *
entry_name(const struct segment_entry *entry)
{
    uint32_t flags = entry->label.flags;

    return (flags & BLOCK_LABEL_CLEAR) != 0     ? "clear"
           : (flags & BLOCK_LABEL_REMOVAL) != 0 ? "remove"
           : (flags & BLOCK_LABEL_BIND) != 0    ? "bind"
                                                : "block";
}

// The key as text: itself, its digest, or "-" where there is none.
static void
key_text(const struct block_label *label, char *text)
{
    const struct cascade_key key = {label->key_data, label->key_bytes};

    if (key.bytes > 0) {
        output_key_text(key, text);
    } else if (block_key_is_zero(&label->key)) {
        (void)snprintf(text, OUTPUT_KEY_TEXT_BYTES, "-");
    } else {
        memcpy(text, "\\digest:", 8);
        output_hex(label->key.bytes, sizeof(label->key.bytes), text + 8);
    }
}

static json_t *
begin_json(const struct reading *reading)
{
    json_t *object = json_object();

    output_need(object != NULL);
    output_json_text(object, "file", reading->path);
    return object;
}

static void
add_entry_json(json_t *object, const struct segment_entry *entry)
{
    const struct block_label *label = &entry->label;
    const struct cascade_key key = {label->key_data, label->key_bytes};

    if (key.bytes > 0) {
        output_json_key(object, key);
    }
    output_json_hex(object, "key_digest", label->key.bytes,
                    sizeof(label->key.bytes));
    output_json_hex(object, "id", label->id.bytes, sizeof(label->id.bytes));
    output_json_unsigned(object, "bytes", entry->bytes);
    output_json_unsigned(object, "payload_offset", entry->offset);
    output_json_unsigned(object, "header_offset", entry->header_offset);
    output_json_unsigned(object, "seq", entry->seq);
}

// list

static void
print_file_json(const struct reading *reading, const struct segment_file *file,
                uint64_t records, uint64_t entries)
{
    const struct segment_facts *facts = &file->facts;
    json_t *object = begin_json(reading);

    output_json_text(object, "state", state_name(file));
    output_json_unsigned(object, "bytes", file->bytes);
    output_json_unsigned(object, "records", records);
    output_json_unsigned(object, "entries", entries);
    output_json_unsigned(object, "number", facts->number);
    output_json_unsigned(object, "alignment_bytes", facts->alignment_bytes);
    output_json_unsigned(object, "created_ns", facts->created_ns);
    output_json_text(object, "rebind",
                     facts->rebind_allowed ? "allowed" : "refused");
    output_json_hex(object, "uuid", facts->uuid, sizeof(facts->uuid));
    output_json_hex(object, "writer", facts->writer, sizeof(facts->writer));
    output_json_hex(object, "namespace_digest", facts->namespace_digest,
                    sizeof(facts->namespace_digest));
    if (facts->kind == SEGMENT_FILE_INDEX) {
        output_json_text(object, "subject", facts->subject_path);
        output_json_hex(object, "subject_uuid", facts->subject_uuid,
                        sizeof(facts->subject_uuid));
    }
    output_json_line(object);
}

static void
print_file_text(const struct reading *reading, const struct segment_file *file,
                uint64_t records, uint64_t entries)
{
    char uuid[2 * sizeof(file->facts.uuid) + 1];

    output_hex(file->facts.uuid, sizeof(file->facts.uuid), uuid);
    (void)printf("%-6s %8" PRIu64 " records %8" PRIu64 " entries %12" PRIu64
                 " bytes  %s  %s\n",
                 state_name(file), records, entries, file->bytes, uuid,
                 reading->path);
}

static bool
pass_entry(void *context, const struct segment_entry *entry)
{
    (void)context;
    (void)entry;
    return true;
}

static enum cascade_status
list_file(struct reading *reading, const struct segment_file *file)
{
    const struct segment_walk_options walk_options = {.verify = false};
    struct segment_walk_result walked;
    uint64_t records = file->record_count;
    uint64_t entries = file->entry_count;

    if (!file->sealed) {
        enum cascade_status status = segment_walk(
            reading->walker, file, &walk_options, 0, pass_entry, NULL, &walked);

        if (status != CASCADE_OK) {
            return status;
        }
        records = walked.records;
        entries = walked.entries;
    }
    (reading->request->json ? print_file_json
                            : print_file_text)(reading, file, records, entries);
    return CASCADE_OK;
}

// dump

static bool
print_entry(void *context, const struct segment_entry *entry)
{
    const struct reading *reading = context;
    const struct block_label *label = &entry->label;
    char key[OUTPUT_KEY_TEXT_BYTES];
    char id[OUTPUT_ID_TEXT_BYTES];

    if (reading->request->json) {
        json_t *object = begin_json(reading);

        output_json_text(object, "entry", entry_name(entry));
        add_entry_json(object, entry);
        output_json_unsigned(object, "version_time_ns", label->version.time_ns);
        output_json_unsigned(object, "checksum", entry->checksum);
        output_json_flag(object, "protected",
                         (label->flags & BLOCK_LABEL_PROTECTED) != 0);
        output_json_unsigned(object, "depth", label->depth);
        output_json_unsigned(object, "turn", label->turn);
        output_json_line(object);
        return true;
    }
    key_text(label, key);
    output_hex(label->id.bytes, sizeof(label->id.bytes), id);
    (void)printf("%12" PRIu64 " %8" PRIu64 " %-6s %c %12" PRIu64 "  %s  %s\n",
                 entry->header_offset, entry->seq, entry_name(entry),
                 (label->flags & BLOCK_LABEL_PROTECTED) != 0 ? 'p' : '-',
                 entry->bytes, id, key);
    return true;
}

static enum cascade_status
dump_file(struct reading *reading, const struct segment_file *file)
{
    const struct segment_walk_options walk_options = {.verify = false};
    struct segment_walk_result walked;

    if (!reading->request->json) {
        (void)printf("# %s, %s: offset, seq, entry, protected, bytes, id, "
                     "key\n",
                     reading->path, state_name(file));
    }
    if (file->facts.kind == SEGMENT_FILE_INDEX) {
        return segment_read_entries(reading->walker, file, print_entry,
                                    reading);
    }
    return segment_walk(reading->walker, file, &walk_options,
                        file->sealed ? file->data_bytes : 0, print_entry,
                        reading, &walked);
}

// verify

static void
print_damage(void *context, uint64_t offset, const char *what,
             const struct segment_entry *entry)
{
    struct reading *reading = context;
    char key[OUTPUT_KEY_TEXT_BYTES];
    char id[OUTPUT_ID_TEXT_BYTES];

    progress_stop(&reading->progress);
    reading->bad = true;
    if (reading->request->json) {
        json_t *object = begin_json(reading);

        output_json_text(object, "damage", what);
        output_json_unsigned(object, "offset", offset);
        if (entry != NULL) {
            add_entry_json(object, entry);
        }
        output_json_line(object);
        return;
    }
    (void)printf("%s: offset %" PRIu64 ": %s", reading->path, offset, what);
    if (entry != NULL) {
        key_text(&entry->label, key);
        output_hex(entry->label.id.bytes, sizeof(entry->label.id.bytes), id);
        (void)printf(": block %s of %" PRIu64 " bytes, key %s", id,
                     entry->bytes, key);
    }
    (void)putchar('\n');
}

static void
show_progress(void *context, uint64_t bytes)
{
    struct reading *reading = context;

    progress_note(&reading->progress, reading->done_bytes + bytes);
}

static void
print_verdict(struct reading *reading, const struct segment_file *file,
              const struct segment_verify_counts *counts)
{
    progress_stop(&reading->progress);
    if (reading->request->quiet && counts->damaged == 0) {
        return;
    }
    if (reading->request->json) {
        json_t *object = begin_json(reading);

        output_json_text(object, "state", state_name(file));
        output_json_text(object, "result",
                         counts->damaged == 0 ? "ok" : "damaged");
        output_json_unsigned(object, "records", counts->records);
        output_json_unsigned(object, "payloads", counts->payloads);
        output_json_unsigned(object, "payload_bytes", counts->payload_bytes);
        output_json_unsigned(object, "unfinished", counts->unfinished);
        output_json_unsigned(object, "damaged", counts->damaged);
        output_json_line(object);
        return;
    }
    (void)printf("%s: %s, %s, %" PRIu64 " records, %" PRIu64
                 " payloads of %" PRIu64 " bytes",
                 reading->path, counts->damaged == 0 ? "OK" : "DAMAGED",
                 state_name(file), counts->records, counts->payloads,
                 counts->payload_bytes);
    if (counts->unfinished > 0) {
        (void)printf(", %" PRIu64 " unfinished", counts->unfinished);
    }
    (void)putchar('\n');
}

static enum cascade_status
verify_file(struct reading *reading, const struct segment_file *file)
{
    const struct segment_verify verify = {
        .walker = reading->walker,
        .checker = reading->checker,
        .damaged = print_damage,
        .progressed = show_progress,
        .context = reading,
    };
    struct segment_verify_counts counts;
    enum cascade_status status = segment_verify_file(&verify, file, &counts);

    if (status == CASCADE_OK) {
        print_verdict(reading, file, &counts);
        reading->done_bytes += file->bytes;
    }
    return status;
}

// All three

typedef enum cascade_status
action(struct reading *reading, const struct segment_file *file);

static const struct {
    const char *name;
    action *run;
} action_table[] = {
    {"list", list_file},
    {"verify", verify_file},
    {"dump", dump_file},
};

static action *
find_action(const char *name)
{
    for (size_t i = 0; i < sizeof(action_table) / sizeof(action_table[0]);
         i++) {
        if (strcmp(name, action_table[i].name) == 0) {
            return action_table[i].run;
        }
    }
    return NULL;
}

// A file that is too short for a header: its writer is at work, or died then.
static void
print_empty(const struct reading *reading)
{
    if (reading->request->json) {
        json_t *object = begin_json(reading);

        output_json_text(object, "state", "empty");
        output_json_line(object);
    } else if (!reading->request->quiet) {
        (void)printf("%s: empty\n", reading->path);
    }
}

// A header that does not match is damage, and verify says so.
static void
print_unopened(struct reading *reading, enum cascade_status status)
{
    bool verifying = strcmp(reading->request->action, "verify") == 0;

    if (status == CASCADE_CORRUPT && verifying) {
        print_damage(reading, 0, "the file header is damaged", NULL);
        return;
    }
    reading->bad = true;
    (void)output_failure(status);
}

static void
run_file(struct reading *reading, action *run, char *path)
{
    struct segment_file *file;
    enum cascade_status status;

    reading->path = path;
    error_clear();
    status = segment_read_open(reading->walker, AT_FDCWD, path, path, &file,
                               NULL);
    if (status == CASCADE_STALE) {
        print_empty(reading);
        return;
    }
    if (status != CASCADE_OK) {
        print_unopened(reading, status);
        return;
    }
    status = run(reading, file);
    progress_stop(&reading->progress);
    if (status == CASCADE_OK && file->facts.kind == SEGMENT_FILE_HEADLESS) {
        status = error_set(CASCADE_CORRUPT,
                           "the header of %s is damaged; its trailer stands in "
                           "for it, and nothing is lost",
                           path);
    }
    if (status != CASCADE_OK) {
        reading->bad = true;
        (void)output_failure(status);
    }
    segment_read_close(reading->io, file);
}

static enum cascade_status
open_reading(struct reading *reading)
{
    const struct segment_io_options io_options = {
        .files = file_system_real(),
        .allocator = allocator_system(),
    };
    enum cascade_status status = segment_io_create(&io_options, &reading->io);
    struct segment_reader_options reader_options = {
        .allocator = allocator_system(),
    };

    reader_options.io = reading->io;
    if (status == CASCADE_OK) {
        status = segment_reader_create(&reader_options, &reading->walker);
    }
    if (status == CASCADE_OK) {
        status = segment_reader_create(&reader_options, &reading->checker);
    }
    return status;
}

static void
close_reading(struct reading *reading)
{
    if (reading->checker != NULL) {
        segment_reader_destroy(reading->checker);
    }
    if (reading->walker != NULL) {
        segment_reader_destroy(reading->walker);
    }
    segment_io_destroy(reading->io);
}

int
command_segment(int argc, char **argv)
{
    static const char what[] =
        "Lists segment files, verifies every byte of them, or dumps their "
        "records. PATH is a file or a folder.";
    const struct argp argp = {
        options, parse, "list PATH...\nverify PATH...\ndump PATH...",
        what,    NULL,  NULL,
        NULL,
    };
    struct segment_request request = {.status = CASCADE_OK};
    struct reading reading = {.request = &request};
    enum cascade_status status;
    action *run;

    (void)argp_parse(&argp, argc, argv, 0, NULL, &request);
    run = find_action(request.action);
    if (run == NULL) {
        segment_paths_release(&request.paths);
        output_note("segment: there is no '%s'; it is list, verify or dump",
                    request.action);
        return COMMAND_USAGE;
    }
    status = request.status;
    if (status == CASCADE_OK) {
        status = open_reading(&reading);
    }
    if (status == CASCADE_OK) {
        progress_start(&reading.progress, "verified", request.paths.bytes);
        for (size_t i = 0; i < request.paths.count; i++) {
            run_file(&reading, run, request.paths.paths[i]);
        }
    }
    close_reading(&reading);
    segment_paths_release(&request.paths);
    if (status != CASCADE_OK) {
        return output_failure(status);
    }
    return reading.bad ? COMMAND_NO : COMMAND_OK;
}
