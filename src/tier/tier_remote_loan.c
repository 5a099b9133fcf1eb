// SPDX-License-Identifier: Apache-2.0
//
// The owner's side: pins that it gives to other ranks by message, and blocks
// that it sends. Who holds what is asked of whoever wired the tier, and may be
// answered later by any thread.
//
// Invariant: a loan has its pin from the moment that it is HELD or SENDING until
// it is free. One that is SENDING does not expire and does not go with its
// rank: the fabric has its memory until every push has ended.
//
// Lock: loan_lock over the state of loans and their lists; never held while the
// port, the tier or the one who wired is called.

#include <string.h>

#include "base/error.h"
#include "tier/tier_remote_inner.h"

// Touches that are passed on at once.
#define SLOTS_MAX 256

static uint8_t
subject_of(const struct tier_remote *remote, enum tier_remote_subject subject)
{
    return (uint8_t)(remote->options.subject + subject);
}

static struct tier_remote_loan *
take_loan(struct tier_remote *remote)
{
    struct tier_remote_loan *loan = NULL;

    tier_remote_lock(&remote->loan_lock);
    if (remote->free_loan != TIER_REMOTE_NONE) {
        loan = &remote->loans[remote->free_loan];
        remote->free_loan = loan->next;
        remote->loans_out++;
        loan->state = TIER_REMOTE_LOAN_ASKED;
        loan->serial++;
    }
    tier_remote_unlock(&remote->loan_lock);
    return loan;
}

static void
free_loan_locked(struct tier_remote_loan *loan)
{
    struct tier_remote *remote = loan->remote;

    loan->state = TIER_REMOTE_LOAN_FREE;
    loan->next = remote->free_loan;
    remote->free_loan = (uint32_t)(loan - remote->loans);
    remote->loans_out--;
}

static void
free_loan(struct tier_remote_loan *loan)
{
    tier_remote_lock(&loan->remote->loan_lock);
    free_loan_locked(loan);
    tier_remote_unlock(&loan->remote->loan_lock);
}

// Ends the pin of a loan that was made free, with a copy of it.
static void
unpin(struct tier_remote *remote, struct tier_pin *pin)
{
    tier_dram_table.unpin(remote->options.dram, pin);
    atomic_fetch_sub_explicit(&remote->pins_out, 1, memory_order_relaxed);
}

// Frees the loan if it is held; true with its pin.
static bool
free_if_held(struct tier_remote_loan *loan, struct tier_pin *pin)
{
    bool held = loan->state == TIER_REMOTE_LOAN_HELD;

    if (held) {
        *pin = loan->pin;
        free_loan_locked(loan);
    }
    return held;
}

// --- sending

static void
end_sending(struct tier_remote_loan *loan)
{
    struct tier_remote *remote = loan->remote;
    struct tier_pin pin = loan->pin;

    free_loan(loan);
    unpin(remote, &pin);
}

static void
push_ended(struct fabric_transfer *transfer, enum cascade_status status);

// Engine thread, or the one that begins. Hands in what the window has room for.
static void
push_more(struct tier_remote_loan *loan, struct tier_remote_push *push)
{
    const struct block_place *place = &loan->pin.place;
    const uint8_t *memory = loan->pin.memory;
    uint64_t offset = loan->sent_bytes;
    uint64_t bytes = place->bytes - offset;
    uint64_t chunk_bytes = loan->wanted.chunk_bytes;

    bytes = bytes < chunk_bytes ? bytes : chunk_bytes;
    loan->sent_bytes += bytes;
    loan->under_way++;
    push->loan = loan;
    push->transfer = (struct fabric_transfer){.ended = push_ended,
                                              .context = push};
    fabric_port_push(loan->remote->options.port, loan->ask.from,
                     loan->wanted.tag + offset / chunk_bytes, memory + offset,
                     bytes, &push->transfer);
}

static void
push_ended(struct fabric_transfer *transfer, enum cascade_status status)
{
    struct tier_remote_push *push = transfer->context;
    struct tier_remote_loan *loan = push->loan;

    loan->under_way--;
    loan->failed = loan->failed || status != CASCADE_OK;
    if (!loan->failed && loan->sent_bytes < loan->pin.place.bytes) {
        push_more(loan, push);
    } else if (loan->under_way == 0) {
        end_sending(loan);
    }
}

// On the engine thread, for whoever granted may be another.
static void
begin_sending(struct fabric_post *post)
{
    struct tier_remote_loan *loan = post->context;
    uint64_t bytes = loan->pin.place.bytes;

    loan->sent_bytes = 0;
    loan->under_way = 0;
    loan->failed = false;
    for (uint32_t i = 0; i < TIER_REMOTE_WINDOW && loan->sent_bytes < bytes;
         i++) {
        push_more(loan, &loan->pushes[i]);
    }
    if (bytes == 0) {
        end_sending(loan);
    }
}

// --- granting

