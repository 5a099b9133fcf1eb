// SPDX-License-Identifier: Apache-2.0
//
// The world of the model: clocks, channels, ports, and a seed that decides what
// comes next. See home_model.h.

#include "home_model.h"

#include "home_model_inner.h"

#define EVENTS 160
#define QUIET_EVENTS 20000

uint64_t
model_random(struct home_model *model, uint64_t below)
{
    uint64_t z = model->random += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (z ^ z >> 31) % below;
}

void
model_fault(struct home_model *model, const char *what)
{
    if (model->result.fault == NULL) {
        model->result.fault = what;
    }
}

uint64_t
model_now(const struct home_model *model, uint16_t rank)
{
    const struct rank *self = &model->ranks[rank];

    return self->offset_ns + model->now_ns / 1000 * self->drift;
}

void
model_see(struct home_model *model, uint16_t rank, struct block_version version)
{
    if (version.time_ns > model->ranks[rank].version_ns) {
        model->ranks[rank].version_ns = version.time_ns;
    }
}

struct block_version
model_next_version(struct home_model *model, uint16_t rank)
{
    struct rank *self = &model->ranks[rank];
    uint64_t wall_ns = self->wall_ns + model->now_ns;

    self->version_ns = wall_ns > self->version_ns ? wall_ns
                                                  : self->version_ns + 1;
    // Tags of stores lie far apart, for homes give those between.
    return (struct block_version){self->version_ns, (rank + 1ULL) << 32};
}

uint16_t
model_home(const struct home_model *model, uint8_t key)
{
    return directory_home_rank(directory_shard_of_key(&model->keys[key]),
                               model->rank_count);
}

uint8_t
model_key(const struct home_model *model, const struct block_key *key)
{
    for (uint8_t k = 0; k < model->key_count; k++) {
        if (block_key_equal(&model->keys[k], key)) {
            return k;
        }
    }
    check(false);
    return 0;
}

struct block_id
model_id(uint8_t id)
{
    struct block_id made;

    memset(&made, id + 1, sizeof(made));
    return made;
}

// --- time and fate ---

static void
pass_time(struct home_model *model, uint64_t ns)
{
    model->now_ns += ns;
    while (model_deadline_passed(model)) {
    }
    for (uint32_t i = 0; i < RANKS_MAX * OPS; i++) {
        model_ask_again(model, i);
    }
    for (uint16_t r = 0; r < model->rank_count; r++) {
        if (!model->ranks[r].is_dead) {
            (void)directory_home_step(model->ranks[r].home,
                                      model_now(model, r));
        }
    }
    // One that was lost for an instant while a mutation has no recalls.
    if (model->mutation == HOME_MUTATION_NO_RECALL) {
        for (uint32_t i = 0; i < REQUESTS; i++) {
            if (model->requests[i].number != 0 &&
                model->requests[i].subject == DIRECTORY_SUBJECT_RECALL) {
                model_settle(model, &model->requests[i], CASCADE_OK);
            }
        }
    }
}

static void
tell_clear(struct home_model *model, uint16_t from)
{
    struct packet packet;

    memset(&packet, 0, sizeof(packet));
    packet.subject = DIRECTORY_SUBJECT_CLEAR;
    packet.bytes = sizeof(model->ranks[from].cleared);
    memcpy(packet.data, &model->ranks[from].cleared, packet.bytes);
    for (uint16_t r = 0; r < model->rank_count; r++) {
        if (!block_version_is_zero(model->ranks[from].cleared)) {
            model_send(model, from, r, &packet);
        }
    }
}

static void
die(struct home_model *model, uint16_t rank)
{
    model->ranks[rank].is_dead = true;
    if (model->trace) {
        printf("rank %u dies\n", rank);
    }
    for (uint16_t r = 0; r < model->rank_count; r++) {
        model->channels[rank][r].count = 0;
        model->channels[r][rank].count = 0;
    }
    for (uint32_t o = 0; o < OPS; o++) {
        struct op *op = &model->ops[rank * OPS + o];

        op->kind = OP_NONE; // what it was removing may or may not be gone
    }
    for (uint8_t key = 0; key < model->key_count; key++) {
        model->loss[key]++;
    }
    for (uint32_t i = 0; i < REQUESTS; i++) {
        if (model->requests[i].rank == rank) {
            model->requests[i].number = 0;
        }
    }
    for (uint16_t r = 0; r < model->rank_count; r++) {
        if (!model->ranks[r].is_dead) {
            directory_home_lost(model->ranks[r].home, rank,
                                model_now(model, r));
            // It may have told only some of its clear.
            tell_clear(model, r);
        }
    }
}

