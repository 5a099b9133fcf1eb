// SPDX-License-Identifier: Apache-2.0
//
// Clients of the model: each operation is a walk from answer to answer.

#include "home_model_inner.h"

static const struct block_version highest = {UINT64_MAX, UINT64_MAX};

static void
end(struct home_model *model, struct op *op)
{
    if (op->kind == OP_REMOVE) {
        model->removers[op->key]--;
    } else if (op->kind == OP_CLEAR) {
        for (uint8_t key = 0; key < model->key_count; key++) {
            model->removers[key]--;
        }
    }
    if (!op->is_unknown) {
        model->result.operations++;
    }
    op->kind = OP_NONE;
}

// --- put ---

static void
ask_bind(struct home_model *model, uint32_t number, uint64_t patience_ns)
{
    struct op *op = &model->ops[number];
    struct directory_message_bind bind;

    memset(&bind, 0, sizeof(bind));
    bind.key = model->keys[op->key];
    bind.id = model_id(op->id);
    bind.version = op->version;
    bind.bytes = op->id;
    bind.flags = op->flags;
    model_ask(model, number, model_home(model, op->key), DIRECTORY_SUBJECT_BIND,
              &bind, sizeof(bind), patience_ns);
}

void
model_ask_again(struct home_model *model, uint32_t number)
{
    if (model->ops[number].kind == OP_PUT && model->ops[number].asks_later) {
        model->ops[number].asks_later = false;
        ask_bind(model, number, 100 * LEASE_NS);
    }
}

static uint64_t
some_patience(struct home_model *model)
{
    return model_random(model, 4) == 0 ? (1 + model_random(model, 2000)) * MS
                                       : 100 * LEASE_NS;
}

// The name goes; and what it replaced has gone when it came.
static void
give_up_name(struct home_model *model, const struct op *op)
{
    struct name *pending = &model->ranks[op->rank].pending[op->key];

    if (!pending->is) {
        return;
    }
    pending->is = false;
    if (!block_version_is_zero(pending->replaced)) {
        model->loss[op->key]++;
        if (model->mutation != HOME_MUTATION_KEEP_REPLACED) {
            model_tell_gone(model, op->rank, op->key, pending->replaced);
        }
    }
}

// A name under a version above all that was seen, and the question.
static void
bind_anew(struct home_model *model, uint32_t number)
{
    struct op *op = &model->ops[number];
    struct name *pending = &model->ranks[op->rank].pending[op->key];
    struct name *kept = &model->ranks[op->rank].kept[op->key];

    op->version = model_next_version(model, op->rank);
    if (model->record_count[op->key] + 4 > RECORDS) {
        give_up_name(model, op);
        end(model, op);
        return;
    }
    if (kept->is && (op->flags & DIRECTORY_MESSAGE_IF_ABSENT) != 0) {
        give_up_name(model, op);
        end(model, op); // exists, and this rank knows it
        return;
    }
    model_note_version(model, op->key, op->version, op->id, op);
    directory_leases_drop(model->ranks[op->rank].leases, &model->keys[op->key],
                          highest);
    if (!pending->is) {
        memset(&pending->replaced, 0, sizeof(pending->replaced));
    }
    if (kept->is) {
        pending->replaced = kept->version;
        kept->is = false;
    }
    pending->is = true;
    pending->id = op->id;
    pending->version = op->version;
    pending->is_protected = (op->flags & DIRECTORY_MESSAGE_PROTECTED) != 0;
    ask_bind(model, number, some_patience(model));
}

static void
install(struct home_model *model, uint16_t rank, uint8_t key,
        const struct directory_lease *lease)
{
    directory_leases_install(model->ranks[rank].leases, &model->keys[key],
                             lease);
}

// The lease counts from the question, and ends a little before the home's.
static struct directory_lease
lease_of(const struct home_model *model, const struct block_id *id,
         struct block_version version, uint64_t asked_ns, uint64_t lease_ns,
         uint16_t custodian)
{
    struct directory_lease lease;

    memset(&lease, 0, sizeof(lease));
    lease.id = *id;
    lease.version = version;
    lease.custodian = custodian;
    lease.end_ns = asked_ns + lease_ns - lease_ns / 50;
    if (model->mutation == HOME_MUTATION_FAST_CLOCK) {
        lease.end_ns = asked_ns + lease_ns * 3 / 2;
    }
    return lease;
}

