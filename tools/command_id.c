// SPDX-License-Identifier: Apache-2.0
//
// cascade id: content ids of files, printed and checked as sha256sum does.
// Reads in pieces, so memory does not grow with the file.

#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/allocator.h"
#include "base/error.h"
#include "base/units.h"
#include "block/block_id.h"
#include "cascade/cascade.h"
#include "tools/command.h"
#include "tools/output.h"
#include "tools/progress.h"

// A multiple of what the hash works on in one go.
#define PIECE_BYTES (16 * BLOCK_ID_CHUNK_BYTES)

// A line of a list: id, two spaces, a name with every letter escaped, line end.
#define LINE_BYTES (BLOCK_ID_TEXT_BYTES + 2 * PATH_MAX + 4)

struct id_request {
    const char *list; // file to check against, NULL = print
    bool quiet;
    bool json;
    int first; // index of the first file, 0 = none
};

struct id_work {
    struct block_id_stream stream;
    uint8_t piece[PIECE_BYTES];
};

struct check_counts {
    uint64_t lines;
    uint64_t malformed;
    uint64_t unreadable;
    uint64_t wrong;
};

enum {
    OPTION_QUIET = 256,
};

static const struct argp_option options[] = {
    {"check", 'c', "LIST", 0,
     "Read ids and names from LIST (- is standard input) and check the files",
     0},
    {"quiet", OPTION_QUIET, NULL, 0, "With --check, say nothing of good files",
     0},
    {"json", 'j', NULL, 0, "Print one JSON object per file", 0},
    {NULL, 0, NULL, 0, NULL, 0},
};

