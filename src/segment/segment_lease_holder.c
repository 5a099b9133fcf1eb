// SPDX-License-Identifier: Apache-2.0
//
// Identity of processes, from /proc. What /proc does not tell stays zero, which
// only makes a dead holder's lease run its full time. No lock.

#include "segment/segment_lease_holder.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc32c.h"

#define LEASE_VERSION 1
// Of /proc/<pid>/stat, after the command's name.
#define FIELD_STATE 0
#define FIELD_THREADS 17
#define FIELD_START 19

static const char lease_magic[8] = "CSCDLEAS";

// The text of a small file; "" if it cannot be read.
static void
read_text(const char *path, char *text, size_t size)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t bytes = file < 0 ? -1 : read(file, text, size - 1);

    if (file >= 0) {
        (void)close(file);
    }
    text[bytes < 0 ? 0 : bytes] = '\0';
}

struct process_facts {
    uint64_t start; // 0: the system does not say
    bool has_ended; // and nobody has asked how
};

// The field's text; NULL if the system does not say.
static const char *
field_of(const char *text, unsigned field)
{
    const char *at = strrchr(text, ')');

    for (unsigned i = 0; at != NULL && i <= field; i++) {
        at = strchr(at + 1, ' ');
    }
    return at == NULL ? NULL : at + 1;
}

// A process whose parent does not care for it stays in the table for ever. Its
// last thread was gone, with all files, before it came to that.
static struct process_facts
look_at_process(uint64_t process)
{
    struct process_facts facts = {0};
    char path[64];
    char text[1024];
    const char *state;
    const char *threads;
    const char *start;

    (void)snprintf(path, sizeof(path), "/proc/%llu/stat",
                   (unsigned long long)process);
    read_text(path, text, sizeof(text));
    state = field_of(text, FIELD_STATE);
    threads = field_of(text, FIELD_THREADS);
    start = field_of(text, FIELD_START);
    if (start != NULL) {
        facts.start = strtoull(start, NULL, 10);
        facts.has_ended = (*state == 'Z' || *state == 'X') &&
                          strtoull(threads, NULL, 10) <= 1;
    }
    return facts;
}

static uint64_t
inode_of(const char *path)
{
    struct stat found;

    return stat(path, &found) == 0 ? (uint64_t)found.st_ino : 0;
}

void
segment_lease_holder_read(struct segment_lease_holder *holder)
{
    struct segment_lease_holder read = {.process = (uint64_t)getpid()};

    read_text("/proc/sys/kernel/random/boot_id", read.boot, sizeof(read.boot));
    read.boot[strcspn(read.boot, "\n")] = '\0';
    if (gethostname(read.host, sizeof(read.host) - 1) != 0) {
        read.host[0] = '\0';
    }
    read.process_start = look_at_process(read.process).start;
    read.pid_namespace = inode_of("/proc/self/ns/pid");
    read.time_namespace = inode_of("/proc/self/ns/time");
    *holder = read;
}

void
segment_lease_holder_encode(const struct segment_lease_holder *holder,
                            struct segment_lease_record *record)
{
    memset(record, 0, sizeof(*record));
    memcpy(record->magic, lease_magic, sizeof(record->magic));
    record->version = LEASE_VERSION;
    memcpy(record->boot, holder->boot, sizeof(record->boot));
    memcpy(record->host, holder->host, sizeof(record->host));
    record->process = holder->process;
    record->process_start = holder->process_start;
    record->pid_namespace = holder->pid_namespace;
    record->time_namespace = holder->time_namespace;
    record->job = holder->job;
    record->lease_ns = holder->lease_ns;
    record->since_wall_ns = holder->since_wall_ns;
    record->checksum = crc32c(0, record,
                              sizeof(*record) - sizeof(record->checksum));
}

bool
segment_lease_holder_decode(const struct segment_lease_record *record,
                            struct segment_lease_holder *holder)
{
    if (memcmp(record->magic, lease_magic, sizeof(lease_magic)) != 0 ||
        record->version != LEASE_VERSION ||
        crc32c(0, record, sizeof(*record) - sizeof(record->checksum)) !=
            record->checksum) {
        return false;
    }
    memset(holder, 0, sizeof(*holder));
    memcpy(holder->boot, record->boot, sizeof(holder->boot) - 1);
    memcpy(holder->host, record->host, sizeof(holder->host) - 1);
    holder->process = record->process;
    holder->process_start = record->process_start;
    holder->pid_namespace = record->pid_namespace;
    holder->time_namespace = record->time_namespace;
    holder->job = record->job;
    holder->lease_ns = record->lease_ns;
    holder->since_wall_ns = record->since_wall_ns;
    return true;
}

bool
segment_lease_holder_is_gone(const struct segment_lease_holder *holder,
                             const struct segment_lease_holder *self)
{
    struct process_facts facts;

    if (holder->boot[0] == '\0' || strcmp(holder->boot, self->boot) != 0 ||
        holder->pid_namespace == 0 || holder->process_start == 0 ||
        holder->pid_namespace != self->pid_namespace || holder->process == 0 ||
        holder->process > INT32_MAX) {
        return false;
    }
    // Asked first: /proc may hide other users' processes.
    if (kill((pid_t)holder->process, 0) != 0 && errno == ESRCH) {
        return true;
    }
    facts = look_at_process(holder->process);
    return facts.start != 0 &&
           (facts.start != holder->process_start || facts.has_ended);
}

bool
segment_lease_holder_same_clock(const struct segment_lease_holder *a,
                                const struct segment_lease_holder *b)
{
    return a->boot[0] != '\0' && strcmp(a->boot, b->boot) == 0 &&
           a->time_namespace != 0 && a->time_namespace == b->time_namespace;
}