static void
put_confirmed(struct home_model *model, struct op *op, uint64_t asked_ns,
              const struct directory_message_bound *bound)
{
    struct rank *self = &model->ranks[op->rank];
    struct name *pending = &self->pending[op->key];
    struct record *record = model_record(model, op->key, op->version);
    struct directory_lease lease;

    if (pending->is &&
        block_version_compare(pending->version, op->version) == 0) {
        if (!self->kept[op->key].is ||
            block_version_compare(self->kept[op->key].version, op->version) <
                0) {
            self->kept[op->key] = *pending;
        }
        pending->is = false;
        if (bound->lease_ns > 0) {
            lease = lease_of(model, &bound->id, bound->version, asked_ns,
                             bound->lease_ns, op->rank);
            install(model, op->rank, op->key, &lease);
        }
    } else if (!self->kept[op->key].is ||
               block_version_compare(self->kept[op->key].version, op->version) <
                   0) {
        model_tell_gone(model, op->rank, op->key, op->version);
    }
    if ((op->flags & DIRECTORY_MESSAGE_IF_ABSENT) != 0 && !op->is_unknown) {
        // Whatever was answered before this put began had to be gone.
        model_check_missed(model, op->key, op->floor);
    }
    if (record != NULL) {
        record->answered = ++model->moment;
    }
    if (!op->is_unknown) {
        model_raise(model, op->key, op->version);
    }
}

static void
put_answered(struct home_model *model, uint32_t number, uint64_t asked_ns,
             const struct packet *packet)
{
    struct op *op = &model->ops[number];
    struct name *pending = &model->ranks[op->rank].pending[op->key];
    struct directory_message_bound bound;

    memcpy(&bound, packet->data, sizeof(bound));
    if (packet->status == CASCADE_OK) {
        put_confirmed(model, op, asked_ns, &bound);
    } else if (packet->status == CASCADE_TIMEOUT) {
        // Unknown: the background asks again until it is told.
        op->is_unknown = true;
        ask_bind(model, number, 100 * LEASE_NS);
        return;
    } else if (packet->status == CASCADE_BUSY && op->is_unknown &&
               ((op->flags & DIRECTORY_MESSAGE_PROTECTED) != 0 ||
                model_random(model, 2) == 0)) {
        // The first question may stand in line. What is protected is kept until
        // it is known; else the name may go, with a word to the home.
        op->asks_later = true;
        return;
    } else {
        op->is_unknown |= packet->status == CASCADE_CLOSED;
        if (packet->status == CASCADE_STALE) {
            model_see(model, op->rank, bound.version);
            if (!op->is_unknown && ++op->attempts < ATTEMPTS) {
                bind_anew(model, number);
                return;
            }
        }
        if (block_version_compare(pending->version, op->version) == 0) {
            give_up_name(model, op);
        }
        if (packet->status != CASCADE_STALE &&
            packet->status != CASCADE_EXISTS) {
            // The first question may stand in line yet.
            model->loss[op->key]++;
            model->given_up[op->key] = true;
            model_tell_gone(model, op->rank, op->key, op->version);
        }
    }
    end(model, op);
}

// --- get ---

static void
ask_lookup(struct home_model *model, uint32_t number)
{
    struct op *op = &model->ops[number];
    struct {
        struct directory_message_count header;
        struct directory_message_lookup lookup;
    } message = {.header = {.count = 1}};

    if (++op->attempts > ATTEMPTS) {
        end(model, op); // a miss that moving explains
        return;
    }
    message.lookup.key = model->keys[op->key];
    model_ask(model, number, model_home(model, op->key),
              DIRECTORY_SUBJECT_LOOKUP, &message, sizeof(message),
              some_patience(model));
}

static void
get_done(struct home_model *model, struct op *op)
{
    model_check_seen(model, op->key, op->id, op->version, op->floor,
                     op->cleared, op->absent);
    model_raise(model, op->key, op->version);
    end(model, op);
}

static void
read_from(struct home_model *model, uint32_t number, uint16_t custodian)
{
    struct op *op = &model->ops[number];

    if (model_has(model, op->rank, op->id)) {
        get_done(model, op);
    } else if (custodian == DIRECTORY_RANK_NONE) {
        ask_lookup(model, number);
    } else {
        model_ask(model, number, custodian, SUBJECT_READ, &op->id, 1,
                  some_patience(model));
    }
}

