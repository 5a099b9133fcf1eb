// SPDX-License-Identifier: Apache-2.0
//
// Asks the processor, the bus, the kernel and the environment. The GPU driver
// is opened only here and only for its names; the store has its own way.

#include "tools/probe.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cascade/cascade.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

#define PCI_PATH "/sys/bus/pci/devices"
#define PCI_VENDOR_NVIDIA 0x10de
#define PCI_CLASS_DISPLAY 0x03

struct driver {
    int (*init)(unsigned flags);
    int (*driver_version)(int *version);
    int (*device_count)(int *count);
    int (*device_name)(char *name, int size, int device);
    int (*device_memory)(size_t *bytes, int device);
    int (*error_name)(int error, const char **name);
};

static void
add_word(char *text, size_t size, const char *word, bool there)
{
    size_t used = strlen(text);

    if (there && used + strlen(word) + 2 < size) {
        (void)snprintf(text + used, size - used, "%s%s", used > 0 ? " " : "",
                       word);
    }
}

static void
find_features(char *text, size_t size)
{
#if defined(__x86_64__)
    unsigned a;
    unsigned b = 0;
    unsigned c;
    unsigned d;
    bool sha_ni = __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 &&
                  (b & (1U << 29)) != 0;

    add_word(text, size, "sse4.2", __builtin_cpu_supports("sse4.2") != 0);
    add_word(text, size, "avx2", __builtin_cpu_supports("avx2") != 0);
    add_word(text, size, "avx512f", __builtin_cpu_supports("avx512f") != 0);
    add_word(text, size, "avx512bw", __builtin_cpu_supports("avx512bw") != 0);
    add_word(text, size, "sha_ni", sha_ni);
#elif defined(__aarch64__)
    unsigned long bits = getauxval(AT_HWCAP);

    add_word(text, size, "crc32", (bits & (1UL << 7)) != 0);
    add_word(text, size, "sha2", (bits & (1UL << 6)) != 0);
    add_word(text, size, "sve", (bits & (1UL << 22)) != 0);
#else
    (void)text;
    (void)size;
#endif
}

static void
find_model(char *text, size_t size)
{
    FILE *file = fopen("/proc/cpuinfo", "re");
    char line[512];

    (void)snprintf(text, size, "unknown");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        const char *colon = strchr(line, ':');

        if (strncmp(line, "model name", 10) == 0 && colon != NULL) {
            line[strcspn(line, "\n")] = '\0';
            (void)snprintf(text, size, "%.200s", colon + 2);
            break;
        }
    }
    if (file != NULL) {
        (void)fclose(file);
    }
}

static uint64_t
read_number(const char *device, const char *name)
{
    char path[512];
    char text[32];

    (void)snprintf(path, sizeof(path), PCI_PATH "/%.200s/%s", device, name);
    return probe_read_text(path, text, sizeof(text)) ? strtoull(text, NULL, 16)
                                                     : 0;
}

static bool
has_gpu_hardware(void)
{
    DIR *devices = opendir(PCI_PATH);
    struct dirent *entry;
    bool found = false;

    if (devices == NULL) {
        return access("/dev/nvidiactl", F_OK) == 0;
    }
    while (!found && (entry = readdir(devices)) != NULL) {
        found = read_number(entry->d_name, "vendor") == PCI_VENDOR_NVIDIA &&
                read_number(entry->d_name, "class") >> 16 == PCI_CLASS_DISPLAY;
    }
    (void)closedir(devices);
    return found || access("/dev/nvidiactl", F_OK) == 0;
}

static bool
load_driver(void *library, struct driver *driver)
{
    const struct {
        const char *name;
        void *function;
    } symbols[] = {
        {"cuInit", &driver->init},
        {"cuDriverGetVersion", &driver->driver_version},
        {"cuDeviceGetCount", &driver->device_count},
        {"cuDeviceGetName", &driver->device_name},
        {"cuDeviceTotalMem_v2", &driver->device_memory},
        {"cuGetErrorName", &driver->error_name},
    };

    for (size_t i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++) {
        void *symbol = dlsym(library, symbols[i].name);

        if (symbol == NULL) {
            return false;
        }
        // What dlsym returns is a function; C has no cast for that.
        memcpy(symbols[i].function, &symbol, sizeof(symbol));
    }
    return true;
}