static void
refuse(struct tier_remote_loan *loan, enum cascade_status status)
{
    struct tier_remote *remote = loan->remote;
    struct fabric_answer answer = loan->answer;

    free_loan(loan);
    fabric_port_answer(remote->options.port, answer, status, NULL, 0);
}

// The loan's pin is here; from now on it is the asker's. Fills the answer.
static bool
lend(struct tier_remote_loan *loan, const struct tier_pin *pin,
     struct tier_remote_grant *grant)
{
    struct tier_remote *remote = loan->remote;
    uint64_t now_ns = clock_steady_ns(remote->options.clock);
    bool lent;

    memset(grant, 0, sizeof(*grant));
    grant->place = pin->place;
    grant->lease_ns = remote->options.lease_ns;
    atomic_fetch_add_explicit(&remote->pins_out, 1, memory_order_relaxed);
    tier_remote_lock(&remote->loan_lock);
    lent = !remote->lost[loan->ask.from];
    if (lent) {
        loan->pin = *pin;
        loan->ends_ns = now_ns + remote->options.lease_ns;
        loan->state = loan->fetch ? TIER_REMOTE_LOAN_SENDING
                                  : TIER_REMOTE_LOAN_HELD;
        if (!loan->fetch) {
            grant->token = (uint64_t)loan->serial << 32 |
                           (uint32_t)(loan - remote->loans + 1);
        }
    }
    tier_remote_unlock(&remote->loan_lock);
    return lent;
}

static void
granted(struct tier_remote_ask *ask, enum cascade_status status,
        const struct tier_pin *pin)
{
    struct tier_remote_loan *loan =
        (void *)((char *)ask - offsetof(struct tier_remote_loan, ask));
    struct tier_remote *remote = loan->remote;
    struct fabric_answer answer = loan->answer;
    struct tier_remote_grant grant;
    bool fetch = loan->fetch;
    struct tier_pin own;

    if (status != CASCADE_OK) {
        refuse(loan, status);
        return;
    }
    own = *pin;
    if (own.place.bytes != loan->wanted.bytes) {
        tier_dram_table.unpin(remote->options.dram, &own);
        refuse(loan, CASCADE_STALE);
        return;
    }
    if (!lend(loan, &own, &grant)) {
        unpin(remote, &own);
        refuse(loan, CASCADE_CLOSED);
        return;
    }
    tier_remote_count(&remote->grants);
    // From here on a loan that is only held may be gone at any moment.
    fabric_port_answer(remote->options.port, answer, CASCADE_OK, &grant,
                       sizeof(grant));
    if (fetch) {
        loan->begin.run = begin_sending;
        loan->begin.context = loan;
        fabric_port_post(remote->options.port, &loan->begin);
    }
}

static void
lend_to(struct tier_remote *remote, const struct fabric_message *message,
        bool fetch)
{
    struct tier_remote_wanted wanted;
    struct tier_remote_loan *loan = NULL;
    enum cascade_status status = CASCADE_BUSY;

    if (message->bytes != sizeof(wanted)) {
        status = CASCADE_INVALID;
    } else if (remote->options.dram == NULL || remote->options.ask == NULL) {
        status = CASCADE_NOT_FOUND;
    } else {
        memcpy(&wanted, message->data, sizeof(wanted));
        if (fetch && wanted.chunk_bytes == 0) {
            status = CASCADE_INVALID;
        } else {
            loan = take_loan(remote);
        }
    }
    if (loan == NULL) {
        fabric_port_answer(remote->options.port, message->answer, status, NULL,
                           0);
        return;
    }
    loan->wanted = wanted;
    loan->fetch = fetch;
    loan->answer = message->answer;
    loan->ask = (struct tier_remote_ask){
        .id = wanted.id, .from = message->from, .granted = granted};
    remote->options.ask(remote->options.context, &loan->ask);
}

static void
handle_pin(void *context, const struct fabric_message *message)
{
    lend_to(context, message, false);
}

static void
handle_fetch(void *context, const struct fabric_message *message)
{
    lend_to(context, message, true);
}

// --- what readers say afterwards

static void
handle_unpin(void *context, const struct fabric_message *message)
{
    struct tier_remote *remote = context;
    const uint8_t *data = message->data;

    for (size_t i = 0; i + sizeof(uint64_t) <= message->bytes;
         i += sizeof(uint64_t)) {
        struct tier_pin pin;
        bool held = false;
        uint64_t token;
        uint32_t index;

        memcpy(&token, data + i, sizeof(token));
        index = (uint32_t)token - 1;
        if (index >= TIER_REMOTE_LOANS) {
            continue;
        }
        tier_remote_lock(&remote->loan_lock);
        if (remote->loans[index].serial == (uint32_t)(token >> 32) &&
            remote->loans[index].ask.from == message->from) {
            held = free_if_held(&remote->loans[index], &pin);
        }
        tier_remote_unlock(&remote->loan_lock);
        if (held) {
            unpin(remote, &pin);
        }
    }
}