static void
lookup_answered(struct home_model *model, uint32_t number, uint64_t asked_ns,
                const struct packet *packet)
{
    struct op *op = &model->ops[number];
    struct directory_message_found found;

    if (packet->status != CASCADE_OK) {
        end(model, op); // an error, not a miss
        return;
    }
    memcpy(&found, packet->data + sizeof(struct directory_message_count),
           sizeof(found));
    if (found.status != CASCADE_OK) {
        model_check_missed(model, op->key, op->floor);
        end(model, op);
        return;
    }
    if (model->mutation == HOME_MUTATION_LEASE_CHANGING) {
        found.lease_ns = LEASE_NS;
    }
    op->id = (uint8_t)(found.id.bytes[0] - 1);
    op->version = found.version;
    if (found.lease_ns > 0) {
        struct directory_lease lease = lease_of(model, &found.id, found.version,
                                                asked_ns, found.lease_ns,
                                                found.custodian);

        if (model->mutation == HOME_MUTATION_LATE_LEASE) {
            op->late = lease;
            op->has_late = true;
        } else {
            install(model, op->rank, op->key, &lease);
        }
    }
    read_from(model, number, found.custodian);
}

static void
read_answered(struct home_model *model, uint32_t number,
              const struct packet *packet)
{
    struct op *op = &model->ops[number];
    struct rank *self = &model->ranks[op->rank];
    struct directory_lease lease;

    if (op->has_late) {
        install(model, op->rank, op->key, &op->late);
        op->has_late = false;
    }
    if (packet->status != CASCADE_OK) {
        directory_leases_drop(self->leases, &model->keys[op->key], highest);
        ask_lookup(model, number);
        return;
    }
    // A promotion counts only under the lease that it was begun with.
    if (model_random(model, 2) == 0 &&
        block_version_compare(op->version, self->cleared) >= 0 &&
        directory_leases_find(self->leases, &model->keys[op->key],
                              model_now(model, op->rank), &lease) &&
        block_version_compare(lease.version, op->version) == 0) {
        struct name *guest = &self->guests[op->key];

        guest->is = true;
        guest->id = op->id;
        guest->version = op->version;
    }
    get_done(model, op);
}

static void
begin_get(struct home_model *model, uint32_t number)
{
    struct op *op = &model->ops[number];
    struct directory_lease lease;

    if (directory_leases_find(model->ranks[op->rank].leases,
                              &model->keys[op->key], model_now(model, op->rank),
                              &lease)) {
        op->id = (uint8_t)(lease.id.bytes[0] - 1);
        op->version = lease.version;
        read_from(model, number, lease.custodian);
        return;
    }
    ask_lookup(model, number);
}

// --- the others ---

static void
ask_all(struct home_model *model, uint32_t number, uint8_t subject,
        const void *data, size_t bytes)
{
    struct op *op = &model->ops[number];

    op->outstanding = model->rank_count;
    for (uint16_t r = 0; r < model->rank_count; r++) {
        model_ask(model, number, r, subject, data, bytes, 100 * LEASE_NS);
    }
}

static void
clear_answered(struct home_model *model, uint32_t number,
               const struct packet *packet)
{
    struct op *op = &model->ops[number];
    struct block_version version;

    if (packet->status != CASCADE_OK) {
        op->is_unknown = true;
    } else if (packet->subject == DIRECTORY_SUBJECT_VERSION) {
        memcpy(&version, packet->data, sizeof(version));
        if (block_version_compare(version, op->version) > 0) {
            op->version = version;
        }
    }
    if (--op->outstanding > 0) {
        return;
    }
    if (packet->subject == DIRECTORY_SUBJECT_VERSION && !op->is_unknown) {
        op->version.time_ns++;
        op->version.tag = op->rank + 1U;
        ask_all(model, number, DIRECTORY_SUBJECT_CLEAR, &op->version,
                sizeof(op->version));
        return;
    }
    if (!op->is_unknown &&
        block_version_compare(op->version, model->cleared) > 0) {
        model->cleared = op->version;
    }
    for (uint8_t key = 0; key < model->key_count && !op->is_unknown; key++) {
        if (model->record_count[key] < RECORDS) {
            model_note_version(model, key, op->version, IDS, op);
            model_raise(model, key, op->version);
        }
    }
    end(model, op);
}

