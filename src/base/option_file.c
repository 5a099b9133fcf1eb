// SPDX-License-Identifier: Apache-2.0
//
// Option files, parsed by inih: `name = value` lines, comments after `;` or
// `#`. Not its other dialects: no sections, no values over several lines. inih
// asks for lines; they come through the file-system table, so that its faults
// arrive here. No lock.

#include "base/option.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/error.h"
#include "base/file.h"

#define BUFFER_BYTES 4096

struct reading {
    struct option_set *set;
    const struct file_system *files;
    const char *path;
    int file;
    uint64_t offset; // in the file, of what comes behind the buffer
    char buffer[BUFFER_BYTES];
    size_t used; // bytes in the buffer
    size_t next; // the first that no line has taken
    int line;    // number of the last line that was handed out
    int refused; // line that `status` speaks of
    enum cascade_status status;
};

static void
refuse(struct reading *reading, enum cascade_status status)
{
    reading->refused = reading->line;
    reading->status = status;
}

// The next byte, -1 at the end, or -2 after a failure, which is noted.
static int
next_byte(struct reading *reading)
{
    ssize_t bytes;

    if (reading->next < reading->used) {
        return (unsigned char)reading->buffer[reading->next++];
    }
    do {
        bytes = reading->files->pread(reading->files->self, reading->file,
                                      reading->buffer, BUFFER_BYTES,
                                      reading->offset);
    } while (bytes == -EINTR);
    if (bytes < 0) {
        refuse(reading,
               error_set_errno((int)-bytes, "cannot read options from %s",
                               reading->path));
        return -2;
    }
    reading->offset += (uint64_t)bytes;
    reading->used = (size_t)bytes;
    reading->next = 0;
    return bytes == 0 ? -1 : (unsigned char)reading->buffer[reading->next++];
}

// Copies one line without the space before it, which would continue a value,
// and without a comment after `#`, which inih knows at the start only. False
// at the end and after a failure.
static bool
copy_line(struct reading *reading, char *line, size_t size)
{
    size_t used = 0;
    char before = ' ';
    bool comment = false;
    int byte = next_byte(reading);

    if (byte < 0) {
        return false;
    }
    reading->line++;
    for (; byte >= 0 && byte != '\n'; byte = next_byte(reading)) {
        bool space = isspace(byte) != 0;

        if (byte == '\0') {
            refuse(reading, error_set(CASCADE_INVALID,
                                      "%s:%d: a byte of zero; this is not a "
                                      "file of options",
                                      reading->path, reading->line));
            return false;
        }
        comment = comment || (byte == '#' && isspace((unsigned char)before));
        before = (char)byte;
        if (comment || (space && used == 0)) {
            continue;
        }
        if (used + 1 == size) {
            refuse(reading, error_set(CASCADE_INVALID,
                                      "%s:%d: at most %zu bytes in a line; "
                                      "give a longer value by the environment",
                                      reading->path, reading->line, size - 1));
            return false;
        }
        line[used++] = (char)byte;
    }
    line[used] = '\0';
    return byte != -2;
}

// What inih calls for each line, as fgets.
static char *
read_line(char *line, int size, void *context)
{
    struct reading *reading = context;

    check(size > 1);
    if (reading->status != CASCADE_OK ||
        !copy_line(reading, line, (size_t)size)) {
        return NULL;
    }
    return line;
}

// What inih calls for each value; 0 is a failure.
static int
take_value(void *context, const char *section, const char *name,
           const char *value)
{
    struct reading *reading = context;
    char where[256];

    (void)snprintf(where, sizeof(where), "%.200s:%d: ", reading->path,
                   reading->line);
    if (*section != '\0') {
        refuse(reading, error_set(CASCADE_INVALID,
                                  "%soptions have no sections; remove [%s]",
                                  where, section));
    } else {
        refuse(reading, option_assign(reading->set, OPTION_ORIGIN_FILE, where,
                                      name, value));
    }
    return reading->status == CASCADE_OK;
}

static enum cascade_status
parse(struct reading *reading)
{
    int bad = ini_parse_stream(read_line, reading, take_value, reading);

    if (bad < 0) {
        return error_set(CASCADE_NO_MEMORY, "no memory to read %s",
                         reading->path);
    }
    // inih reads on behind a line that it cannot read.
    if (bad > 0 && (reading->status == CASCADE_OK || bad < reading->refused)) {
        return error_set(CASCADE_INVALID, "%.200s:%d: write `name = value`",
                         reading->path, bad);
    }
    return reading->status;
}

enum cascade_status
option_load_file(struct option_set *set, const struct file_system *files,
                 const char *path)
{
    struct reading reading = {.set = set, .files = files, .path = path};
    enum cascade_status status;

    reading.file = files->open_at(files->self, AT_FDCWD, path, O_RDONLY, 0);
    if (reading.file < 0) {
        return error_set_errno(-reading.file, "cannot open options file %s",
                               path);
    }
    status = parse(&reading);
    (void)files->close(files->self, reading.file);
    return status;
}
