// SPDX-License-Identifier: Apache-2.0
//
// Finds a module of the MPI fabric, opens it, and hands it the library's
// services. Decisions are fabric_launcher_choose's.

#include "fabric/fabric_module.h"

#include <dlfcn.h>
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "fabric/fabric_self.h"

#define CHUNK_BYTES ((uint64_t)8 << 20)
#define NS_PER_S ((uint64_t)1000 * 1000 * 1000)
#define OPEN_TIMEOUT_NS (120 * NS_PER_S)
#define CLOSE_TIMEOUT_NS (10 * NS_PER_S)
#define WINDOW_TIMEOUT_NS (20 * NS_PER_S)
#define FINALIZE_TIMEOUT_NS (30 * NS_PER_S)

// Where the build installs modules; see cmake/mpi.cmake.
#ifndef CASCADE_MODULE_FOLDER
#define CASCADE_MODULE_FOLDER "/usr/lib/cascade"
#endif

// --- finding

struct modules {
    char paths[2][FABRIC_MODULE_PATH_BYTES]; // openmpi, mpich
    uint32_t families;
    char looked[FABRIC_REASON_BYTES / 2];
};

static const uint32_t families[2] = {FABRIC_FAMILY_OPENMPI,
                                     FABRIC_FAMILY_MPICH};

static char *
path_of(struct modules *modules, uint32_t family)
{
    return modules->paths[family == FABRIC_FAMILY_OPENMPI ? 0 : 1];
}

static void
note_module(struct modules *modules, uint32_t family, const char *path)
{
    if ((modules->families & family) == 0) {
        (void)snprintf(path_of(modules, family), FABRIC_MODULE_PATH_BYTES, "%s",
                       path);
        modules->families |= family;
    }
}

static void
look_in(struct modules *modules, const char *folder)
{
    size_t length = strlen(modules->looked);
    (void)snprintf(modules->looked + length, sizeof(modules->looked) - length,
                   "%s%s", length > 0 ? ", " : "", folder);
    for (int at = 0; at < 2; at++) {
        char path[FABRIC_MODULE_PATH_BYTES];
        int written = snprintf(path, sizeof(path), "%s/fabric_%s.so", folder,
                               fabric_family_name(families[at]));
        if (written > 0 && written < (int)sizeof(path) &&
            access(path, R_OK) == 0) {
            note_module(modules, families[at], path);
        }
    }
}

// A file or a folder that the user named.
static void
look_at_given(struct modules *modules, const char *path)
{
    struct stat status;
    if (stat(path, &status) != 0 || S_ISDIR(status.st_mode)) {
        look_in(modules, path);
        return;
    }
    (void)snprintf(modules->looked, sizeof(modules->looked), "%s", path);
    bool openmpi = strstr(path, "openmpi") != NULL;
    bool mpich = strstr(path, "mpich") != NULL;
    // A file by another name may be either; it says so when it is loaded.
    for (int at = 0; at < 2; at++) {
        bool named = at == 0 ? openmpi : mpich;
        if (named || openmpi == mpich) {
            note_module(modules, families[at], path);
        }
    }
}

// The file that this code is in: the library, or a program. Of a program the
// loader knows only what it was called.
static bool
find_own_file(char path[PATH_MAX])
{
    static const char anchor;
    Dl_info place;
    struct link_map *map = NULL;
    if (dladdr1(&anchor, &place, (void **)&map, RTLD_DL_LINKMAP) == 0 ||
        map == NULL) {
        return false;
    }
    const char *name = map->l_name[0] != '\0' ? map->l_name : "/proc/self/exe";
    return realpath(name, path) != NULL;
}

