// SPDX-License-Identifier: Apache-2.0
//
// Limits of the machine, from the text files of the kernel: meminfo, the limits
// and the status of the process, and the control groups it is in (v1 and v2,
// every ancestor). A file that is missing or not understood does not limit. No
// lock.

#include "base/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/file.h"
#include "base/units.h"

#define TEXT_BYTES 8192
#define PATH_BYTES 4096
#define GROUP_DEPTH_MAX 64

// Version 1 writes "no limit" as a number near the largest; so does 2^62.
#define CGROUP_UNLIMITED ((uint64_t)1 << 62)

// Where files are looked up. The text of one file at a time.
struct reader {
    const struct file_system *files;
    const char *root;
    char text[TEXT_BYTES];
};

// Reads root + path into the reader's text, cut at its room; false if it cannot
// be read.
static bool
read_text(struct reader *reader, const char *path)
{
    const struct file_system *files = reader->files;
    char full[PATH_BYTES];
    size_t done = 0;
    ssize_t now = 0;
    int file;

    if ((size_t)snprintf(full, sizeof(full), "%s%s", reader->root, path) >=
        sizeof(full)) {
        return false;
    }
    file = files->open_at(files->self, AT_FDCWD, full, O_RDONLY, 0);
    if (file < 0) {
        return false;
    }
    while (done + 1 < TEXT_BYTES) {
        now = files->pread(files->self, file, reader->text + done,
                           TEXT_BYTES - 1 - done, done);
        if (now == -EINTR) {
            continue;
        }
        if (now <= 0) {
            break;
        }
        done += (size_t)now;
    }
    reader->text[done] = '\0';
    (void)files->close(files->self, file);
    return now >= 0;
}

// Reads digits after spaces; false if there is none.
static bool
read_number(const char *text, uint64_t *number)
{
    char digits[24];
    size_t length;

    text += strspn(text, " \t");
    length = strspn(text, "0123456789");
    if (length == 0 || length >= sizeof(digits)) {
        return false;
    }
    memcpy(digits, text, length);
    digits[length] = '\0';
    return units_parse_unsigned(digits, number);
}

// The number after the key that begins a line.
static bool
number_after(const char *text, const char *key, uint64_t *number)
{
    const char *at = strstr(text, key);

    while (at != NULL && at != text && at[-1] != '\n') {
        at = strstr(at + 1, key);
    }
    return at != NULL && read_number(at + strlen(key), number);
}

// The directory of a group at one depth: base + path cut after `depth` parts.
// False when the path has fewer.
static bool
cut_path(const char *path, unsigned depth, char *cut)
{
    size_t end = 0;

    for (unsigned i = 0; i < depth; i++) {
        if (path[end] != '/' || path[end + 1] == '\0') {
            return false;
        }
        end++;
        end += strcspn(path + end, "/");
    }
    memcpy(cut, path, end);
    cut[end] = '\0';
    return true;
}

// Reads base + (path cut at depth) + file.
static bool
read_group_file(struct reader *reader, const char *base, const char *part,
                const char *file)
{
    char path[PATH_BYTES];

    return (size_t)snprintf(path, sizeof(path), "%s%s/%s", base, part, file) <
               sizeof(path) &&
           read_text(reader, path);
}

// The smallest memory limit among the group and its ancestors.
static uint64_t
group_memory(struct reader *reader, const char *base, const char *path,
             const char *file)
{
    uint64_t least = MACHINE_UNLIMITED;
    char part[PATH_BYTES];

    for (unsigned depth = 0;
         depth < GROUP_DEPTH_MAX && cut_path(path, depth, part); depth++) {
        uint64_t bytes;

        if (read_group_file(reader, base, part, file) &&
            read_number(reader->text, &bytes) && bytes < CGROUP_UNLIMITED) {
            least = units_min(least, bytes);
        }
    }
    return least;
}

static uint32_t
cpus_of_quota(uint64_t quota, uint64_t period)
{
    uint64_t cpus = period == 0 ? UINT32_MAX : (quota + period - 1) / period;

    return (uint32_t)units_min(units_max(cpus, 1), UINT32_MAX);
}

