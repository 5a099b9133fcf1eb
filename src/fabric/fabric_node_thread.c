// SPDX-License-Identifier: Apache-2.0
//
// The small thread of a rank: hands descriptors to readers that say hello, and
// notices when a process of which it has a pidfd has ended. It sleeps until one
// of the two happens and never blocks on a peer: a connection that says nothing
// costs a descriptor until others need it.
//
// Lock: the node's mutex while it changes what is known of a peer.

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "fabric/fabric_node_inner.h"

#define EVENTS 16
// Connections that have not said hello yet.
#define CALLERS_MAX 64

// What an event is about, in its upper half; the lower half is a rank or a
// descriptor.
enum subject {
    SUBJECT_STOP = 0,
    SUBJECT_LISTENER = 1,
    SUBJECT_CALLER = 2,
    SUBJECT_PROCESS = 3,
};

struct callers {
    int sockets[CALLERS_MAX];
    uint32_t count;
};

static bool
add_event(const struct fabric_node *node, int file, enum subject subject,
          uint32_t detail)
{
    struct epoll_event event = {
        .events = EPOLLIN,
        .data.u64 = (uint64_t)subject << 32 | detail,
    };

    return epoll_ctl(node->events, EPOLL_CTL_ADD, file, &event) == 0;
}

// Lets a connection go.
static void
dismiss(struct callers *callers, int socket)
{
    for (uint32_t i = 0; i < callers->count; i++) {
        if (callers->sockets[i] == socket) {
            callers->count--;
            memmove(&callers->sockets[i], &callers->sockets[i + 1],
                    (callers->count - i) * sizeof(callers->sockets[0]));
            (void)close(socket);
            return;
        }
    }
}

static void
accept_callers(struct fabric_node *node, struct callers *callers)
{
    for (;;) {
        int made = accept4(node->listener, NULL, NULL,
                           SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (made < 0) {
            return;
        }
        if (callers->count == CALLERS_MAX) {
            dismiss(callers, callers->sockets[0]);
        }
        callers->sockets[callers->count++] = made;
        if (!fabric_node_is_same_user(made) ||
            !add_event(node, made, SUBJECT_CALLER, (uint32_t)made)) {
            dismiss(callers, made);
        }
    }
}

// From now on the rank's pins are looked at.
static void
add_reader(struct fabric_node *node, uint16_t rank)
{
    check(pthread_mutex_lock(&node->mutex) == 0);
    if (!node->peers[rank].reads_here) {
        uint32_t count = atomic_load(&node->reader_count);

        node->peers[rank].reads_here = true;
        node->readers[count] = rank;
        atomic_store(&node->reader_count, count + 1);
    }
    check(pthread_mutex_unlock(&node->mutex) == 0);
}

// Gives the reader what it may map.
static bool
welcome(struct fabric_node *node, int socket, bool may_pin)
{
    struct fabric_node_welcome text = {
        .magic = FABRIC_NODE_MAGIC,
        .job = node->job,
        .rank = node->rank,
        .may_pin = may_pin ? 1 : 0,
        .has_process = node->process >= 0 ? 1 : 0,
        .page_bytes = node->page_bytes,
    };
    struct fabric_node_parcel parcel = {.data = &text, .bytes = sizeof(text)};

    parcel.files[parcel.file_count++] = node->page_file;
    check(pthread_mutex_lock(&node->mutex) == 0);
    for (uint32_t i = 0; i < FABRIC_NODE_REGIONS; i++) {
        if (node->files[i] >= 0) {
            text.regions |= 1u << i;
            text.region_bytes[i] = node->address.region_bytes[i];
            parcel.files[parcel.file_count++] = node->files[i];
        }
    }
    check(pthread_mutex_unlock(&node->mutex) == 0);
    if (node->process >= 0) {
        parcel.files[parcel.file_count++] = node->process;
    }
    return fabric_node_send(socket, &parcel);
}

// A reader that dies must be noticed, or its pins would stay: without a pidfd
// it gets everything but the right to pin.
static void
serve(struct fabric_node *node, struct callers *callers, int socket)
{
    struct fabric_node_hello hello;
    struct fabric_node_parcel parcel = {.data = &hello, .bytes = sizeof(hello)};
    bool may_pin = false;

    if (fabric_node_receive(socket, &parcel)) {
        if (hello.magic != FABRIC_NODE_MAGIC || hello.job != node->job ||
            hello.to != node->rank || hello.from >= node->rank_count ||
            hello.from == node->rank ||
            hello.has_process != parcel.file_count) {
            fabric_node_close_files(&parcel);
        } else {
            if (parcel.file_count == 1) {
                may_pin = fabric_node_watch_process(node, hello.from,
                                                    parcel.files[0]);
            }
            if (may_pin) {
                add_reader(node, hello.from);
            }
            (void)welcome(node, socket, may_pin);
        }
    }
    dismiss(callers, socket);
}

static void *
run(void *argument)
{
    struct fabric_node *node = argument;
    struct callers callers = {.count = 0};
    bool stopping = false;

    while (!stopping) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(node->events, events, EVENTS, -1);

        check(count >= 0 || errno == EINTR);
        for (int i = 0; i < count; i++) {
            uint32_t detail = (uint32_t)events[i].data.u64;

            switch ((enum subject)(events[i].data.u64 >> 32)) {
            case SUBJECT_STOP:
                stopping = true;
                break;
            case SUBJECT_LISTENER:
                accept_callers(node, &callers);
                break;
            case SUBJECT_CALLER:
                serve(node, &callers, (int)detail);
                break;
            case SUBJECT_PROCESS:
                fabric_node_forget(node, (uint16_t)detail);
                break;
            }
        }
    }
    while (callers.count > 0) {
        dismiss(&callers, callers.sockets[0]);
    }
    return NULL;
}

