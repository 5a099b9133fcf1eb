// SPDX-License-Identifier: Apache-2.0
//
// Looks at environment, libraries and ancestors; decides which fabric it is.
// The variables are those that Open MPI, MPICH, PMIx, SLURM and Cray's PALS set
// for the tasks that they start.

#include "fabric/fabric_launcher.h"

#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <link.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define ANCESTORS_MAX 16

struct environment {
    fabric_variable *variable;
    void *context;
};

static const char *
text(const struct environment *environment, const char *name)
{
    const char *value = environment->variable(environment->context, name);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

// 0 if it is not set or no number.
static int
number(const struct environment *environment, const char *name)
{
    const char *value = text(environment, name);
    if (value == NULL) {
        return 0;
    }
    char *end = NULL;
    long parsed = strtol(value, &end, 10);
    return *end == '\0' && parsed > 0 && parsed < INT32_MAX ? (int)parsed : 0;
}

static int
slurm_ranks(const struct environment *environment)
{
    int ranks = number(environment, "SLURM_STEP_NUM_TASKS");
    return ranks > 0 ? ranks : number(environment, "SLURM_NTASKS");
}

// The task's name from variables that together are unique. Any missing: "".
static void
name_task(const struct environment *environment, const char *job,
          const char *step, const char *rank, struct fabric_launcher *launcher)
{
    const char *a = text(environment, job);
    const char *b = step != NULL ? text(environment, step) : "";
    const char *c = text(environment, rank);
    if (a != NULL && b != NULL && c != NULL) {
        (void)snprintf(launcher->task, sizeof(launcher->task), "%s.%s.%s", a, b,
                       c);
    }
}

// MPICH's process manager talks over a descriptor that tasks inherit, and their
// children mostly do not.
static void
look_at_descriptor(const struct environment *environment,
                   struct fabric_launcher *launcher)
{
    const char *descriptor = text(environment, "PMI_FD");
    if (descriptor == NULL) {
        return;
    }
    struct stat status;
    int file = number(environment, "PMI_FD");
    if (fstat(file, &status) != 0 || !S_ISSOCK(status.st_mode)) {
        (void)snprintf(launcher->refusal, sizeof(launcher->refusal),
                       "PMI_FD=%s names no socket: this is a child of a rank",
                       descriptor);
        return;
    }
    (void)snprintf(launcher->task, sizeof(launcher->task),
                   "pmi.%" PRIu64 ".%" PRIu64, (uint64_t)status.st_dev,
                   (uint64_t)status.st_ino);
}

void
fabric_launcher_look(fabric_variable *variable, void *context,
                     struct fabric_launcher *launcher)
{
    struct environment given = {variable, context};
    const struct environment *environment = &given;
    *launcher = (struct fabric_launcher){.first = FABRIC_FAMILY_MPICH,
                                         .families = FABRIC_FAMILY_MPICH};
    bool slurm = text(environment, "SLURM_JOB_ID") != NULL;
    if (text(environment, "OMPI_COMM_WORLD_SIZE") != NULL) {
        launcher->name = "mpirun of Open MPI";
        launcher->families = FABRIC_FAMILY_OPENMPI;
        launcher->first = FABRIC_FAMILY_OPENMPI;
        launcher->ranks = number(environment, "OMPI_COMM_WORLD_SIZE");
        name_task(environment, "PMIX_NAMESPACE", NULL, "PMIX_RANK", launcher);
    } else if (text(environment, "PALS_RANKID") != NULL ||
               text(environment, "PMI_CONTROL_PORT") != NULL) {
        launcher->name = "Cray's PALS";
        launcher->ranks = number(environment, "PMI_SIZE");
        if (launcher->ranks == 0) {
            launcher->ranks = slurm_ranks(environment);
        }
        name_task(environment, "PALS_APID", NULL, "PALS_RANKID", launcher);
    } else if (text(environment, "PMIX_RANK") != NULL &&
               text(environment, "PMIX_NAMESPACE") != NULL) {
        launcher->name = slurm ? "srun with PMIx" : "a launcher with PMIx";
        launcher->families = FABRIC_FAMILY_OPENMPI | FABRIC_FAMILY_MPICH;
        launcher->first = FABRIC_FAMILY_OPENMPI;
        launcher->ranks = slurm_ranks(environment);
        name_task(environment, "PMIX_NAMESPACE", NULL, "PMIX_RANK", launcher);
    } else if (text(environment, "PMI_RANK") != NULL &&
               text(environment, "PMI_SIZE") != NULL) {
        bool hydra = text(environment, "MPI_LOCALNRANKS") != NULL;
        launcher->name = hydra   ? "mpiexec of MPICH"
                         : slurm ? "srun with PMI"
                                 : "a launcher with PMI";
        launcher->families |= hydra ? 0 : FABRIC_FAMILY_OPENMPI;
        launcher->ranks = number(environment, "PMI_SIZE");
        if (slurm && !hydra) {
            name_task(environment, "SLURM_JOB_ID", "SLURM_STEP_ID",
                      "SLURM_PROCID", launcher);
        }
        look_at_descriptor(environment, launcher);
    } else {
        launcher->families = 0;
    }
}

// --- libraries

struct search {
    struct fabric_loaded *loaded;
    void *seen; // address of the first one's function
};

typedef int
version_function(char *version, int *length);

typedef int
flag_function(int *flag);

static uint32_t
family_of(const char *version)
{
    if (strstr(version, "Open MPI") != NULL) {
        return FABRIC_FAMILY_OPENMPI;
    }
    if (strstr(version, "MPICH") != NULL ||
        strstr(version, "MVAPICH") != NULL ||
        strstr(version, "Intel(R) MPI") != NULL) {
        return FABRIC_FAMILY_MPICH;
    }
    return 0;
}

// POSIX hands functions out as data pointers.
static version_function *
as_version_function(void *symbol)
{
    version_function *function = NULL;
    memcpy(&function, &symbol, sizeof(function));
    return function;
}

static flag_function *
as_flag_function(void *symbol)
{
    flag_function *function = NULL;
    memcpy(&function, &symbol, sizeof(function));
    return function;
}

static void
note_library(struct search *search, void *handle)
{
    void *symbol = dlsym(handle, "MPI_Get_library_version");
    if (symbol == NULL || symbol == search->seen) {
        return;
    }
    struct fabric_loaded *loaded = search->loaded;
    loaded->count++;
    if (search->seen != NULL) {
        return;
    }
    search->seen = symbol;
    // The longest that an MPI may write.
    char version[8192] = "";
    int length = 0;
    as_version_function(symbol)(version, &length);
    loaded->family = family_of(version);
    version[strcspn(version, "\n,")] = '\0';
    (void)snprintf(loaded->version, sizeof(loaded->version), "%s", version);
    Dl_info place;
    if (dladdr(symbol, &place) != 0 && place.dli_fname != NULL) {
        (void)snprintf(loaded->path, sizeof(loaded->path), "%s",
                       place.dli_fname);
    }
    int started = 0;
    int ended = 0;
    void *initialized = dlsym(handle, "MPI_Initialized");
    void *finalized = dlsym(handle, "MPI_Finalized");
    if (initialized != NULL && finalized != NULL) {
        as_flag_function(initialized)(&started);
        as_flag_function(finalized)(&ended);
    }
    loaded->started = started != 0 && ended == 0;
}

struct names {
    char paths[8][256];
    size_t count;
};

// Only remembers names: the loader's lock is held here.
static int
remember_mpi(struct dl_phdr_info *info, size_t bytes, void *context)
{
    (void)bytes;
    struct names *names = context;
    const char *slash = strrchr(info->dlpi_name, '/');
    const char *base = slash != NULL ? slash + 1 : info->dlpi_name;
    size_t most = sizeof(names->paths) / sizeof(names->paths[0]);
    if (strncmp(base, "libmpi", 6) == 0 && names->count < most) {
        (void)snprintf(names->paths[names->count++], sizeof(names->paths[0]),
                       "%s", info->dlpi_name);
    }
    return 0;
}

void
fabric_launcher_loaded(struct fabric_loaded *loaded)
{
    *loaded = (struct fabric_loaded){0};
    struct search search = {.loaded = loaded};
    // A program may hold MPI itself, or have it in the global scope.
    note_library(&search, RTLD_DEFAULT);
    struct names names = {.count = 0};
    dl_iterate_phdr(remember_mpi, &names);
    for (size_t at = 0; at < names.count; at++) {
        void *handle = dlopen(names.paths[at], RTLD_NOLOAD | RTLD_LAZY);
        if (handle != NULL) {
            note_library(&search, handle);
            dlclose(handle);
        }
    }
}

// --- ancestors and claims

static pid_t
parent_of(pid_t process)
{
    char path[64];
    (void)snprintf(path, sizeof(path), "/proc/%d/status", (int)process);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return 0;
    }
    char line[256];
    int parent = 0;
    while (fgets(line, sizeof(line), file) != NULL) {
        if (sscanf(line, "PPid: %d", &parent) == 1) {
            break;
        }
    }
    (void)fclose(file);
    return (pid_t)parent;
}

