// SPDX-License-Identifier: Apache-2.0
//
// Checks of memory, limits, processor, GPU and launcher. Nothing is changed.

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>

#include "base/allocator.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/machine.h"
#include "base/sha256.h"
#include "base/units.h"
#include "cascade/cascade.h"
#include "tools/doctor.h"
#include "tools/probe.h"

#define MEMORY_COMFORTABLE (2 * GIB)
#define LOCKED_COMFORTABLE (64 * MIB)
#define OPEN_FILES_COMFORTABLE 4096
#define OPEN_FILES_LEAST 256
#define HASH_TRIAL_BYTES ((size_t)(16 << 20))
#define HUGE_PATH "/sys/kernel/mm/transparent_hugepage/"

// The chosen word of a file such as "always [advise] never"; "" if none.
static void
read_choice(const char *path, char *choice, size_t size)
{
    char text[PROBE_TEXT_BYTES];
    const char *open_bracket;

    choice[0] = '\0';
    if (!probe_read_text(path, text, sizeof(text))) {
        return;
    }
    open_bracket = strchr(text, '[');
    if (open_bracket != NULL) {
        (void)snprintf(choice, size, "%.*s",
                       (int)strcspn(open_bracket + 1, "]"), open_bracket + 1);
    }
}

void
doctor_memory(const char *directory, struct doctor_finding *finding)
{
    struct machine_limits limits;

    (void)directory;
    machine_read(file_system_real(), "", &limits);
    doctor_found(finding,
                 limits.memory_bytes < MEMORY_COMFORTABLE ? DOCTOR_WARNING
                                                          : DOCTOR_OK,
                 "%.1f GB usable, set by %s; %" PRIu32 " processors",
                 (double)limits.memory_bytes / 1e9,
                 machine_memory_reason(&limits), limits.cpus);
    if (finding->verdict != DOCTOR_OK) {
        doctor_remedy(finding,
                      "give the process more, or set dram_capacity small");
    }
}

void
doctor_cgroup(const char *directory, struct doctor_finding *finding)
{
    struct machine_limits limits;

    (void)directory;
    machine_read(file_system_real(), "", &limits);
    if (limits.cgroup_bytes == MACHINE_UNLIMITED) {
        doctor_found(finding, DOCTOR_OK, "no memory limit");
        return;
    }
    doctor_found(finding,
                 limits.cgroup_bytes < MEMORY_COMFORTABLE ? DOCTOR_WARNING
                                                          : DOCTOR_OK,
                 "memory limit %.1f GB", (double)limits.cgroup_bytes / 1e9);
    if (finding->verdict != DOCTOR_OK) {
        doctor_remedy(finding, "raise the limit of the container or job "
                               "(docker run --memory, sbatch --mem)");
    }
}

void
doctor_shared_memory(const char *directory, struct doctor_finding *finding)
{
    struct statvfs facts;
    uint64_t free_bytes;

    (void)directory;
    if (statvfs("/dev/shm", &facts) != 0) {
        doctor_found(finding, DOCTOR_WARNING, "/dev/shm is not there");
        doctor_remedy(finding, "mount -t tmpfs tmpfs /dev/shm");
        return;
    }
    free_bytes = (uint64_t)facts.f_bavail * facts.f_frsize;
    doctor_found(finding, free_bytes < GIB ? DOCTOR_WARNING : DOCTOR_OK,
                 "/dev/shm has %.2f GB free of %.2f GB",
                 (double)free_bytes / 1e9,
                 (double)facts.f_blocks * (double)facts.f_frsize / 1e9);
    if (finding->verdict != DOCTOR_OK) {
        doctor_remedy(finding, "docker run --shm-size=8g, or mount -o "
                               "remount,size=8g /dev/shm");
    }
}

void
doctor_huge_pages(const char *directory, struct doctor_finding *finding)
{
    char shared[32];
    char private[32];

    (void)directory;
    read_choice(HUGE_PATH "shmem_enabled", shared, sizeof(shared));
    read_choice(HUGE_PATH "enabled", private, sizeof(private));
    if (shared[0] == '\0') {
        doctor_found(finding, DOCTOR_WARNING,
                     "this kernel has no transparent huge pages for shared "
                     "memory");
        doctor_remedy(finding, "use a kernel with "
                               "CONFIG_TRANSPARENT_HUGEPAGE");
        return;
    }
    doctor_found(finding,
                 strcmp(shared, "never") == 0 || strcmp(shared, "deny") == 0
                     ? DOCTOR_WARNING
                     : DOCTOR_OK,
                 "shared memory: %s, private memory: %s", shared, private);
    if (finding->verdict != DOCTOR_OK) {
        doctor_remedy(finding,
                      "echo advise > " HUGE_PATH "shmem_enabled (as root)");
    }
}