// The smallest processor quota, version 2: "max 100000" or "150000 100000".
static uint32_t
group_cpus_two(struct reader *reader, const char *base, const char *path)
{
    uint32_t least = UINT32_MAX;
    char part[PATH_BYTES];

    for (unsigned depth = 0;
         depth < GROUP_DEPTH_MAX && cut_path(path, depth, part); depth++) {
        uint64_t quota;
        uint64_t period;

        if (read_group_file(reader, base, part, "cpu.max") &&
            read_number(reader->text, &quota) &&
            read_number(reader->text + strcspn(reader->text, " "), &period)) {
            least = (uint32_t)units_min(least, cpus_of_quota(quota, period));
        }
    }
    return least;
}

// The same for version 1, which has two files; a quota of -1 is none.
static uint32_t
group_cpus_one(struct reader *reader, const char *base, const char *path)
{
    uint32_t least = UINT32_MAX;
    char part[PATH_BYTES];

    for (unsigned depth = 0;
         depth < GROUP_DEPTH_MAX && cut_path(path, depth, part); depth++) {
        uint64_t quota;
        uint64_t period;

        if (read_group_file(reader, base, part, "cpu.cfs_quota_us") &&
            read_number(reader->text, &quota) &&
            read_group_file(reader, base, part, "cpu.cfs_period_us") &&
            read_number(reader->text, &period)) {
            least = (uint32_t)units_min(least, cpus_of_quota(quota, period));
        }
    }
    return least;
}

static bool
lists(const char *controllers, const char *name)
{
    size_t length = strlen(name);

    while (*controllers != '\0') {
        size_t part = strcspn(controllers, ",");

        if (part == length && memcmp(controllers, name, length) == 0) {
            return true;
        }
        controllers += part;
        controllers += *controllers == ',' ? 1 : 0;
    }
    return false;
}

// Takes one line of /proc/self/cgroup: "number:controllers:path".
static void
take_group(struct reader *reader, char *line, struct machine_limits *limits)
{
    char *controllers = strchr(line, ':');
    char *path = controllers != NULL ? strchr(controllers + 1, ':') : NULL;

    if (path == NULL) {
        return;
    }
    controllers++;
    *path++ = '\0';
    if (*controllers == '\0') {
        limits->cgroup_bytes = units_min(
            limits->cgroup_bytes,
            units_min(
                group_memory(reader, "/sys/fs/cgroup", path, "memory.max"),
                group_memory(reader, "/sys/fs/cgroup", path, "memory.high")));
        limits->cpus = (uint32_t)units_min(
            limits->cpus, group_cpus_two(reader, "/sys/fs/cgroup", path));
    }
    if (lists(controllers, "memory")) {
        limits->cgroup_bytes = units_min(
            limits->cgroup_bytes, group_memory(reader, "/sys/fs/cgroup/memory",
                                               path, "memory.limit_in_bytes"));
    }
    if (lists(controllers, "cpu")) {
        limits->cpus = (uint32_t)units_min(
            limits->cpus, group_cpus_one(reader, "/sys/fs/cgroup/cpu", path));
    }
}

static void
read_groups(struct reader *reader, struct machine_limits *limits)
{
    char groups[TEXT_BYTES];
    char *rest = groups;
    char *line;

    if (!read_text(reader, "/proc/self/cgroup")) {
        return;
    }
    memcpy(groups, reader->text, sizeof(groups));
    while ((line = strsep(&rest, "\n")) != NULL) {
        take_group(reader, line, limits);
    }
}

// Counts a list such as "0-3,8"; 0 if it is none.
static uint32_t
count_listed(const char *text)
{
    uint64_t count = 0;

    for (;;) {
        uint64_t first;
        uint64_t last;

        text += strspn(text, " \t,");
        if (!read_number(text, &first)) {
            return (uint32_t)units_min(count, UINT32_MAX);
        }
        text += strspn(text, "0123456789");
        last = first;
        if (*text == '-' && read_number(text + 1, &last)) {
            text += 1 + strspn(text + 1, "0123456789");
        }
        count += last >= first ? last - first + 1 : 0;
    }
}

static void
read_affinity(struct reader *reader, struct machine_limits *limits)
{
    static const char key[] = "Cpus_allowed_list:";
    const char *at;
    uint32_t count;

    if (!read_text(reader, "/proc/self/status")) {
        return;
    }
    at = strstr(reader->text, key);
    count = at != NULL ? count_listed(at + strlen(key)) : 0;
    if (count > 0) {
        limits->cpus = count;
    }
}

