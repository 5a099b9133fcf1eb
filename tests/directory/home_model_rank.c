// SPDX-License-Identifier: Apache-2.0
//
// A rank of the model: its names, and what it does when homes and peers ask.

#include "home_model_inner.h"

bool
model_has(const struct home_model *model, uint16_t rank, uint8_t id)
{
    const struct rank *self = &model->ranks[rank];

    for (uint8_t key = 0; key < model->key_count; key++) {
        if ((self->kept[key].is && self->kept[key].id == id) ||
            (self->guests[key].is && self->guests[key].id == id) ||
            (self->pending[key].is && self->pending[key].id == id)) {
            return true;
        }
    }
    return false;
}

static void
drop_below(struct name *name, struct block_version below)
{
    if (name->is && block_version_compare(name->version, below) < 0) {
        name->is = false;
    }
}

static enum cascade_status
recall(struct home_model *model, uint16_t rank,
       const struct directory_message_recall *said)
{
    struct rank *self = &model->ranks[rank];
    uint8_t key = model_key(model, &said->key);

    model_see(model, rank, said->below);
    if (model->mutation != HOME_MUTATION_KEEP_LEASE) {
        directory_leases_drop(self->leases, &said->key, said->below);
    }
    if (model->mutation != HOME_MUTATION_KEEP_NAME) {
        drop_below(&self->kept[key], said->below);
        drop_below(&self->guests[key], said->below);
        drop_below(&self->pending[key], said->below);
    }
    return CASCADE_OK;
}

static enum cascade_status
adopt(struct home_model *model, uint16_t rank,
      const struct directory_message_adopt *said)
{
    struct rank *self = &model->ranks[rank];
    uint8_t key = model_key(model, &said->key);
    uint8_t id = (uint8_t)(said->id.bytes[0] - 1);
    struct name *kept = &self->kept[key];
    struct name *pending = &self->pending[key];

    // The catalogue has one name for a key: the newer one.
    if (model->mutation != HOME_MUTATION_ADOPT_OVER && pending->is &&
        block_version_compare(pending->version, said->version) >= 0) {
        return CASCADE_NOT_FOUND;
    }
    if (!model_has(model, rank, id) ||
        block_version_compare(said->version, self->cleared) < 0 ||
        (kept->is && block_version_compare(kept->version, said->version) > 0)) {
        return CASCADE_NOT_FOUND;
    }
    kept->is = true;
    kept->id = id;
    kept->version = said->version;
    kept->is_protected = (said->flags & DIRECTORY_MESSAGE_PROTECTED) != 0;
    self->guests[key].is = false;
    pending->is = false;
    return CASCADE_OK;
}

static enum cascade_status
renew(struct home_model *model, uint16_t rank,
      const struct directory_message_renew *said)
{
    struct rank *self = &model->ranks[rank];
    uint8_t key = model_key(model, &said->key);
    struct name *kept = &self->kept[key];
    struct name *pending = &self->pending[key];

    model_see(model, rank, said->renewed);
    if (pending->is &&
        block_version_compare(pending->version, said->version) == 0) {
        *kept = *pending; // the home says so
        pending->is = false;
    }
    if (kept->is && block_version_compare(kept->version, said->renewed) == 0) {
        return CASCADE_OK; // asked again
    }
    if (!kept->is || block_version_compare(kept->version, said->version) != 0) {
        return CASCADE_NOT_FOUND;
    }
    if (said->flags != 0 && model_random(model, 8) == 0) {
        return CASCADE_NO_SPACE;
    }
    kept->version = said->renewed;
    kept->is_protected = said->flags != 0;
    return CASCADE_OK;
}

static void
answer(struct home_model *model, uint16_t from, uint16_t to, uint8_t subject,
       uint64_t number, enum cascade_status status, const void *data,
       size_t bytes)
{
    struct packet packet;

    memset(&packet, 0, sizeof(packet));
    packet.is_answer = true;
    packet.number = number;
    packet.subject = subject;
    packet.status = status;
    packet.bytes = (uint8_t)bytes;
    if (bytes > 0) {
        memcpy(packet.data, data, bytes);
    }
    model_send(model, from, to, &packet);
}

void
model_renew(struct home_model *model, uint16_t rank)
{
    struct renewal *renewal = &model->ranks[rank].renewal;
    enum cascade_status status;

    if (!renewal->is) {
        return;
    }
    renewal->is = false;
    status = renew(model, rank, &renewal->renew);
    answer(model, rank, renewal->from, DIRECTORY_SUBJECT_RENEW, renewal->number,
           status, NULL, 0);
}

