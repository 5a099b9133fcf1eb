// SPDX-License-Identifier: Apache-2.0
//
// Ranks of one node in processes of their own: deaths while pinning, stopped
// readers, children that keep descriptors, kernels without pidfds, and other
// namespaces. The child is forked while this process has one thread; the two
// talk over a pair of sockets.

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/units.h"
#include "fabric/fabric_node.h"

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

#define JOB UINT64_C(0xca5cade)
#define REGION_BYTES MIB
#define SLOT 12
#define GENERATION 3
#define WAIT_NS UINT64_C(20000000000)

// What the reader's process does before it opens.
struct kind {
    int namespaces;
    bool without_pidfd;
    bool leaves_child; // which keeps every descriptor open
};

struct reader {
    pid_t process;
    int socket;
};

// What the reader saw.
struct sight {
    bool can; // the kernel let it do what its kind needs
    bool near;
    bool right_bytes;
    bool pinned;
};

static struct fabric_node *
open_rank(uint16_t rank)
{
    const struct fabric_node_options options = {
        .allocator = allocator_system(),
        .clock = clock_system(),
        .job = JOB,
        .rank = rank,
        .rank_count = 2,
    };
    struct fabric_node *node = NULL;

    return fabric_node_open(&options, &node) == CASCADE_OK ? node : NULL;
}

static bool
refuse_pidfd(void)
{
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pidfd_open, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {.len = 4, .filter = program};

    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) == 0;
}

// Makes the user of this process the first one of its namespace.
static bool
map_user(unsigned user)
{
    char text[32];
    int length = snprintf(text, sizeof(text), "0 %u 1", user);
    int file = open("/proc/self/uid_map", O_WRONLY | O_CLOEXEC);
    bool written = file >= 0 && write(file, text, (size_t)length) == length;

    if (file >= 0) {
        (void)close(file);
    }
    return written;
}

static bool
become(const struct kind *kind)
{
    unsigned user = geteuid();

    if (kind->namespaces != 0 && unshare(kind->namespaces) != 0) {
        return false;
    }
    if ((kind->namespaces & CLONE_NEWUSER) != 0 && !map_user(user)) {
        return false;
    }
    return !kind->without_pidfd || refuse_pidfd();
}

static void
look(const struct kind *kind, const struct fabric_node_address *address,
     struct sight *sight)
{
    struct fabric_node *node = open_rank(1);
    const void *memory;
    uint64_t bytes;

    if (node == NULL) {
        return;
    }
    sight->near = fabric_node_meet(node, 0, address);
    sight->right_bytes = sight->near &&
                         fabric_node_map(node, 0, FABRIC_NODE_ARENA, &memory,
                                         &bytes) == CASCADE_OK &&
                         strcmp(memory, "bytes of a block") == 0;
    sight->pinned = fabric_node_pin(node, 0, SLOT, GENERATION) != NULL;
    if (kind->leaves_child && fork() == 0) {
        (void)pause();
        _exit(0);
    }
}

// Never returns: tells what it saw and waits to be killed.
static void
be_reader(const struct kind *kind, int socket)
{
    struct fabric_node_address address;
    struct sight sight = {.can = become(kind)};
    pid_t inner = 0;

    // A new namespace of processes begins with the next child.
    if ((kind->namespaces & CLONE_NEWPID) != 0) {
        inner = fork();
    }
    if (inner == 0) {
        // The inner one ends with the one that the test knows.
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (recv(socket, &address, sizeof(address), 0) ==
            (ssize_t)sizeof(address)) {
            if (sight.can) {
                look(kind, &address, &sight);
            }
            (void)send(socket, &sight, sizeof(sight), MSG_NOSIGNAL);
        }
    }
    for (;;) {
        (void)pause();
    }
}

static struct reader
fork_reader(const struct kind *kind)
{
    struct reader reader;
    int sockets[2];

    assert_int_equal(
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets), 0);
    reader.process = fork();
    assert_true(reader.process >= 0);
    if (reader.process == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)setpgid(0, 0);
        (void)close(sockets[0]);
        be_reader(kind, sockets[1]);
    }
    (void)setpgid(reader.process, reader.process);
    (void)close(sockets[1]);
    reader.socket = sockets[0];
    return reader;
}

static struct sight
tell(const struct reader *reader, const struct fabric_node *owner)
{
    struct fabric_node_address address;
    struct sight sight = {.can = false};
    struct pollfd wait = {.fd = reader->socket, .events = POLLIN};

    fabric_node_own_address(owner, &address);
    assert_int_equal(
        send(reader->socket, &address, sizeof(address), MSG_NOSIGNAL),
        sizeof(address));
    assert_int_equal(poll(&wait, 1, (int)(WAIT_NS / 1000000)), 1);
    assert_int_equal(recv(reader->socket, &sight, sizeof(sight), 0),
                     sizeof(sight));
    return sight;
}

static bool
is_pinned(struct fabric_node *owner)
{
    return fabric_node_is_pinned(owner, SLOT, GENERATION);
}

