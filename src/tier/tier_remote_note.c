// SPDX-License-Identifier: Apache-2.0
//
// What readers tell owners without waiting: pins that they need no longer, and
// slots that they read. Notes are collected and sent together by the engine
// thread. What does not fit is left out: a pin that nobody ends expires, and a
// touch is only a hint.
//
// Lock: note_lock over the list. The engine takes the list as a whole, so that
// the lock is held for one copy.

#include <string.h>

#include "base/error.h"
#include "tier/tier_remote_inner.h"

// A message of one kind to one rank.
#define VALUES_MAX 512
// Touches are not worth waking the engine for before there are this many.
#define TOUCHES_MIN (TIER_REMOTE_NOTES / 4)

static void
run_flush(struct fabric_post *post)
{
    struct tier_remote *remote = post->context;

    tier_remote_lock(&remote->note_lock);
    remote->flush_is_posted = false;
    tier_remote_unlock(&remote->note_lock);
    tier_remote_note_flush(remote);
}

// True if the engine is to be told. With the lock held.
static bool
add_note(struct tier_remote *remote, const struct tier_remote_note *note)
{
    bool wanted;

    if (remote->note_count == TIER_REMOTE_NOTES) {
        return false;
    }
    remote->notes[remote->note_count++] = *note;
    wanted = !remote->flush_is_posted &&
             (!note->touch || remote->note_count >= TOUCHES_MIN);
    remote->flush_is_posted = remote->flush_is_posted || wanted;
    return wanted;
}

static void
send(struct tier_remote *remote, uint16_t rank,
     enum tier_remote_subject subject, const void *values, size_t bytes)
{
    // If it cannot be sent the pins expire.
    if (fabric_port_tell(remote->options.port, rank,
                         (uint8_t)(remote->options.subject + subject), values,
                         bytes) != CASCADE_OK) {
        error_clear();
    }
}

// Sends all notes from `first` on that go to the same rank and are of the same
// kind, and marks them as sent.
static void
send_alike(struct tier_remote *remote, uint32_t first, uint32_t count)
{
    struct tier_remote_note *notes = remote->going;
    uint16_t rank = notes[first].rank;
    bool touch = notes[first].touch;
    uint64_t tokens[VALUES_MAX];
    uint32_t slots[VALUES_MAX];
    size_t values = 0;

    for (uint32_t i = first; i < count && values < VALUES_MAX; i++) {
        if (notes[i].rank == rank && notes[i].touch == touch &&
            notes[i].value != UINT64_MAX) {
            tokens[values] = notes[i].value;
            slots[values] = (uint32_t)notes[i].value;
            values++;
            notes[i].value = UINT64_MAX;
        }
    }
    if (touch) {
        send(remote, rank, TIER_REMOTE_SUBJECT_TOUCH, slots,
             values * sizeof(slots[0]));
    } else {
        send(remote, rank, TIER_REMOTE_SUBJECT_UNPIN, tokens,
             values * sizeof(tokens[0]));
    }
}

enum cascade_status
tier_remote_note_open(struct tier_remote *remote)
{
    const struct allocator *allocator = remote->options.allocator;

    remote->notes = allocator_array(allocator, TIER_REMOTE_NOTES,
                                    sizeof(remote->notes[0]));
    remote->going = allocator_array(allocator, TIER_REMOTE_NOTES,
                                    sizeof(remote->going[0]));
    remote->flush.run = run_flush;
    remote->flush.context = remote;
    return remote->notes != NULL && remote->going != NULL ? CASCADE_OK
                                                          : CASCADE_NO_MEMORY;
}

void
tier_remote_note_close(struct tier_remote *remote)
{
    allocator_release(remote->options.allocator, remote->notes);
    allocator_release(remote->options.allocator, remote->going);
}

void
tier_remote_note_unpin(struct tier_remote *remote, uint16_t rank,
                       uint64_t token)
{
    const struct tier_remote_note note = {.rank = rank, .value = token};
    bool post;

    tier_remote_lock(&remote->note_lock);
    post = add_note(remote, &note);
    tier_remote_unlock(&remote->note_lock);
    if (post) {
        fabric_port_post(remote->options.port, &remote->flush);
    }
}

void
tier_remote_note_touch(struct tier_remote *remote, uint16_t rank, uint32_t slot)
{
    const struct tier_remote_note note = {
        .rank = rank, .touch = true, .value = slot};
    bool post;

    // Not worth waiting for.
    if (pthread_mutex_trylock(&remote->note_lock) != 0) {
        return;
    }
    post = remote->note_count < TIER_REMOTE_NOTES / 2 &&
           add_note(remote, &note);
    tier_remote_unlock(&remote->note_lock);
    if (post) {
        fabric_port_post(remote->options.port, &remote->flush);
    }
}

void
tier_remote_note_flush(struct tier_remote *remote)
{
    uint32_t count;

    tier_remote_lock(&remote->note_lock);
    count = remote->note_count;
    memcpy(remote->going, remote->notes, count * sizeof(remote->notes[0]));
    remote->note_count = 0;
    tier_remote_unlock(&remote->note_lock);
    for (uint32_t i = 0; i < count; i++) {
        if (remote->going[i].value != UINT64_MAX) {
            send_alike(remote, i, count);
        }
    }
}