static void
ask_driver(const struct driver *driver, struct probe_gpus *gpus)
{
    int count = 0;
    int error = driver->init(0);

    if (error == 0) {
        error = driver->device_count(&count);
    }
    if (error != 0) {
        const char *name = NULL;

        (void)driver->error_name(error, &name);
        (void)snprintf(gpus->reason, sizeof(gpus->reason),
                       "the GPU driver does not start: %s (%d)",
                       name != NULL ? name : "unknown error", error);
        return;
    }
    gpus->driver = true;
    (void)driver->driver_version(&gpus->driver_version);
    for (int i = 0; i < count && i < PROBE_GPUS_MAX; i++) {
        struct probe_gpu *gpu = &gpus->gpus[gpus->count++];
        size_t bytes = 0;

        (void)driver->device_name(gpu->name, sizeof(gpu->name), i);
        (void)driver->device_memory(&bytes, i);
        gpu->memory_bytes = bytes;
    }
    if (gpus->count == 0) {
        (void)snprintf(gpus->reason, sizeof(gpus->reason),
                       "the GPU driver shows no device");
    }
}

void
probe_processor(struct probe_processor *processor)
{
    memset(processor, 0, sizeof(*processor));
    find_model(processor->model, sizeof(processor->model));
    find_features(processor->features, sizeof(processor->features));
    processor->page_bytes = (uint32_t)sysconf(_SC_PAGESIZE);
}

void
probe_gpus(struct probe_gpus *gpus)
{
    void *library;
    struct driver driver;

    memset(gpus, 0, sizeof(*gpus));
    gpus->hardware = has_gpu_hardware();
    library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        (void)snprintf(gpus->reason, sizeof(gpus->reason),
                       "libcuda.so.1, the GPU driver's library, is not "
                       "installed");
    } else if (!load_driver(library, &driver)) {
        (void)snprintf(gpus->reason, sizeof(gpus->reason),
                       "libcuda.so.1 lacks functions; it is too old");
    } else {
        ask_driver(&driver, gpus);
    }
    // The library stays open: drivers do not like to be unloaded.
}

void
probe_fabric(struct probe_fabric *fabric)
{
    struct cascade_options *set = cascade_options_create();

    (void)snprintf(fabric->which, sizeof(fabric->which), "auto");
    if (set != NULL && cascade_options_load_environment(set) == CASCADE_OK) {
        // As it was if it does not fit.
        (void)!cascade_options_get(set, "fabric", fabric->which,
                                   sizeof(fabric->which));
    }
    cascade_options_destroy(set);
    fabric_module_describe(fabric->which, NULL, &fabric->found);
}

bool
probe_fabric_has_module(const struct probe_fabric *fabric)
{
    return fabric->found.openmpi[0] != '\0' || fabric->found.mpich[0] != '\0';
}

void
probe_fabric_modules(const struct probe_fabric *fabric, char *text, size_t size)
{
    const struct fabric_module_description *found = &fabric->found;
    bool both = found->openmpi[0] != '\0' && found->mpich[0] != '\0';

    if (!probe_fabric_has_module(fabric)) {
        (void)snprintf(text, size, "no module of an MPI was found");
        return;
    }
    (void)snprintf(text, size, "%s%s%s%s%s",
                   found->openmpi[0] != '\0' ? "Open MPI by " : "",
                   found->openmpi, both ? ", " : "",
                   found->mpich[0] != '\0' ? "MPICH by " : "", found->mpich);
}

bool
probe_ring(char *reason, size_t size)
{
    struct io_uring ring;
    int error = io_uring_queue_init(8, &ring, 0);

    if (error != 0) {
        (void)snprintf(reason, size, "the kernel refuses it: %s",
                       strerror(-error));
        return false;
    }
    io_uring_queue_exit(&ring);
    reason[0] = '\0';
    return true;
}

bool
probe_read_text(const char *path, char *text, size_t size)
{
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got;

    if (descriptor < 0) {
        return false;
    }
    got = read(descriptor, text, size - 1);
    (void)close(descriptor);
    if (got < 0) {
        return false;
    }
    text[got] = '\0';
    text[strcspn(text, "\n")] = '\0';
    return true;
}