static bool
wait_until_unpinned(struct fabric_node *owner)
{
    uint64_t end = clock_deadline_ns(clock_system(), WAIT_NS);

    while (is_pinned(owner) && clock_steady_ns(clock_system()) < end) {
        (void)sched_yield();
    }
    return !is_pinned(owner);
}

struct owner {
    struct fabric_node *node;
    struct arena *arena;
};

static struct owner
open_owner(void)
{
    struct owner owner = {.node = open_rank(0)};

    assert_non_null(owner.node);
    assert_int_equal(arena_open(allocator_system(), "offered", REGION_BYTES,
                                false, &owner.arena),
                     CASCADE_OK);
    memcpy(arena_memory(owner.arena), "bytes of a block",
           sizeof("bytes of a block"));
    fabric_node_offer(owner.node, FABRIC_NODE_ARENA, arena_file(owner.arena),
                      REGION_BYTES);
    return owner;
}

static void
close_owner(struct owner *owner)
{
    fabric_node_close(owner->node);
    arena_close(owner->arena);
}

static void
end_reader(const struct reader *reader, int target)
{
    assert_int_equal(kill(target, SIGKILL), 0);
    assert_int_equal(waitpid(reader->process, NULL, 0), reader->process);
    (void)close(reader->socket);
}

static void
the_pins_of_a_killed_reader_go(void **state)
{
    const struct kind kind = {.namespaces = 0};
    struct reader reader = fork_reader(&kind);
    struct owner owner = open_owner();
    struct sight sight = tell(&reader, owner.node);

    (void)state;
    assert_true(sight.near && sight.right_bytes && sight.pinned);
    assert_true(is_pinned(owner.node));
    // One that is stopped keeps them.
    assert_int_equal(kill(reader.process, SIGSTOP), 0);
    assert_int_equal(waitpid(reader.process, NULL, WUNTRACED), reader.process);
    assert_true(is_pinned(owner.node));
    end_reader(&reader, reader.process);
    assert_true(wait_until_unpinned(owner.node));
    assert_int_equal(fabric_node_pins(owner.node), 0);
    assert_string_equal(fabric_node_reason(owner.node, 1),
                        "its process has ended");
    close_owner(&owner);
}

static void
a_child_that_keeps_descriptors_keeps_no_pins(void **state)
{
    const struct kind kind = {.leaves_child = true};
    struct reader reader = fork_reader(&kind);
    struct owner owner = open_owner();
    struct sight sight = tell(&reader, owner.node);
    pid_t group = reader.process;

    (void)state;
    assert_true(sight.pinned);
    assert_true(is_pinned(owner.node));
    end_reader(&reader, reader.process);
    assert_true(wait_until_unpinned(owner.node));
    (void)kill(-group, SIGKILL);
    close_owner(&owner);
}

static void
without_pidfds_a_reader_maps_but_does_not_pin(void **state)
{
    const struct kind kind = {.without_pidfd = true};
    struct reader reader = fork_reader(&kind);
    struct owner owner = open_owner();
    struct sight sight = tell(&reader, owner.node);

    (void)state;
    end_reader(&reader, reader.process);
    close_owner(&owner);
    if (!sight.can) {
        skip();
    }
    assert_true(sight.near && sight.right_bytes);
    assert_false(sight.pinned);
}

static void
pin_and_die_in(int namespaces)
{
    const struct kind kind = {.namespaces = namespaces};
    struct reader reader = fork_reader(&kind);
    struct owner owner = open_owner();
    struct sight sight = tell(&reader, owner.node);

    if (sight.can) {
        assert_true(sight.near && sight.right_bytes && sight.pinned);
        assert_true(is_pinned(owner.node));
    }
    end_reader(&reader, -reader.process);
    assert_true(wait_until_unpinned(owner.node));
    close_owner(&owner);
    if (!sight.can) {
        skip();
    }
}

static void
other_namespaces_are_the_same_node(void **state)
{
    (void)state;
    pin_and_die_in(CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC);
}

static void
another_namespace_of_users_is_the_same_node(void **state)
{
    (void)state;
    pin_and_die_in(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC);
}

static void
another_network_is_another_node(void **state)
{
    const struct kind kind = {.namespaces = CLONE_NEWNET};
    struct reader reader = fork_reader(&kind);
    struct owner owner = open_owner();
    struct sight sight = tell(&reader, owner.node);

    (void)state;
    end_reader(&reader, reader.process);
    close_owner(&owner);
    if (!sight.can) {
        skip();
    }
    assert_false(sight.near);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_pins_of_a_killed_reader_go),
        cmocka_unit_test(a_child_that_keeps_descriptors_keeps_no_pins),
        cmocka_unit_test(without_pidfds_a_reader_maps_but_does_not_pin),
        cmocka_unit_test(other_namespaces_are_the_same_node),
        cmocka_unit_test(another_namespace_of_users_is_the_same_node),
        cmocka_unit_test(another_network_is_another_node),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
