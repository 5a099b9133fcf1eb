// SPDX-License-Identifier: Apache-2.0
//
// Reads and writes whole files. The temporary file of a write is removed on
// failure and when the user interrupts.

#include "tools/whole_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/allocator.h"
#include "base/error.h"
#include "base/units.h"
#include "cascade/cascade.h"

// The temporary file, for the signal handler: empty while there is none. One
// file is written at a time.
static char temporary_path[PATH_MAX];
static volatile sig_atomic_t temporary_exists;

static void
remove_temporary_and_die(int number)
{
    if (temporary_exists) {
        (void)unlink(temporary_path);
    }
    (void)signal(number, SIG_DFL);
    (void)raise(number);
}

static void
watch_signals(void (*handler)(int))
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};

    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        void (*old)(int) = signal(numbers[i], handler);

        if (old == SIG_IGN) {
            (void)signal(numbers[i], SIG_IGN);
        }
    }
}

// Makes room for at least `room` bytes, keeping what is there.
static enum cascade_status
grow(struct whole_file *file, size_t room)
{
    void *data = allocator_array(allocator_system(), room, 1);

    if (data == NULL) {
        return error_set(CASCADE_NO_MEMORY,
                         "no memory for a block of %zu bytes; free some", room);
    }
    if (file->bytes > 0) {
        memcpy(data, file->data, file->bytes);
    }
    allocator_release(allocator_system(), file->data);
    file->data = data;
    file->room = room;
    return CASCADE_OK;
}

static enum cascade_status
read_to_end(int descriptor, const char *name, struct whole_file *file)
{
    for (;;) {
        ssize_t got;

        if (file->bytes > CASCADE_BLOCK_BYTES_MAX) {
            return error_set(CASCADE_TOO_LARGE,
                             "%s is larger than the largest block, %llu bytes; "
                             "split it",
                             name, (unsigned long long)CASCADE_BLOCK_BYTES_MAX);
        }
        if (file->bytes == file->room) {
            enum cascade_status status = grow(file, file->room * 2);

            if (status != CASCADE_OK) {
                return status;
            }
        }
        got = read(descriptor, (char *)file->data + file->bytes,
                   units_min(file->room - file->bytes, GIB));
        if (got == 0) {
            return CASCADE_OK;
        }
        if (got > 0) {
            file->bytes += (size_t)got;
        } else if (errno != EINTR) {
            return error_set_errno(errno, "cannot read %s", name);
        }
    }
}

// Writes all of it at the descriptor's position.
static enum cascade_status
write_to(int descriptor, const char *name, const void *data, size_t bytes)
{
    const char *from = data;

    while (bytes > 0) {
        ssize_t done = write(descriptor, from, units_min(bytes, GIB));

        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done < 0) {
            return error_set_errno(errno, "cannot write %s", name);
        }
        from += done;
        bytes -= (size_t)done;
    }
    return CASCADE_OK;
}

static enum cascade_status
close_written(int descriptor, const char *name, enum cascade_status status)
{
    if (close(descriptor) != 0 && status == CASCADE_OK) {
        status = error_set_errno(errno, "cannot write %s", name);
    }
    return status;
}

static enum cascade_status
write_in_place(const char *path, const void *data, size_t bytes)
{
    int descriptor = open(path, O_WRONLY | O_CLOEXEC);

    if (descriptor < 0) {
        return error_set_errno(errno, "cannot write %s", path);
    }
    return close_written(descriptor, path,
                         write_to(descriptor, path, data, bytes));
}

// Creates the temporary file beside `path` with the modes that a plain create
// would give. Returns its descriptor, or -1 with errno.
static int
open_temporary(const char *path)
{
    int descriptor;
    mode_t mask = umask(0);

    (void)umask(mask);
    if ((size_t)snprintf(temporary_path, sizeof(temporary_path), "%s.XXXXXX",
                         path) >= sizeof(temporary_path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    watch_signals(remove_temporary_and_die);
    descriptor = mkostemp(temporary_path, O_CLOEXEC);
    if (descriptor >= 0) {
        temporary_exists = 1;
        (void)fchmod(descriptor, 0666 & ~mask);
    }
    return descriptor;
}

static enum cascade_status
write_and_rename(const char *path, const void *data, size_t bytes)
{
    int descriptor = open_temporary(path);
    enum cascade_status status;

    if (descriptor < 0) {
        watch_signals(SIG_DFL);
        return error_set_errno(errno, "cannot create a file beside %s", path);
    }
    status = write_to(descriptor, path, data, bytes);
    status = close_written(descriptor, path, status);
    if (status == CASCADE_OK && rename(temporary_path, path) != 0) {
        status = error_set_errno(errno, "cannot write %s", path);
    }
    if (status != CASCADE_OK) {
        (void)unlink(temporary_path);
    }
    temporary_exists = 0;
    watch_signals(SIG_DFL);
    return status;
}

enum cascade_status
whole_file_reserve(struct whole_file *file, size_t bytes)
{
    memset(file, 0, sizeof(*file));
    return grow(file, units_max(bytes, 1));
}

enum cascade_status
whole_file_read(const char *path, struct whole_file *file)
{
    bool standard = strcmp(path, "-") == 0;
    const char *name = standard ? "standard input" : path;
    int descriptor = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    struct whole_file got;
    struct stat facts;
    enum cascade_status status;
    size_t room = 64 * KIB;

    if (descriptor < 0 || fstat(descriptor, &facts) != 0) {
        status = error_set_errno(errno, "cannot read %s", name);
        if (descriptor >= 0 && !standard) {
            (void)close(descriptor);
        }
        return status;
    }
    if (S_ISREG(facts.st_mode)) {
        // One more byte than the file has shows its end without growing.
        room = units_min((uint64_t)facts.st_size, CASCADE_BLOCK_BYTES_MAX) + 1;
    }
    status = whole_file_reserve(&got, room);
    if (status == CASCADE_OK) {
        status = read_to_end(descriptor, name, &got);
    }
    if (!standard) {
        (void)close(descriptor);
    }
    if (status != CASCADE_OK) {
        whole_file_release(&got);
        return status;
    }
    *file = got;
    return CASCADE_OK;
}

void
whole_file_release(struct whole_file *file)
{
    allocator_release(allocator_system(), file->data);
    memset(file, 0, sizeof(*file));
}

enum cascade_status
whole_file_write(const char *path, const void *data, size_t bytes)
{
    char resolved[PATH_MAX];
    struct stat facts;

    if (strcmp(path, "-") == 0) {
        return write_to(STDOUT_FILENO, "standard output", data, bytes);
    }
    if (stat(path, &facts) != 0) {
        return write_and_rename(path, data, bytes);
    }
    if (S_ISDIR(facts.st_mode)) {
        return error_set(CASCADE_INVALID,
                         "%s is a folder; name a file to write", path);
    }
    if (!S_ISREG(facts.st_mode)) {
        return write_in_place(path, data, bytes);
    }
    // Through a link to the file itself.
    if (realpath(path, resolved) == NULL) {
        return error_set_errno(errno, "cannot write %s", path);
    }
    return write_and_rename(resolved, data, bytes);
}
