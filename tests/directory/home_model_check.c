// SPDX-License-Identifier: Apache-2.0
//
// What clients may see. See home_model.h.

#include "home_model_inner.h"

struct record *
model_record(struct home_model *model, uint8_t key,
             struct block_version version)
{
    for (uint32_t i = 0; i < model->record_count[key]; i++) {
        struct record *record = &model->records[key][i];

        if (block_version_compare(record->version, version) == 0) {
            return record;
        }
    }
    return NULL;
}

void
model_note_version(struct home_model *model, uint8_t key,
                   struct block_version version, uint8_t id,
                   const struct op *op)
{
    struct record *record = model_record(model, key, version);

    if (record != NULL) {
        return;
    }
    check(model->record_count[key] < RECORDS);
    record = &model->records[key][model->record_count[key]++];
    memset(record, 0, sizeof(*record));
    record->version = version;
    record->origin = version;
    record->id = id;
    record->loss = op != NULL ? op->loss : model->loss[key];
    record->excused = op == NULL || op->excused;
}

void
model_raise(struct home_model *model, uint8_t key, struct block_version version)
{
    if (block_version_compare(version, model->floor[key]) > 0) {
        model->floor[key] = version;
    }
}

void
model_check_seen(struct home_model *model, uint8_t key, uint8_t id,
                 struct block_version version, struct block_version floor,
                 struct block_version cleared, uint32_t absent)
{
    struct record *record = model_record(model, key, version);

    if (record == NULL || record->id == IDS) {
        model_fault(model, "a version that nobody gave to a binding");
        return;
    }
    if (record->id != id) {
        model_fault(model, "a version with the content of another one");
        return;
    }
    if (record->answered != 0 && record->answered < absent) {
        model_fault(model, "a binding that a removal had not found");
        return;
    }
    if (block_version_compare(record->origin, cleared) < 0) {
        model_fault(model, "a binding that was cleared");
        return;
    }
    if (block_version_compare(version, floor) >= 0) {
        return;
    }
    // An older version of the very content that was bound again.
    for (uint32_t i = 0; i < model->record_count[key]; i++) {
        const struct record *other = &model->records[key][i];

        if (other->id == id &&
            block_version_compare(other->version, floor) >= 0) {
            return;
        }
    }
    model_fault(model, "an older binding after a newer one was answered");
}

bool
model_is_given_up(struct home_model *model, uint8_t key)
{
    uint16_t home = model_home(model, key);
    bool is_under_way = model->ranks[home].is_dead ||
                        directory_home_line(model->ranks[home].home,
                                            &model->keys[key]) != NULL;

    for (uint16_t r = 0; r < model->rank_count; r++) {
        const struct channel *channel = &model->channels[r][home];

        for (uint32_t i = 0; i < channel->count; i++) {
            uint8_t subject =
                channel->packets[(channel->first + i) % QUEUE].subject;

            is_under_way |= subject == DIRECTORY_SUBJECT_BIND ||
                            subject == DIRECTORY_SUBJECT_GONE;
        }
    }
    model->given_up[key] = model->given_up[key] && is_under_way;
    return model->given_up[key];
}

void
model_check_missed(struct home_model *model, uint8_t key,
                   struct block_version floor)
{
    const struct record *record = model_record(model, key, floor);

    if (record == NULL || record->id == IDS || record->excused ||
        record->loss != model->loss[key] || model->removers[key] > 0) {
        return;
    }
    model_fault(model, "a block was missed that nothing took away");
}

static void
check_key(struct home_model *model, uint8_t key)
{
    uint16_t home = model_home(model, key);
    struct directory_message_found *found = &model->found;
    uint32_t keepers = 0;
    struct {
        struct directory_message_count header;
        struct directory_message_lookup lookup;
    } message = {.header = {.count = 1}};

    message.lookup.key = model->keys[key];
    model->has_found = false;
    directory_home_receive(model->ranks[home].home, home,
                           DIRECTORY_SUBJECT_LOOKUP, &message, sizeof(message),
                           UINT64_MAX, model_now(model, home));
    check(model->has_found);
    if (model->trace) {
        printf("key %u at home %u: %s, custodian %u, version %llu.%llu\n", key,
               home, cascade_status_name((enum cascade_status)found->status),
               found->custodian, (unsigned long long)found->version.time_ns,
               (unsigned long long)found->version.tag);
    }
    for (uint16_t r = 0; r < model->rank_count; r++) {
        struct rank *rank = &model->ranks[r];
        struct directory_lease lease;

        if (rank->is_dead) {
            continue;
        }
        if (rank->pending[key].is) {
            model_fault(model, "a name that is never confirmed");
        }
        if (model->trace && rank->kept[key].is) {
            printf("rank %u keeps key %u: version %llu.%llu\n", r, key,
                   (unsigned long long)rank->kept[key].version.time_ns,
                   (unsigned long long)rank->kept[key].version.tag);
        }
        keepers += rank->kept[key].is ? 1 : 0;
        if (rank->kept[key].is &&
            (found->status != CASCADE_OK || found->custodian != r ||
             block_version_compare(found->version, rank->kept[key].version) !=
                 0 ||
             found->id.bytes[0] != rank->kept[key].id + 1 ||
             ((found->flags & DIRECTORY_MESSAGE_PROTECTED) != 0) !=
                 rank->kept[key].is_protected)) {
            model_fault(model, "a custodian of what its home does not know");
        }
        if (directory_leases_find(rank->leases, &model->keys[key],
                                  model_now(model, r), &lease)) {
            model_check_seen(model, key, (uint8_t)(lease.id.bytes[0] - 1),
                             lease.version, model->floor[key], model->cleared,
                             model->absent[key]);
        }
    }
    if (keepers != (found->status == CASCADE_OK ? 1U : 0U)) {
        model_fault(model, "a binding without exactly one custodian");
    }
    if (found->status != CASCADE_OK) {
        model_check_missed(model, key, model->floor[key]);
    } else {
        model_check_seen(model, key, (uint8_t)(found->id.bytes[0] - 1),
                         found->version, model->floor[key], model->cleared,
                         model->absent[key]);
    }
}

void
model_check_quiet(struct home_model *model)
{
    for (uint16_t r = 0; r < model->rank_count; r++) {
        struct directory_home_usage usage;

        if (model->ranks[r].is_dead) {
            continue;
        }
        directory_home_usage(model->ranks[r].home, &usage);
        if (usage.changing != 0 || usage.waiting != 0) {
            model_fault(model, "a change is under way for ever");
        }
        if (!directory_home_is_valid(model->ranks[r].home)) {
            model_fault(model, "a home is not valid");
        }
    }
    for (uint8_t key = 0; key < model->key_count; key++) {
        if (!model->ranks[model_home(model, key)].is_dead) {
            check_key(model, key);
        }
    }
}