static void
find_modules(const char *given, struct modules *modules)
{
    *modules = (struct modules){.families = 0};
    if (given == NULL || given[0] == '\0') {
        given = secure_getenv("CASCADE_FABRIC_MODULE");
    }
    if (given != NULL && given[0] != '\0') {
        look_at_given(modules, given);
        return;
    }
    char own[PATH_MAX];
    if (find_own_file(own)) {
        char *slash = strrchr(own, '/');
        *slash = '\0';
        char folder[PATH_MAX + 32];
        (void)snprintf(folder, sizeof(folder), "%s/cascade", own);
        look_in(modules, folder);
        (void)snprintf(folder, sizeof(folder), "%s/../lib/cascade", own);
        look_in(modules, folder);
    }
    look_in(modules, CASCADE_MODULE_FOLDER);
}

// --- looking around

static const char *
environment_variable(void *context, const char *name)
{
    (void)context;
    return getenv(name);
}

static int
note_gtl(struct dl_phdr_info *info, size_t bytes, void *context)
{
    (void)bytes;
    if (strstr(info->dlpi_name, "libmpi_gtl_") != NULL) {
        *(bool *)context = true;
        return 1;
    }
    return 0;
}

// Cray's MPI aborts when it starts with GPU support and without its library.
static bool
would_abort(const struct fabric_loaded *loaded)
{
    const char *wanted = getenv("MPICH_GPU_SUPPORT_ENABLED");
    if (loaded->started || wanted == NULL || strcmp(wanted, "1") != 0 ||
        strstr(loaded->version, "CRAY") == NULL) {
        return false;
    }
    bool found = false;
    dl_iterate_phdr(note_gtl, &found);
    return !found;
}

static enum cascade_status
choose(const char *which, struct fabric_launcher *launcher,
       const struct fabric_loaded *loaded, struct modules *modules,
       struct fabric_choice *choice)
{
    enum cascade_status status = fabric_launcher_choose(
        which, launcher, loaded, modules->families, choice);
    if (status == CASCADE_UNSUPPORTED &&
        strstr(choice->reason, "no module") != NULL) {
        size_t length = strlen(choice->reason);
        (void)snprintf(
            choice->reason + length, sizeof(choice->reason) - length,
            " (looked in %s); build it with the site's compiler wrapper, "
            "MPICC=mpicc make, or set fabric=self",
            modules->looked);
    }
    return status;
}

// --- loading

static enum cascade_status
fail(char *reason, const char *path, const char *why)
{
    (void)snprintf(reason, FABRIC_REASON_BYTES, "the module %s %s", path, why);
    return error_set(CASCADE_UNSUPPORTED, "%s", reason);
}

// Open MPI opens its own plugins, which look for it in the global scope.
static enum cascade_status
load(const char *path, uint32_t family, const struct fabric_mpi_module **module,
     char *reason)
{
    int scope = family == FABRIC_FAMILY_OPENMPI ? RTLD_GLOBAL : RTLD_LOCAL;
    void *handle = dlopen(path, RTLD_NOW | RTLD_NODELETE | scope);
    if (handle == NULL) {
        const char *why = dlerror();
        return fail(reason, path, why != NULL ? why : "cannot be loaded");
    }
    const struct fabric_mpi_module *found = dlsym(handle, FABRIC_MPI_SYMBOL);
    if (found == NULL || found->abi != FABRIC_MPI_ABI) {
        return fail(reason, path,
                    "is of another release; build it again with the library");
    }
    if (strcmp(found->mpi, fabric_family_name(family)) != 0) {
        return fail(reason, path, "is for another MPI than the one in use");
    }
    struct fabric_loaded loaded;
    fabric_launcher_loaded(&loaded);
    if (loaded.count != 1) {
        return fail(reason, path,
                    "brings a second MPI into this process; build it against "
                    "the one that is loaded");
    }
    if (would_abort(&loaded)) {
        return fail(
            reason, path,
            "would abort: MPICH_GPU_SUPPORT_ENABLED=1 needs libmpi_gtl, "
            "which is not loaded; link the program with it, or set "
            "MPICH_GPU_SUPPORT_ENABLED=0");
    }
    *module = found;
    return CASCADE_OK;
}

static uint64_t
or_default(uint64_t value, uint64_t otherwise)
{
    return value != 0 ? value : otherwise;
}