static error_t
parse(int key, char *argument, struct argp_state *state)
{
    struct id_request *request = state->input;

    switch (key) {
    case 'c':
        request->list = argument;
        return 0;
    case OPTION_QUIET:
        request->quiet = true;
        return 0;
    case 'j':
        request->json = true;
        return 0;
    case ARGP_KEY_ARGS:
        request->first = state->next;
        return 0;
    case ARGP_KEY_END:
        if (request->list != NULL && request->first != 0) {
            argp_error(state, "--check takes no FILE");
        }
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static enum cascade_status
hash_descriptor(struct id_work *work, int descriptor, const char *name,
                struct progress *progress, struct block_id *id, uint64_t *bytes)
{
    uint64_t done = 0;

    block_id_start(&work->stream);
    for (;;) {
        ssize_t got = read(descriptor, work->piece, sizeof(work->piece));

        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return error_set_errno(errno, "cannot read %s", name);
        }
        if (got == 0) {
            break;
        }
        if ((uint64_t)got > BLOCK_ID_CONTENT_BYTES_MAX - done) {
            return error_set(CASCADE_TOO_LARGE,
                             "%s is larger than an id can cover", name);
        }
        block_id_add(&work->stream, work->piece, (size_t)got);
        done += (uint64_t)got;
        progress_note(progress, done);
    }
    block_id_finish(&work->stream, id);
    *bytes = done;
    return CASCADE_OK;
}

// The id of one file; "-" is standard input.
static enum cascade_status
hash_file(struct id_work *work, const char *name, struct block_id *id,
          uint64_t *bytes)
{
    bool standard = strcmp(name, "-") == 0;
    int descriptor = standard ? STDIN_FILENO : open(name, O_RDONLY | O_CLOEXEC);
    struct progress progress;
    struct stat facts;
    uint64_t total = 0;
    enum cascade_status status;

    if (descriptor < 0) {
        return error_set_errno(errno, "cannot read %s", name);
    }
    if (fstat(descriptor, &facts) == 0 && S_ISREG(facts.st_mode)) {
        total = (uint64_t)facts.st_size;
    }
    progress_start(&progress, name, total);
    status = hash_descriptor(work, descriptor, name, &progress, id, bytes);
    progress_stop(&progress);
    if (!standard) {
        (void)close(descriptor);
    }
    return status;
}

// Prints a name so that one line is one name: backslash and line ends escaped.
static void
print_escaped(const char *name)
{
    for (; *name != '\0'; name++) {
        switch (*name) {
        case '\\':
            (void)fputs("\\\\", stdout);
            break;
        case '\n':
            (void)fputs("\\n", stdout);
            break;
        case '\r':
            (void)fputs("\\r", stdout);
            break;
        default:
            (void)putchar(*name);
            break;
        }
    }
}

static void
print_id(const char *name, const struct block_id *id, uint64_t bytes, bool json)
{
    char text[BLOCK_ID_TEXT_BYTES];

    block_id_format(id, text);
    if (json) {
        json_t *object = json_object();

        output_need(object != NULL);
        output_json_text(object, "name", name);
        output_json_text(object, "id", text);
        output_json_unsigned(object, "bytes", bytes);
        output_json_line(object);
        return;
    }
    (void)printf("%s%s  ", strpbrk(name, "\\\n\r") != NULL ? "\\" : "", text);
    print_escaped(name);
    (void)putchar('\n');
}

static int
print_files(struct id_work *work, char *const *names, bool json)
{
    int answer = COMMAND_OK;

    for (size_t i = 0; names[i] != NULL; i++) {
        struct block_id id;
        uint64_t bytes = 0;
        enum cascade_status status = hash_file(work, names[i], &id, &bytes);

        if (status == CASCADE_OK) {
            print_id(names[i], &id, bytes, json);
        } else {
            (void)output_failure(status);
            answer = COMMAND_NO;
        }
    }
    return answer;
}

// Undoes print_escaped in place. False if an escape is unknown.
static bool
unescape(char *name)
{
    char *to = name;

    for (; *name != '\0'; name++) {
        if (*name != '\\') {
            *to++ = *name;
            continue;
        }
        name++;
        if (*name != '\\' && *name != 'n' && *name != 'r') {
            return false;
        }
        *to++ = *name == 'n' ? '\n' : *name == 'r' ? '\r' : '\\';
    }
    *to = '\0';
    return true;
}

// Takes a line apart; `*name` points into it. False if it is not of the form
// that is printed.
static bool
split_line(char *line, struct block_id *id, char **name)
{
    bool escaped = line[0] == '\\';
    char *text = escaped ? line + 1 : line;
    size_t digits = 2 * BLOCK_ID_BYTES;
    char *end = strchr(text, '\n');

    if (end != NULL) {
        *end = '\0';
    }
    if (strlen(text) < digits + 3 || text[digits] != ' ' ||
        text[digits + 1] != ' ') {
        return false;
    }
    text[digits] = '\0';
    *name = text + digits + 2;
    return block_id_parse(text, id) == CASCADE_OK &&
           (!escaped || unescape(*name));
}

static void
print_verdict(const char *name, const char *verdict, bool json)
{
    if (json) {
        json_t *object = json_object();

        output_need(object != NULL);
        output_json_text(object, "name", name);
        output_json_text(object, "result", verdict);
        output_json_line(object);
    } else {
        (void)printf("%s: %s\n", name, verdict);
    }
}

static void
check_line(struct id_work *work, const struct id_request *request, char *line,
           struct check_counts *counts)
{
    struct block_id wanted;
    struct block_id id;
    uint64_t bytes = 0;
    char *name;

    if (!split_line(line, &wanted, &name)) {
        counts->malformed++;
        return;
    }
    counts->lines++;
    if (hash_file(work, name, &id, &bytes) != CASCADE_OK) {
        (void)output_failure(CASCADE_IO);
        counts->unreadable++;
        print_verdict(name, request->json ? "unreadable" : "FAILED to read",
                      request->json);
    } else if (!block_id_equal(&id, &wanted)) {
        counts->wrong++;
        print_verdict(name, request->json ? "wrong" : "FAILED", request->json);
    } else if (!request->quiet) {
        print_verdict(name, request->json ? "ok" : "OK", request->json);
    }
}

static int
check_summary(const char *list, const struct check_counts *counts)
{
    if (counts->lines == 0) {
        output_note("%s has no line of the form `id  name`", list);
        return COMMAND_NO;
    }
    if (counts->malformed > 0) {
        output_note("%" PRIu64 " lines of %s are not of the form `id  name`",
                    counts->malformed, list);
    }
    if (counts->unreadable > 0) {
        output_note("%" PRIu64 " files could not be read", counts->unreadable);
    }
    if (counts->wrong > 0) {
        output_note("%" PRIu64 " files have another id", counts->wrong);
    }
    return counts->unreadable + counts->wrong + counts->malformed == 0
               ? COMMAND_OK
               : COMMAND_NO;
}

static int
check_list(struct id_work *work, const struct id_request *request)
{
    bool standard = strcmp(request->list, "-") == 0;
    FILE *list = standard ? stdin : fopen(request->list, "re");
    struct check_counts counts = {0};
    char line[LINE_BYTES];
    bool broken;

    if (list == NULL) {
        return output_failure(
            error_set_errno(errno, "cannot read %s", request->list));
    }
    while (fgets(line, sizeof(line), list) != NULL) {
        check_line(work, request, line, &counts);
    }
    broken = ferror(list) != 0;
    if (!standard) {
        (void)fclose(list);
    }
    if (broken) {
        output_note("cannot read %s", request->list);
        return COMMAND_NO;
    }
    return check_summary(request->list, &counts);
}

int
command_id(int argc, char **argv)
{
    static const char what[] =
        "Prints the content id (cascade-sha256t-v1) and name of each FILE; "
        "without FILE, or for -, of standard input.";
    const struct argp argp = {
        options, parse, "[FILE...]", what, NULL, NULL, NULL,
    };
    char dash[] = "-";
    char *const standard_input[] = {dash, NULL};
    struct id_request request = {.list = NULL};
    struct id_work *work;
    int answer;

    (void)argp_parse(&argp, argc, argv, 0, NULL, &request);
    work = allocator_array(allocator_system(), 1, sizeof(*work));
    if (work == NULL) {
        output_note("the system gave no memory");
        return COMMAND_NO;
    }
    if (request.list != NULL) {
        answer = check_list(work, &request);
    } else {
        answer = print_files(
            work, request.first == 0 ? standard_input : argv + request.first,
            request.json);
    }
    allocator_release(allocator_system(), work);
    return answer;
}