// The first mapping of that file in a process; 0 if there is none.
static uint64_t
mapped_at(pid_t process, const char *library)
{
    char path[64];
    (void)snprintf(path, sizeof(path), "/proc/%d/maps", (int)process);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return 0;
    }
    char line[512];
    uint64_t address = 0;
    while (fgets(line, sizeof(line), file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        const char *name = strchr(line, '/');
        if (name != NULL && strcmp(name, library) == 0) {
            address = strtoull(line, NULL, 16);
            break;
        }
    }
    (void)fclose(file);
    return address;
}

bool
fabric_launcher_is_forked(const struct fabric_loaded *loaded)
{
    // Mappings are named by the file itself, libraries often by a link.
    char library[PATH_MAX];
    if (realpath(loaded->path, library) == NULL) {
        return false;
    }
    uint64_t own = mapped_at(getpid(), library);
    pid_t process = getpid();
    for (int step = 0; own != 0 && step < ANCESTORS_MAX; step++) {
        process = parent_of(process);
        if (process <= 1) {
            return false;
        }
        if (mapped_at(process, library) == own) {
            return true;
        }
    }
    return false;
}

bool
fabric_launcher_claim(const struct fabric_launcher *launcher)
{
    // Of this process, or of the one it was forked from.
    static struct {
        pid_t process;
        int file;
    } claim;
    if (claim.process != 0) {
        return claim.process == getpid();
    }
    if (launcher->task[0] == '\0') {
        claim.process = getpid();
        return true;
    }
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1,
                   "cascade.%s", launcher->task);
    size_t length = strlen(address.sun_path + 1) + 1 +
                    offsetof(struct sockaddr_un, sun_path);
    int file = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (file >= 0 &&
        bind(file, (const struct sockaddr *)&address, (socklen_t)length) != 0) {
        bool taken = errno == EADDRINUSE;
        (void)close(file);
        if (taken) {
            return false;
        }
    }
    claim.process = getpid();
    claim.file = file;
    return true;
}