static enum cascade_status
open_mpi(const struct fabric_mpi_module *module,
         const struct fabric_module_options *options, struct fabric *fabric)
{
    struct fabric_mpi_options given = {
        .services =
            {
                .allocator = options->allocator,
                .clock = options->clock,
                .log = options->log,
                .log_write = log_write,
                .error_set = error_set,
            },
        .memory = options->memory,
        .memory_bytes = options->memory != NULL ? options->memory_bytes : 0,
        .windows = options->windows,
        .chunk_bytes = or_default(options->chunk_bytes, CHUNK_BYTES),
        .open_timeout_ns = or_default(options->open_timeout_ns,
                                      OPEN_TIMEOUT_NS),
        .close_timeout_ns = or_default(options->close_timeout_ns,
                                       CLOSE_TIMEOUT_NS),
        .window_timeout_ns = or_default(options->window_timeout_ns,
                                        WINDOW_TIMEOUT_NS),
        .finalize_timeout_ns = or_default(options->finalize_timeout_ns,
                                          FINALIZE_TIMEOUT_NS),
    };
    return module->open(&given, fabric);
}

// Writes why this process may not start MPI, or nothing.
static void
refuse_children(const struct fabric_loaded *loaded,
                struct fabric_launcher *launcher)
{
    if (loaded->started && fabric_launcher_is_forked(loaded)) {
        (void)snprintf(launcher->refusal, sizeof(launcher->refusal),
                       "it was forked from the process that started MPI");
        if (launcher->name == NULL) {
            launcher->name = "MPI";
        }
        return;
    }
    if (launcher->name == NULL || launcher->refusal[0] != '\0') {
        return;
    }
    if (!fabric_launcher_claim(launcher) && !loaded->started) {
        (void)snprintf(launcher->refusal, sizeof(launcher->refusal),
                       "another process is this rank already");
    }
}

enum cascade_status
fabric_module_open(const char *which,
                   const struct fabric_module_options *options,
                   struct fabric *fabric, char reason[FABRIC_REASON_BYTES])
{
    struct fabric_launcher launcher;
    struct fabric_loaded loaded;
    struct fabric_choice choice;
    struct modules modules;
    bool alone = strcmp(which, "self") == 0;
    fabric_launcher_look(environment_variable, NULL, &launcher);
    fabric_launcher_loaded(&loaded);
    find_modules(options->path, &modules);
    enum cascade_status status = choose(which, &launcher, &loaded, &modules,
                                        &choice);
    if (status == CASCADE_OK && choice.mpi) {
        refuse_children(&loaded, &launcher);
        status = choose(which, &launcher, &loaded, &modules, &choice);
    }
    (void)snprintf(reason, FABRIC_REASON_BYTES, "%s", choice.reason);
    if (status != CASCADE_OK) {
        return error_set(status, "%s", choice.reason);
    }
    if (choice.mpi) {
        const struct fabric_mpi_module *module = NULL;
        const char *path = path_of(&modules, choice.family);
        status = load(path, choice.family, &module, reason);
        if (status != CASCADE_OK) {
            return status;
        }
        bool many = strcmp(which, "mpi") == 0 || module->ranks() != 1;
        if (many) {
            return open_mpi(module, options, fabric);
        }
    }
    if (!alone && options->log != NULL) {
        log_write(options->log, LOG_LEVEL_DEBUG, "fabric: self: %s", reason);
    }
    return fabric_self_open(options->allocator, fabric);
}

void
fabric_module_describe(const char *which, const char *path,
                       struct fabric_module_description *description)
{
    struct modules modules;
    fabric_launcher_look(environment_variable, NULL, &description->launcher);
    fabric_launcher_loaded(&description->loaded);
    find_modules(path, &modules);
    for (int at = 0; at < 2; at++) {
        char *to = at == 0 ? description->openmpi : description->mpich;
        (void)snprintf(to, FABRIC_MODULE_PATH_BYTES, "%s", modules.paths[at]);
    }
    description->status = choose(which, &description->launcher,
                                 &description->loaded, &modules,
                                 &description->choice);
}