static void
handle_touch(void *context, const struct fabric_message *message)
{
    struct tier_remote *remote = context;
    const uint8_t *data = message->data;
    size_t left = message->bytes / sizeof(uint32_t);
    uint32_t slots[SLOTS_MAX];

    while (left > 0 && remote->options.touched != NULL) {
        size_t count = left < SLOTS_MAX ? left : SLOTS_MAX;

        memcpy(slots, data, count * sizeof(slots[0]));
        remote->options.touched(remote->options.context, slots, count);
        data += count * sizeof(slots[0]);
        left -= count;
    }
}

static void
handle_damage(void *context, const struct fabric_message *message)
{
    struct tier_remote *remote = context;
    struct tier_remote_damage damage;

    if (message->bytes == sizeof(damage) && remote->options.damaged != NULL) {
        memcpy(&damage, message->data, sizeof(damage));
        remote->options.damaged(remote->options.context, &damage.id,
                                &damage.place);
    }
}

// Ends the pins that are held and for which `ends` says so.
static void
end_loans(struct tier_remote *remote,
          bool (*ends)(const struct tier_remote_loan *loan, uint64_t value),
          uint64_t value, bool expired)
{
    for (uint32_t i = 0; i < TIER_REMOTE_LOANS; i++) {
        struct tier_remote_loan *loan = &remote->loans[i];
        struct tier_pin pin;
        bool held;

        tier_remote_lock(&remote->loan_lock);
        held = ends(loan, value) && free_if_held(loan, &pin);
        tier_remote_unlock(&remote->loan_lock);
        if (held) {
            unpin(remote, &pin);
            if (expired) {
                tier_remote_count(&remote->pins_expired);
            }
        }
    }
}

static bool
has_expired(const struct tier_remote_loan *loan, uint64_t now_ns)
{
    return loan->state == TIER_REMOTE_LOAN_HELD && loan->ends_ns <= now_ns;
}

static bool
is_of_rank(const struct tier_remote_loan *loan, uint64_t rank)
{
    return loan->state == TIER_REMOTE_LOAN_HELD && loan->ask.from == rank;
}

enum cascade_status
tier_remote_loan_open(struct tier_remote *remote)
{
    const struct allocator *allocator = remote->options.allocator;

    remote->loans = allocator_array(allocator, TIER_REMOTE_LOANS,
                                    sizeof(remote->loans[0]));
    remote->lost = allocator_array(allocator, remote->rank_count,
                                   sizeof(remote->lost[0]));
    if (remote->loans == NULL || remote->lost == NULL) {
        return CASCADE_NO_MEMORY;
    }
    remote->free_loan = TIER_REMOTE_NONE;
    for (uint32_t i = TIER_REMOTE_LOANS; i-- > 0;) {
        remote->loans[i].remote = remote;
        remote->loans[i].next = remote->free_loan;
        remote->free_loan = i;
    }
    return CASCADE_OK;
}

void
tier_remote_loan_listen(struct tier_remote *remote)
{
    struct fabric_port *port = remote->options.port;

    fabric_port_handle(port, subject_of(remote, TIER_REMOTE_SUBJECT_PIN),
                       handle_pin, remote);
    fabric_port_handle(port, subject_of(remote, TIER_REMOTE_SUBJECT_FETCH),
                       handle_fetch, remote);
    fabric_port_handle(port, subject_of(remote, TIER_REMOTE_SUBJECT_UNPIN),
                       handle_unpin, remote);
    fabric_port_handle(port, subject_of(remote, TIER_REMOTE_SUBJECT_TOUCH),
                       handle_touch, remote);
    fabric_port_handle(port, subject_of(remote, TIER_REMOTE_SUBJECT_DAMAGE),
                       handle_damage, remote);
}

void
tier_remote_loan_close(struct tier_remote *remote)
{
    // The port is closed: nothing is under way any more, whatever a loan says.
    for (uint32_t i = 0; remote->loans != NULL && i < TIER_REMOTE_LOANS; i++) {
        struct tier_remote_loan *loan = &remote->loans[i];

        check(loan->state != TIER_REMOTE_LOAN_ASKED);
        if (loan->state != TIER_REMOTE_LOAN_FREE) {
            unpin(remote, &loan->pin);
        }
    }
    allocator_release(remote->options.allocator, remote->loans);
    allocator_release(remote->options.allocator, remote->lost);
}

void
tier_remote_loan_expire(struct tier_remote *remote, uint64_t now_ns)
{
    bool any;

    tier_remote_lock(&remote->loan_lock);
    any = remote->loans_out > 0;
    tier_remote_unlock(&remote->loan_lock);
    if (any) {
        end_loans(remote, has_expired, now_ns, true);
    }
}

void
tier_remote_loan_lost(struct tier_remote *remote, uint16_t rank)
{
    tier_remote_lock(&remote->loan_lock);
    remote->lost[rank] = true;
    tier_remote_unlock(&remote->loan_lock);
    end_loans(remote, is_of_rank, rank, false);
}