// --- the decision

const char *
fabric_family_name(uint32_t family)
{
    return family == FABRIC_FAMILY_OPENMPI ? "openmpi"
           : family == FABRIC_FAMILY_MPICH ? "mpich"
                                           : "another MPI";
}

#define SAY(choice, ...) \
    (void)snprintf((choice)->reason, sizeof((choice)->reason), __VA_ARGS__)

static enum cascade_status
choose_started(const struct fabric_loaded *loaded, uint32_t modules,
               struct fabric_choice *choice)
{
    if (loaded->family == 0 || (modules & loaded->family) == 0) {
        SAY(choice,
            "this process has started %s (%s), and there is no module for %s",
            loaded->version, loaded->path, fabric_family_name(loaded->family));
        return CASCADE_UNSUPPORTED;
    }
    choice->mpi = true;
    choice->family = (enum fabric_mpi_family)loaded->family;
    SAY(choice, "this process has started %s", loaded->version);
    return CASCADE_OK;
}

static enum cascade_status
choose_launched(const struct fabric_launcher *launcher,
                const struct fabric_loaded *loaded, uint32_t modules,
                struct fabric_choice *choice)
{
    uint32_t wanted = launcher->families;
    if (loaded->count > 0) {
        wanted &= loaded->family;
        if (wanted == 0) {
            SAY(choice,
                "%s started this process, but %s (%s) is loaded in it; use "
                "the launcher of that MPI",
                launcher->name, loaded->version, loaded->path);
            return CASCADE_UNSUPPORTED;
        }
    }
    uint32_t usable = wanted & modules;
    if (usable == 0) {
        SAY(choice, "%s started this process, and there is no module for %s",
            launcher->name,
            fabric_family_name(wanted & launcher->first ? launcher->first
                                                        : wanted));
        return CASCADE_UNSUPPORTED;
    }
    choice->mpi = true;
    choice->family = usable & launcher->first ? launcher->first
                                              : (enum fabric_mpi_family)usable;
    if (launcher->ranks > 0) {
        SAY(choice, "%s started this process as one of %d", launcher->name,
            launcher->ranks);
    } else {
        SAY(choice, "%s started this process", launcher->name);
    }
    return CASCADE_OK;
}