static void
clear(struct home_model *model, uint16_t rank, struct block_version version)
{
    struct rank *self = &model->ranks[rank];

    model_see(model, rank, version);
    directory_home_clear(self->home, version);
    if (block_version_compare(version, self->cleared) > 0) {
        self->cleared = version;
    }
    for (uint8_t key = 0; key < model->key_count; key++) {
        if (model->mutation == HOME_MUTATION_NO_CLEAR_FLOOR) {
            directory_leases_drop(self->leases, &model->keys[key], version);
        }
        drop_below(&self->kept[key], version);
        drop_below(&self->guests[key], version);
        drop_below(&self->pending[key], version);
    }
    if (model->mutation != HOME_MUTATION_NO_CLEAR_FLOOR) {
        directory_leases_clear(self->leases, version);
    }
}

void
model_hear(struct home_model *model, uint16_t from, uint16_t to,
           const struct packet *packet)
{
    struct directory_message_recall said_recall;
    struct directory_message_adopt said_adopt;
    struct block_version version = {0, 0};
    struct rank *self = &model->ranks[to];
    enum cascade_status status = CASCADE_OK;
    size_t bytes = 0;

    switch (packet->subject) {
    case DIRECTORY_SUBJECT_RECALL:
        memcpy(&said_recall, packet->data, sizeof(said_recall));
        status = recall(model, to, &said_recall);
        break;
    case DIRECTORY_SUBJECT_ADOPT:
        memcpy(&said_adopt, packet->data, sizeof(said_adopt));
        model_see(model, to, said_adopt.version);
        status = adopt(model, to, &said_adopt);
        break;
    case DIRECTORY_SUBJECT_RENEW:
        model_renew(model, to);
        self->renewal.is = true;
        self->renewal.from = from;
        self->renewal.number = packet->number;
        memcpy(&self->renewal.renew, packet->data, sizeof(self->renewal.renew));
        if (model_random(model, 4) != 0) {
            model_renew(model, to);
        }
        return;
    case DIRECTORY_SUBJECT_VERSION:
        version.time_ns = self->version_ns;
        version.tag = UINT64_MAX;
        bytes = sizeof(version);
        break;
    case DIRECTORY_SUBJECT_CLEAR:
        memcpy(&version, packet->data, sizeof(version));
        clear(model, to, version);
        break;
    default:
        check(packet->subject == SUBJECT_READ);
        status = model_has(model, to, packet->data[0]) ? CASCADE_OK
                                                       : CASCADE_NOT_FOUND;
        break;
    }
    answer(model, to, from, packet->subject, packet->number, status, &version,
           bytes);
}

void
model_tell_gone(struct home_model *model, uint16_t rank, uint8_t key,
                struct block_version version)
{
    struct packet packet;
    struct {
        struct directory_message_count header;
        struct directory_message_gone gone;
    } message = {.header = {.count = 1}};

    message.gone.key = model->keys[key];
    message.gone.version = version;
    if (model->mutation == HOME_MUTATION_GONE_VERSION) {
        message.gone.version = model->floor[key];
    }
    memset(&packet, 0, sizeof(packet));
    packet.subject = DIRECTORY_SUBJECT_GONE;
    packet.bytes = sizeof(message);
    memcpy(packet.data, &message, sizeof(message));
    model_send(model, rank, model_home(model, key), &packet);
}

// All copies of a content leave the rank, unless one is protected or not
// confirmed.
void
model_evict(struct home_model *model, uint16_t rank, uint8_t id)
{
    struct rank *self = &model->ranks[rank];

    for (uint8_t key = 0; key < model->key_count; key++) {
        if ((self->pending[key].is && self->pending[key].id == id) ||
            (self->kept[key].is && self->kept[key].id == id &&
             self->kept[key].is_protected &&
             model->mutation != HOME_MUTATION_EVICT_PROTECTED)) {
            return;
        }
    }
    for (uint8_t key = 0; key < model->key_count; key++) {
        if (self->guests[key].is && self->guests[key].id == id) {
            self->guests[key].is = false;
        }
        if (self->kept[key].is && self->kept[key].id == id) {
            self->kept[key].is = false;
            model->loss[key] += self->kept[key].is_protected ? 0 : 1;
            model_tell_gone(model, rank, key, self->kept[key].version);
        }
    }
}

void
model_drop_guest(struct home_model *model, uint16_t rank, uint8_t key)
{
    model->ranks[rank].guests[key].is = false;
}