static void
change_answered(struct home_model *model, struct op *op,
                const struct packet *packet)
{
    struct block_version version;

    memcpy(&version, packet->data, sizeof(version));
    if (packet->status == CASCADE_OK && op->kind == OP_REMOVE &&
        model->record_count[op->key] < RECORDS) {
        model_note_version(model, op->key, version, IDS, op);
        model_raise(model, op->key, version);
    }
    if (packet->status == CASCADE_OK && op->kind == OP_PROTECT) {
        struct record *record = model_record(model, op->key, version);

        if (record == NULL) {
            model_fault(model, "protection of a version that nobody gave");
            return;
        }
        if (op->flags != 0 && !model->ranks[model->rank_count - 1].is_dead &&
            block_version_compare(version, model->floor[op->key]) > 0) {
            // No eviction explains a miss since this began, but a death does.
            record->loss = op->loss;
            record->excused = op->excused || model->removers[op->key] > 0;
        }
        model_raise(model, op->key, version);
    }
    if (packet->status == CASCADE_NOT_FOUND && op->kind == OP_REMOVE) {
        model->removers[op->key]--;
        if (op->begun > model->absent[op->key]) {
            model->absent[op->key] = op->begun;
        }
        model->loss[op->key]--; // this one took nothing
        model_check_missed(model, op->key, op->floor);
        model->loss[op->key]++;
        model->removers[op->key]++;
    }
    if (packet->status == CASCADE_TIMEOUT) {
        // It may still come: nothing is sure any more.
        model->removers[op->key] += op->kind == OP_REMOVE ? 1 : 0;
    }
    end(model, op);
}

void
model_answered(struct home_model *model, uint32_t number, uint64_t asked_ns,
               const struct packet *packet)
{
    struct op *op = &model->ops[number];

    switch (op->kind) {
    case OP_PUT:
        put_answered(model, number, asked_ns, packet);
        break;
    case OP_GET:
        if (packet->subject == SUBJECT_READ) {
            read_answered(model, number, packet);
        } else {
            lookup_answered(model, number, asked_ns, packet);
        }
        break;
    case OP_CLEAR:
        clear_answered(model, number, packet);
        break;
    case OP_REMOVE:
    case OP_PROTECT:
        change_answered(model, op, packet);
        break;
    case OP_NONE:
        check(false);
    }
}

void
model_begin(struct home_model *model, uint32_t number)
{
    struct op *op = &model->ops[number];
    uint16_t home = model_home(model, op->key);
    struct directory_message_remove remove;
    struct directory_message_protect protect;

    op->floor = model->floor[op->key];
    op->cleared = model->cleared;
    op->absent = model->absent[op->key];
    op->begun = ++model->moment;
    if (op->kind == OP_REMOVE) {
        model->removers[op->key]++;
        model->loss[op->key]++;
    }
    if (op->kind == OP_CLEAR) {
        for (uint8_t key = 0; key < model->key_count; key++) {
            model->removers[key]++;
            model->loss[key]++;
        }
    }
    op->loss = model->loss[op->key];
    op->excused = model->removers[op->key] > 0 ||
                  (op->kind == OP_PROTECT && model_is_given_up(model, op->key));
    switch (op->kind) {
    case OP_PUT:
        bind_anew(model, number);
        break;
    case OP_GET:
        begin_get(model, number);
        break;
    case OP_REMOVE:
        memset(&remove, 0, sizeof(remove));
        remove.key = model->keys[op->key];
        model_ask(model, number, home, DIRECTORY_SUBJECT_REMOVE, &remove,
                  sizeof(remove), some_patience(model));
        break;
    case OP_PROTECT:
        memset(&protect, 0, sizeof(protect));
        protect.key = model->keys[op->key];
        protect.flags = op->flags;
        model_ask(model, number, home, DIRECTORY_SUBJECT_PROTECT, &protect,
                  sizeof(protect), some_patience(model));
        break;
    case OP_CLEAR:
        ask_all(model, number, DIRECTORY_SUBJECT_VERSION, NULL, 0);
        break;
    case OP_NONE:
        check(false);
    }
}