enum cascade_status
fabric_node_start(struct fabric_node *node)
{
    sigset_t all;
    sigset_t before;
    int failed;

    node->events = epoll_create1(EPOLL_CLOEXEC);
    node->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (node->events < 0 || node->stop < 0 ||
        !add_event(node, node->stop, SUBJECT_STOP, 0) ||
        !add_event(node, node->listener, SUBJECT_LISTENER, 0)) {
        return error_set_errno(errno, "no descriptors to serve peers with");
    }
    (void)sigfillset(&all);
    check(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    failed = pthread_create(&node->thread, NULL, run, node);
    check(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    if (failed != 0) {
        return error_set(CASCADE_NO_MEMORY, "no thread to serve peers with");
    }
    node->has_thread = true;
    (void)pthread_setname_np(node->thread, "cascade-node");
    return CASCADE_OK;
}

void
fabric_node_join(struct fabric_node *node)
{
    if (node->has_thread) {
        uint64_t one = 1;

        check(write(node->stop, &one, sizeof(one)) == (ssize_t)sizeof(one));
        check(pthread_join(node->thread, NULL) == 0);
        node->has_thread = false;
    }
    if (node->events >= 0) {
        (void)close(node->events);
        node->events = -1;
    }
    if (node->stop >= 0) {
        (void)close(node->stop);
        node->stop = -1;
    }
}

bool
fabric_node_watch_process(struct fabric_node *node, uint16_t rank, int process)
{
    struct fabric_node_peer *peer = &node->peers[rank];
    bool watched;

    check(pthread_mutex_lock(&node->mutex) == 0);
    if (peer->process < 0 && atomic_load(&peer->state) != FABRIC_NODE_DEAD &&
        add_event(node, process, SUBJECT_PROCESS, rank)) {
        peer->process = process;
        process = -1;
    }
    watched = peer->process >= 0;
    check(pthread_mutex_unlock(&node->mutex) == 0);
    if (process >= 0) {
        (void)close(process);
    }
    return watched;
}
