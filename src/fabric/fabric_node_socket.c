// SPDX-License-Identifier: Apache-2.0
//
// Abstract UNIX sockets that keep messages apart (SOCK_SEQPACKET), and
// descriptors over them. It knows no ranks and has no state. Any thread.

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "fabric/fabric_node_inner.h"

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

// Readers that come at the same moment.
#define BACKLOG 1024

#define NAME_BYTES 64

// The address of an abstract name; its length.
static socklen_t
make_address(const uint8_t name[NAME_BYTES], struct sockaddr_un *address)
{
    size_t length = strnlen((const char *)name, NAME_BYTES - 1);

    memset(address, 0, sizeof(*address));
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path + 1, name, length);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length);
}

int
fabric_node_listen(uint64_t job, uint16_t rank, uint8_t name[NAME_BYTES])
{
    struct sockaddr_un address;
    char text[NAME_BYTES] = "";
    uint64_t number;
    socklen_t length;
    int made;

    if (getrandom(&number, sizeof(number), 0) != (ssize_t)sizeof(number)) {
        return -1;
    }
    (void)snprintf(text, sizeof(text), "cascade-%016llx-%u-%016llx",
                   (unsigned long long)job, rank, (unsigned long long)number);
    memcpy(name, text, NAME_BYTES);
    made = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (made < 0) {
        return -1;
    }
    length = make_address(name, &address);
    if (bind(made, (struct sockaddr *)&address, length) != 0 ||
        listen(made, BACKLOG) != 0) {
        int cause = errno;

        (void)close(made);
        errno = cause;
        return -1;
    }
    return made;
}

int
fabric_node_connect(const uint8_t name[NAME_BYTES], uint64_t timeout_ns,
                    const char **reason)
{
    struct timeval limit = {
        .tv_sec = (time_t)(timeout_ns / 1000000000),
        .tv_usec = (suseconds_t)(timeout_ns % 1000000000 / 1000)};
    struct sockaddr_un address;
    socklen_t length = make_address(name, &address);
    int made = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    if (made < 0) {
        *reason = "this process can open no socket";
        return -1;
    }
    (void)setsockopt(made, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    (void)setsockopt(made, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    if (connect(made, (struct sockaddr *)&address, length) != 0) {
        *reason = errno == ECONNREFUSED
                      ? "its socket is not here: it has ended, or is in "
                        "another network namespace"
                      : "its socket cannot be reached";
        (void)close(made);
        return -1;
    }
    if (!fabric_node_is_same_user(made)) {
        *reason = "it belongs to another user";
        (void)close(made);
        return -1;
    }
    return made;
}

bool
fabric_node_is_same_user(int socket)
{
    struct ucred other;
    socklen_t bytes = sizeof(other);

    return getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &other, &bytes) == 0 &&
           other.uid == geteuid();
}

// Room for the descriptors of a parcel beside its data.
union control {
    struct cmsghdr head;
    char bytes[CMSG_SPACE(FABRIC_NODE_FILES_MAX * sizeof(int))];
};

bool
fabric_node_send(int socket, const struct fabric_node_parcel *parcel)
{
    struct iovec data = {.iov_base = parcel->data, .iov_len = parcel->bytes};
    union control control = {.bytes = {0}};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
    size_t bytes = parcel->file_count * sizeof(int);
    ssize_t sent;

    if (parcel->file_count > 0) {
        struct cmsghdr *head = &control.head;

        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(bytes);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(bytes);
        memcpy(CMSG_DATA(head), parcel->files, bytes);
    }
    do {
        sent = sendmsg(socket, &message, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent == (ssize_t)parcel->bytes;
}

// Notes the descriptors that came with the message. False: there are more than
// were meant.
static bool
take_files(struct msghdr *message, struct fabric_node_parcel *parcel)
{
    bool all = (message->msg_flags & MSG_CTRUNC) == 0;

    for (struct cmsghdr *head = CMSG_FIRSTHDR(message); head != NULL;
         head = CMSG_NXTHDR(message, head)) {
        size_t count;

        if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int file;

            memcpy(&file, CMSG_DATA(head) + i * sizeof(int), sizeof(file));
            if (parcel->file_count < FABRIC_NODE_FILES_MAX) {
                parcel->files[parcel->file_count++] = file;
            } else {
                (void)close(file);
                all = false;
            }
        }
    }
    return all;
}

bool
fabric_node_receive(int socket, struct fabric_node_parcel *parcel)
{
    struct iovec data = {.iov_base = parcel->data, .iov_len = parcel->bytes};
    union control control;
    struct msghdr message = {.msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes)};
    ssize_t received;
    bool whole;

    parcel->file_count = 0;
    do {
        received = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    } while (received < 0 && errno == EINTR);
    if (received < 0) {
        return false;
    }
    whole = take_files(&message, parcel) &&
            received == (ssize_t)parcel->bytes &&
            (message.msg_flags & MSG_TRUNC) == 0;
    if (!whole) {
        fabric_node_close_files(parcel);
    }
    return whole;
}

void
fabric_node_close_files(struct fabric_node_parcel *parcel)
{
    for (uint32_t i = 0; i < parcel->file_count; i++) {
        (void)close(parcel->files[i]);
    }
    parcel->file_count = 0;
}

int
fabric_node_own_process(void)
{
    return (int)syscall(SYS_pidfd_open, getpid(), 0);
}