// Delivers something; false: nothing is on its way.
static bool
deliver_some(struct home_model *model)
{
    uint32_t pairs = (uint32_t)model->rank_count * model->rank_count;
    uint32_t first = (uint32_t)model_random(model, pairs);

    for (uint32_t i = 0; i < pairs; i++) {
        uint32_t pair = (first + i) % pairs;
        uint16_t from = (uint16_t)(pair / model->rank_count);
        uint16_t to = (uint16_t)(pair % model->rank_count);

        if (model->channels[from][to].count > 0) {
            model_deliver(model, from, to);
            return true;
        }
    }
    return false;
}

static bool
may_begin(const struct home_model *model, const struct op *op)
{
    if (model->record_count[op->key] + 8 > RECORDS) {
        return false;
    }
    for (uint32_t i = 0; i < RANKS_MAX * OPS; i++) {
        const struct op *other = &model->ops[i];

        if (op->kind == OP_PUT && other->kind == OP_PUT &&
            other->rank == op->rank && other->key == op->key) {
            return false;
        }
        if (op->kind == OP_CLEAR && other->kind == OP_CLEAR) {
            return false;
        }
    }
    return op->kind != OP_PUT || !model->ranks[op->rank].pending[op->key].is;
}

static void
begin_some(struct home_model *model)
{
    uint16_t rank = (uint16_t)model_random(model, model->rank_count);
    uint32_t number = rank * OPS + (uint32_t)model_random(model, OPS);
    uint64_t dice = model_random(model, 100);
    struct op op;

    if (model->ranks[rank].is_dead || model->ops[number].kind != OP_NONE) {
        return;
    }
    memset(&op, 0, sizeof(op));
    op.rank = rank;
    op.key = (uint8_t)model_random(model, model->key_count);
    op.id = (uint8_t)model_random(model, IDS);
    op.kind = OP_GET;
    if (dice < 30) {
        op.kind = OP_PUT;
        op.flags |= model_random(model, 3) == 0 ? DIRECTORY_MESSAGE_IF_ABSENT
                                                : 0;
        op.flags |= model_random(model, 4) == 0 ? DIRECTORY_MESSAGE_PROTECTED
                                                : 0;
    } else if (dice < 38) {
        op.kind = OP_REMOVE;
    } else if (dice < 46) {
        op.kind = OP_PROTECT;
        op.flags = model_random(model, 3) == 0 ? 0
                                               : DIRECTORY_MESSAGE_PROTECTED;
    } else if (dice < 48) {
        op.kind = OP_CLEAR;
    }
    if (may_begin(model, &op)) {
        if (model->trace) {
            printf("rank %u begins %u of key %u id %u flags %u\n", rank,
                   op.kind, op.key, op.id, op.flags);
        }
        model->ops[number] = op;
        model_begin(model, number);
    }
}

static void
event(struct home_model *model)
{
    uint64_t dice = model_random(model, 100);
    uint16_t rank = (uint16_t)model_random(model, model->rank_count);

    if (dice < 58) {
        if (!deliver_some(model)) {
            begin_some(model);
        }
    } else if (dice < 80) {
        begin_some(model);
    } else if (dice < 85) {
        model_evict(model, rank, (uint8_t)model_random(model, IDS));
    } else if (dice < 88) {
        model_drop_guest(model, rank,
                         (uint8_t)model_random(model, model->key_count));
    } else if (dice < 92) {
        model_renew(model, rank);
    } else if (dice < 98) {
        pass_time(model, model_random(model, 30) * MS);
    } else {
        pass_time(model, model_random(model, 6000) * MS);
    }
}

static bool
is_at_rest(const struct home_model *model)
{
    for (uint32_t i = 0; i < RANKS_MAX * OPS; i++) {
        if (model->ops[i].kind != OP_NONE) {
            return false;
        }
    }
    for (uint32_t i = 0; i < REQUESTS; i++) {
        if (model->requests[i].number != 0) {
            return false;
        }
    }
    for (uint16_t r = 0; r < model->rank_count; r++) {
        struct directory_home_usage usage;

        if (model->ranks[r].is_dead) {
            continue;
        }
        directory_home_usage(model->ranks[r].home, &usage);
        if (model->ranks[r].renewal.is || usage.changing > 0) {
            return false;
        }
    }
    return true;
}