// What the system itself says, without its files.
static void
read_system(struct machine_limits *limits)
{
    long pages = sysconf(_SC_PHYS_PAGES);
    long page = sysconf(_SC_PAGESIZE);
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    struct rlimit limit;

    if (limits->ram_bytes == MACHINE_UNLIMITED && pages > 0 && page > 0) {
        limits->ram_bytes = (uint64_t)pages * (uint64_t)page;
    }
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
        limits->address_space_bytes = (uint64_t)limit.rlim_cur;
    }
    if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 &&
        limit.rlim_cur != RLIM_INFINITY) {
        limits->memlock_bytes = (uint64_t)limit.rlim_cur;
    }
    if (limits->cpus == 0) {
        limits->cpus = cpus > 0 ? (uint32_t)cpus : 1;
    }
}

static void
take_least(struct machine_limits *limits)
{
    limits->memory_bytes = units_min(
        units_min(limits->ram_bytes, limits->job_bytes),
        units_min(limits->cgroup_bytes, limits->address_space_bytes));
}

void
machine_read(const struct file_system *files, const char *root,
             struct machine_limits *limits)
{
    struct reader reader = {.files = files, .root = root};
    uint64_t number;

    *limits = (struct machine_limits){
        .ram_bytes = MACHINE_UNLIMITED,
        .cgroup_bytes = MACHINE_UNLIMITED,
        .address_space_bytes = MACHINE_UNLIMITED,
        .memlock_bytes = MACHINE_UNLIMITED,
        .job_bytes = MACHINE_UNLIMITED,
        .cpus = 0,
        .ranks_on_node = 1,
    };
    if (read_text(&reader, "/proc/meminfo") &&
        number_after(reader.text, "MemTotal:", &number)) {
        limits->ram_bytes = number * KIB;
    }
    if (read_text(&reader, "/proc/self/limits")) {
        if (number_after(reader.text, "Max address space", &number)) {
            limits->address_space_bytes = number;
        }
        if (number_after(reader.text, "Max locked memory", &number)) {
            limits->memlock_bytes = number;
        }
    }
    read_affinity(&reader, limits);
    if (root[0] == '\0') {
        read_system(limits);
    }
    limits->cpus = (uint32_t)units_max(limits->cpus, 1);
    read_groups(&reader, limits);
    take_least(limits);
}

// The number that a variable begins with; false if there is none above zero.
static bool
number_of(const char *(*look_up)(const char *name), const char *name,
          uint64_t *number)
{
    const char *text = look_up(name);

    return text != NULL && read_number(text, number) && *number > 0 &&
           *number < UINT32_MAX;
}

void
machine_read_job(const char *(*look_up)(const char *name),
                 struct machine_limits *limits)
{
    // Open MPI, MPICH and its kin, srun ("2(x3)": 2 on each of 3 nodes).
    static const char *const ranks[] = {"OMPI_COMM_WORLD_LOCAL_SIZE",
                                        "MPI_LOCALNRANKS",
                                        "SLURM_STEP_TASKS_PER_NODE"};
    uint64_t number;
    uint64_t cpus;

    if (number_of(look_up, "SLURM_MEM_PER_NODE", &number)) {
        limits->job_bytes = number * MIB;
    } else if (number_of(look_up, "SLURM_MEM_PER_CPU", &number) &&
               number_of(look_up, "SLURM_CPUS_ON_NODE", &cpus)) {
        limits->job_bytes = number * cpus * MIB;
    }
    for (size_t i = 0; i < sizeof(ranks) / sizeof(ranks[0]); i++) {
        if (number_of(look_up, ranks[i], &number)) {
            limits->ranks_on_node = (uint32_t)units_max(limits->ranks_on_node,
                                                        number);
        }
    }
    take_least(limits);
}

const char *
machine_memory_reason(const struct machine_limits *limits)
{
    if (limits->memory_bytes == limits->ram_bytes) {
        return "the RAM";
    }
    if (limits->memory_bytes == limits->cgroup_bytes) {
        return "the cgroup limit";
    }
    if (limits->memory_bytes == limits->job_bytes) {
        return "the memory of the job";
    }
    return "the address space limit (ulimit -v)";
}