// No job of several ranks: self, unless MPI was asked for.
static enum cascade_status
choose_alone(bool demanded, struct fabric_choice *choice)
{
    choice->mpi = false;
    return demanded ? CASCADE_UNSUPPORTED : CASCADE_OK;
}

enum cascade_status
fabric_launcher_choose(const char *which,
                       const struct fabric_launcher *launcher,
                       const struct fabric_loaded *loaded, uint32_t modules,
                       struct fabric_choice *choice)
{
    *choice = (struct fabric_choice){.mpi = false};
    bool demanded = strcmp(which, "mpi") == 0;
    if (strcmp(which, "self") == 0) {
        SAY(choice, "fabric=self");
        return CASCADE_OK;
    }
    if (!demanded && strcmp(which, "auto") != 0) {
        SAY(choice, "fabric=%s is none of auto, self, mpi", which);
        return CASCADE_INVALID;
    }
    if (loaded->count > 1) {
        SAY(choice,
            "%d MPI libraries are loaded in this process, one of them "
            "%s",
            loaded->count, loaded->path);
        return demanded || launcher->name != NULL ? CASCADE_UNSUPPORTED
                                                  : CASCADE_OK;
    }
    if (launcher->name != NULL && launcher->refusal[0] != '\0') {
        SAY(choice, "%s started an ancestor of this process, not this one: %s",
            launcher->name, launcher->refusal);
        return choose_alone(demanded, choice);
    }
    if (launcher->name != NULL && launcher->ranks == 1 && !demanded) {
        SAY(choice, "%s started one rank only", launcher->name);
        return CASCADE_OK;
    }
    if (loaded->started && (launcher->name != NULL || demanded ||
                            (modules & loaded->family) != 0)) {
        return choose_started(loaded, modules, choice);
    }
    if (launcher->name != NULL) {
        return choose_launched(launcher, loaded, modules, choice);
    }
    SAY(choice, "no launcher of MPI started this process (looked for "
                "OMPI_COMM_WORLD_SIZE, PMIX_RANK, PMI_RANK, PALS_RANKID)");
    return choose_alone(demanded, choice);
}