static void
come_to_rest(struct home_model *model)
{
    uint32_t rested = 0;

    for (uint32_t i = 0; i < QUIET_EVENTS; i++) {
        if (model->result.fault != NULL) {
            return;
        }
        if (deliver_some(model)) {
            continue;
        }
        for (uint16_t r = 0; r < model->rank_count; r++) {
            if (!model->ranks[r].is_dead) {
                model_renew(model, r);
            }
        }
        if (deliver_some(model)) {
            continue;
        }
        if (is_at_rest(model) && ++rested > 2) {
            return;
        }
        pass_time(model, 500 * MS);
    }
    model_fault(model, "it does not come to rest");
}

static void
make_key(struct home_model *model, uint8_t key)
{
    memset(&model->keys[key], key + 1, sizeof(model->keys[key]));
    model->keys[key].bytes[8] = 0;
    model->keys[key].bytes[9] = (uint8_t)model_random(model, model->rank_count);
}

static void
make_rank(struct home_model *model, uint16_t r)
{
    struct rank *rank = &model->ranks[r];
    struct directory_leases *leases = rank->leases;
    struct directory_home_options options = {
        .allocator = allocator_system(),
        .out = model_out(model, r),
        .rank = r,
        .rank_count = model->rank_count,
        .max_keys = 8,
        .max_ids = 8,
        .line_max = model_random(model, 4) == 0 ? 2 : 64,
        .rebind_allowed = true,
        .keep_removals = true,
        .lease_ns = LEASE_NS,
        .claim_ns = 2000 * MS,
        .patience_ns = 2000 * MS,
    };

    memset(rank, 0, sizeof(*rank));
    rank->leases = leases;
    rank->offset_ns = (1 + model_random(model, 1000)) * 1000 * MS;
    rank->wall_ns = (100 + model_random(model, 10)) * 1000 * MS;
    rank->drift = 996 + model_random(model, 9);
    if (leases == NULL) {
        check(directory_leases_create(allocator_system(), 8, &rank->leases) ==
              CASCADE_OK);
    }
    check(directory_home_create(&options, &rank->home) == CASCADE_OK);
}

struct home_model *
home_model_create(void)
{
    struct home_model *model = allocator_array(allocator_system(), 1,
                                               sizeof(*model));

    check(model != NULL);
    return model;
}

void
home_model_destroy(struct home_model *model)
{
    for (uint16_t r = 0; r < RANKS_MAX; r++) {
        directory_leases_destroy(model->ranks[r].leases);
    }
    allocator_release(allocator_system(), model);
}

// Everything as at first, except the tables of leases, which are emptied.
static void
start(struct home_model *model, uint64_t seed, enum home_mutation mutation,
      bool trace)
{
    struct directory_leases *leases[RANKS_MAX];

    for (uint16_t r = 0; r < RANKS_MAX; r++) {
        leases[r] = model->ranks[r].leases;
        if (leases[r] == NULL) {
            continue;
        }
        directory_leases_drop_all(leases[r]);
        if (!block_version_is_zero(model->ranks[r].cleared)) {
            directory_leases_destroy(leases[r]); // it remembers the clear
            leases[r] = NULL;
        }
    }
    memset(model, 0, sizeof(*model));
    model->random = seed;
    model->mutation = mutation;
    model->trace = trace;
    model->rank_count = (uint16_t)(2 + model_random(model, RANKS_MAX - 1));
    model->key_count = (uint8_t)(1 + model_random(model, KEYS_MAX));
    for (uint16_t r = 0; r < RANKS_MAX; r++) {
        model->ranks[r].leases = leases[r];
    }
    for (uint8_t key = 0; key < model->key_count; key++) {
        make_key(model, key);
    }
    for (uint16_t r = 0; r < model->rank_count; r++) {
        make_rank(model, r);
    }
}

struct home_model_result
home_model_run(struct home_model *model, uint64_t seed,
               enum home_mutation mutation, bool trace)
{
    uint32_t death;

    start(model, seed, mutation, trace);
    death = model_random(model, 4) == 0 ? (uint32_t)model_random(model, EVENTS)
                                        : EVENTS;
    for (uint32_t i = 0; i < EVENTS && model->result.fault == NULL; i++) {
        model->result.events++;
        if (i == death) {
            die(model, (uint16_t)(model->rank_count - 1));
        }
        event(model);
    }
    come_to_rest(model);
    if (model->result.fault == NULL) {
        model_check_quiet(model);
    }
    for (uint16_t r = 0; r < model->rank_count; r++) {
        directory_home_destroy(model->ranks[r].home);
        model->ranks[r].home = NULL;
    }
    return model->result;
}