void
doctor_locked_memory(const char *directory, struct doctor_finding *finding)
{
    struct machine_limits limits;

    (void)directory;
    machine_read(file_system_real(), "", &limits);
    if (limits.memlock_bytes == MACHINE_UNLIMITED) {
        doctor_found(finding, DOCTOR_OK, "no limit");
        return;
    }
    doctor_found(finding,
                 limits.memlock_bytes < LOCKED_COMFORTABLE ? DOCTOR_WARNING
                                                           : DOCTOR_OK,
                 "%.1f MB may be locked", (double)limits.memlock_bytes / 1e6);
    if (finding->verdict != DOCTOR_OK) {
        doctor_remedy(finding,
                      "ulimit -l unlimited, memlock in "
                      "/etc/security/limits.conf, or LimitMEMLOCK=infinity "
                      "in the unit; a network or GPU pins memory");
    }
}

void
doctor_open_files(const char *directory, struct doctor_finding *finding)
{
    struct rlimit limit;

    (void)directory;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        doctor_found(finding, DOCTOR_WARNING, "the limit is not known");
        doctor_remedy(finding, "ulimit -n %d", OPEN_FILES_COMFORTABLE);
        return;
    }
    doctor_found(finding,
                 limit.rlim_cur < OPEN_FILES_LEAST         ? DOCTOR_FAIL
                 : limit.rlim_cur < OPEN_FILES_COMFORTABLE ? DOCTOR_WARNING
                                                           : DOCTOR_OK,
                 "%" PRIu64 " files may be open", (uint64_t)limit.rlim_cur);
    if (finding->verdict != DOCTOR_OK) {
        doctor_remedy(finding, "ulimit -n %d", OPEN_FILES_COMFORTABLE);
    }
}

void
doctor_hash(const char *directory, struct doctor_finding *finding)
{
    const struct sha256_kernel *kernel = sha256_kernel_widest();
    uint8_t id[CASCADE_ID_BYTES];
    uint64_t start_ns;
    uint64_t used_ns;
    void *data = allocator_array(allocator_system(), HASH_TRIAL_BYTES, 1);

    (void)directory;
    if (data == NULL) {
        doctor_found(finding, DOCTOR_FAIL, "no memory to try it");
        doctor_remedy(finding, "free some memory");
        return;
    }
    // The first round brings the pages in.
    memset(data, 1, HASH_TRIAL_BYTES);
    cascade_content_id(data, HASH_TRIAL_BYTES, id);
    start_ns = clock_steady_ns(clock_system());
    cascade_content_id(data, HASH_TRIAL_BYTES, id);
    used_ns = clock_steady_ns(clock_system()) - start_ns;
    allocator_release(allocator_system(), data);
    doctor_found(finding,
                 kernel->lanes == 1 && strstr(kernel->name, "portable") != NULL
                     ? DOCTOR_WARNING
                     : DOCTOR_OK,
                 "%s, %.2f GB/s on one core", kernel->name,
                 (double)HASH_TRIAL_BYTES / (double)units_max(used_ns, 1));
    if (finding->verdict != DOCTOR_OK) {
        doctor_remedy(finding, "use a processor with SHA or AVX2 "
                               "instructions, or dedup=key");
    }
}

void
doctor_gpu(const char *directory, struct doctor_finding *finding)
{
    struct probe_gpus gpus;

    (void)directory;
    probe_gpus(&gpus);
    if (gpus.count > 0) {
        doctor_found(finding, DOCTOR_OK, "%zu, the first is %s", gpus.count,
                     gpus.gpus[0].name);
    } else if (!gpus.hardware) {
        doctor_found(finding, DOCTOR_OK,
                     "no NVIDIA GPU here; the GPU tier is off");
    } else {
        doctor_found(finding, DOCTOR_WARNING, "a GPU is there, but %s",
                     gpus.reason);
        doctor_remedy(finding, "install or reload the NVIDIA driver; in a "
                               "container, docker run --gpus all");
    }
}

void
doctor_mpi(const char *directory, struct doctor_finding *finding)
{
    struct probe_fabric fabric;
    const struct fabric_module_description *found = &fabric.found;

    (void)directory;
    probe_fabric(&fabric);
    if (found->status != CASCADE_OK) {
        doctor_found(finding, DOCTOR_FAIL,
                     "fabric=%.16s cannot be opened: %.300s", fabric.which,
                     found->choice.reason);
        doctor_remedy(finding, "install the module of that MPI (cascade info "
                               "names those found), or set fabric=self, so "
                               "that each rank has a cache of its own");
        return;
    }
    doctor_found(finding, DOCTOR_OK, "%s%s%s: %.280s",
                 found->openmpi[0] != '\0' ? "Open MPI, " : "",
                 found->mpich[0] != '\0' ? "MPICH, " : "",
                 probe_fabric_has_module(&fabric) ? "modules found"
                                                  : "no module",
                 found->choice.reason);
}

bool
doctor_is_rank(void)
{
    struct probe_fabric fabric;

    probe_fabric(&fabric);
    return fabric.found.status == CASCADE_OK && fabric.found.choice.mpi;
}
