// SPDX-License-Identifier: Apache-2.0
//
// Processes by the files of /proc. Stateless; no lock.

#include "base/process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/units.h"

#define PATH_BYTES 512
#define START_FIELD 22 // of /proc/<pid>/stat

// Reads the beginning of a small file; the bytes, or -errno.
static ssize_t
read_small(const struct file_system *files, const char *proc, const char *name,
           char *text, size_t size)
{
    char path[PATH_BYTES];
    ssize_t bytes;
    int file;

    (void)snprintf(path, sizeof(path), "%s/%s", proc, name);
    file = files->open_at(files->self, AT_FDCWD, path, O_RDONLY, 0);
    if (file < 0) {
        return file;
    }
    do {
        bytes = files->pread(files->self, file, text, size - 1, 0);
    } while (bytes == -EINTR);
    (void)files->close(files->self, file);
    text[bytes > 0 ? bytes : 0] = '\0';
    return bytes;
}

// The start of a process from the text of its stat file; 0 if it is not there.
// The name, in brackets, may hold spaces and brackets: skip to the last one.
static uint64_t
start_of(const char *text)
{
    const char *at = strrchr(text, ')');
    char digits[24];
    uint64_t start;
    size_t length;

    for (unsigned field = 2; at != NULL && field < START_FIELD; field++) {
        at = strchr(at + 1, ' ');
    }
    if (at == NULL) {
        return 0;
    }
    length = strspn(at + 1, "0123456789");
    if (length == 0 || length >= sizeof(digits)) {
        return 0;
    }
    memcpy(digits, at + 1, length);
    digits[length] = '\0';
    return units_parse_unsigned(digits, &start) ? start : 0;
}

static void
read_boot(const struct file_system *files, const char *proc, char *boot,
          size_t size)
{
    if (read_small(files, proc, "sys/kernel/random/boot_id", boot, size) < 0) {
        boot[0] = '\0';
    }
    boot[strcspn(boot, "\n")] = '\0';
}

static uint64_t
read_space(const struct file_system *files, const char *proc)
{
    char path[PATH_BYTES];
    struct stat found;

    (void)snprintf(path, sizeof(path), "%s/self/ns/pid", proc);
    return files->stat_at(files->self, AT_FDCWD, path, &found) == 0
               ? (uint64_t)found.st_ino
               : 0;
}

void
process_self(const struct file_system *files, const char *proc,
             struct process_identity *identity)
{
    char text[1024];

    memset(identity, 0, sizeof(*identity));
    identity->pid = (uint64_t)getpid();
    if (read_small(files, proc, "self/stat", text, sizeof(text)) > 0) {
        identity->start = start_of(text);
    }
    identity->space = read_space(files, proc);
    read_boot(files, proc, identity->boot, sizeof(identity->boot));
    if (gethostname(identity->host, sizeof(identity->host) - 1) != 0) {
        identity->host[0] = '\0';
    }
}

enum process_state
process_state(const struct file_system *files, const char *proc,
              const struct process_identity *identity)
{
    struct process_identity self;
    char name[48];
    char text[1024];
    ssize_t bytes;

    process_self(files, proc, &self);
    if (strncmp(self.host, identity->host, sizeof(self.host)) != 0) {
        return PROCESS_UNKNOWN;
    }
    if (strncmp(self.boot, identity->boot, sizeof(self.boot)) != 0) {
        return PROCESS_GONE;
    }
    if (self.space != identity->space || identity->start == 0) {
        return PROCESS_UNKNOWN;
    }
    (void)snprintf(name, sizeof(name), "%llu/stat",
                   (unsigned long long)identity->pid);
    bytes = read_small(files, proc, name, text, sizeof(text));
    if (bytes == -ENOENT || bytes == -ESRCH) {
        return PROCESS_GONE;
    }
    if (bytes <= 0) {
        return PROCESS_UNKNOWN;
    }
    return start_of(text) == identity->start ? PROCESS_ALIVE : PROCESS_GONE;
}
