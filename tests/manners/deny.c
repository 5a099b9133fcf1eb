// SPDX-License-Identifier: Apache-2.0
//
// Runs a program whose named system calls fail, as a container's filter makes
// them: deny ERRNO NAME[,NAME...] PROGRAM [ARGUMENT...]. Exit status 77 if the
// system takes no filter.

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CALLS_MAX 16
#define SKIPPED 77

static const struct {
    const char *name;
    uint32_t number;
} calls[] = {
    {"io_uring_setup", SYS_io_uring_setup},
    {"memfd_create", SYS_memfd_create},
    {"mlock", SYS_mlock},
    {"mlock2", SYS_mlock2},
    {"madvise", SYS_madvise},
    {"fallocate", SYS_fallocate},
    {"eventfd2", SYS_eventfd2},
    {"getrandom", SYS_getrandom},
    {"statx", SYS_statx},
    {"sched_getaffinity", SYS_sched_getaffinity},
};

static const struct {
    const char *name;
    uint32_t number;
} errors[] = {
    {"EPERM", EPERM},
    {"ENOSYS", ENOSYS},
    {"EACCES", EACCES},
    {"ENOMEM", ENOMEM},
};

// One test and one answer for each call, then "allowed".
static unsigned
make_filter(const char *names, uint32_t error, struct sock_filter *filter)
{
    unsigned count = 0;

    filter[count++] = (struct sock_filter)BPF_STMT(
        BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        const char *at = strstr(names, calls[i].name);
        size_t length = strlen(calls[i].name);

        while (at != NULL && at[length] != '\0' && at[length] != ',') {
            at = strstr(at + 1, calls[i].name);
        }
        if (at != NULL) {
            filter[count++] = (struct sock_filter)BPF_JUMP(
                BPF_JMP | BPF_JEQ | BPF_K, calls[i].number, 0, 1);
            filter[count++] = (struct sock_filter)BPF_STMT(
                BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error);
        }
    }
    filter[count++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K,
                                                   SECCOMP_RET_ALLOW);
    return count;
}

int
main(int argc, char **argv)
{
    struct sock_filter filter[2 * CALLS_MAX + 2];
    struct sock_fprog program = {.filter = filter};
    uint32_t error = 0;

    for (size_t i = 0; argc > 3 && i < sizeof(errors) / sizeof(errors[0]);
         i++) {
        error = strcmp(argv[1], errors[i].name) == 0 ? errors[i].number : error;
    }
    if (error == 0) {
        (void)fprintf(stderr, "deny ERRNO NAME[,NAME...] PROGRAM ...\n");
        return 2;
    }
    program.len = (unsigned short)make_filter(argv[2], error, filter);
    if (program.len == 2) {
        (void)fprintf(stderr, "deny: no call of %s is known\n", argv[2]);
        return 2;
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
        return SKIPPED;
    }
    (void)execvp(argv[3], argv + 3);
    (void)fprintf(stderr, "deny: cannot run %s\n", argv[3]);
    return 2;
}
