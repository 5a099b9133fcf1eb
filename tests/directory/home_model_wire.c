// SPDX-License-Identifier: Apache-2.0
//
// The wires of the model: channels, ports with deadlines, and what homes say.

#include "home_model_inner.h"

void
model_send(struct home_model *model, uint16_t from, uint16_t to,
           const struct packet *packet)
{
    struct channel *channel = &model->channels[from][to];

    if (model->ranks[to].is_dead || model->ranks[from].is_dead) {
        return;
    }
    check(channel->count < QUEUE);
    channel->packets[(channel->first + channel->count++) % QUEUE] = *packet;
    model->result.messages++;
    if (model->trace) {
        static const char *const subjects[] = {
            "?",      "lookup",   "bind",  "remove",  "protect",
            "gone",   "announce", "claim", "copies",  "find",
            "recall", "adopt",    "renew", "version", "clear",
        };
        uint32_t at = packet->subject == DIRECTORY_SUBJECT_LOOKUP ||
                              packet->subject == DIRECTORY_SUBJECT_GONE
                          ? 8
                          : 0;

        printf("  %u -> %u %s %s %s, key %d, number %llu\n", from, to,
               packet->subject < 15 ? subjects[packet->subject] : "read",
               packet->is_answer ? "answered" : "asked",
               packet->is_answer ? cascade_status_name(packet->status) : "",
               packet->is_answer ? -1 : packet->data[at] - 1,
               (unsigned long long)packet->number);
    }
}

static struct request *
add_request(struct home_model *model, uint16_t from, uint16_t to,
            uint8_t subject, uint64_t patience_ns)
{
    for (uint32_t i = 0; i < REQUESTS; i++) {
        struct request *request = &model->requests[i];

        if (request->number == 0) {
            memset(request, 0, sizeof(*request));
            request->number = ++model->number;
            request->deadline_ns = model->now_ns + patience_ns;
            request->asked_ns = model_now(model, from);
            request->rank = from;
            request->to = to;
            request->subject = subject;
            return request;
        }
    }
    check(false);
    return NULL;
}

static void
send_request(struct home_model *model, const struct request *request,
             const void *data, size_t bytes)
{
    struct packet packet;

    memset(&packet, 0, sizeof(packet));
    check(bytes <= sizeof(packet.data));
    packet.subject = request->subject;
    packet.number = request->number;
    packet.bytes = (uint8_t)bytes;
    if (bytes > 0) {
        memcpy(packet.data, data, bytes);
    }
    model_send(model, request->rank, request->to, &packet);
}

void
model_ask(struct home_model *model, uint32_t op, uint16_t to, uint8_t subject,
          const void *data, size_t bytes, uint64_t patience_ns)
{
    struct request *request = add_request(model, model->ops[op].rank, to,
                                          subject, patience_ns);

    request->op = op;
    send_request(model, request, data, bytes);
}

// The request has ended, with an answer or without.
static void
settle(struct home_model *model, struct request *request,
       const struct packet *packet)
{
    struct request was = *request;
    enum cascade_status status = packet->status;

    request->number = 0;
    if (model->ranks[was.rank].is_dead) {
        return;
    }
    if (was.token == 0) {
        model_answered(model, was.op, was.asked_ns, packet);
        return;
    }
    if (model->mutation == HOME_MUTATION_TWO_ADOPT &&
        was.subject == DIRECTORY_SUBJECT_ADOPT && status == CASCADE_TIMEOUT) {
        status = CASCADE_NOT_FOUND;
    }
    directory_home_answered(model->ranks[was.rank].home, was.token, status,
                            NULL, 0, model_now(model, was.rank));
}

void
model_settle(struct home_model *model, struct request *request,
             enum cascade_status status)
{
    struct packet packet;

    memset(&packet, 0, sizeof(packet));
    packet.is_answer = true;
    packet.subject = request->subject;
    packet.status = status;
    settle(model, request, &packet);
}

void
model_deliver(struct home_model *model, uint16_t from, uint16_t to)
{
    struct channel *channel = &model->channels[from][to];
    struct packet packet = channel->packets[channel->first];

    channel->first = (channel->first + 1) % QUEUE;
    channel->count--;
    if (packet.is_answer) {
        for (uint32_t i = 0; i < REQUESTS; i++) {
            if (model->requests[i].number == packet.number &&
                packet.number != 0) {
                settle(model, &model->requests[i], &packet);
                return;
            }
        }
        return; // too late
    }
    if (packet.subject < DIRECTORY_SUBJECT_RECALL) {
        directory_home_receive(model->ranks[to].home, from, packet.subject,
                               packet.data, packet.bytes, packet.number,
                               model_now(model, to));
    } else {
        model_hear(model, from, to, &packet);
    }
}

// --- what homes say ---

static void
home_asks(void *context, uint16_t to, uint8_t subject, const void *data,
          size_t bytes, uint64_t token, uint64_t deadline_ns)
{
    struct mouth *mouth = context;
    struct home_model *model = mouth->model;
    uint64_t now_ns = model_now(model, mouth->rank);
    struct directory_message_renew renew;
    struct packet packet;

    if (subject == DIRECTORY_SUBJECT_RENEW) {
        struct record *record;
        uint8_t key;

        memcpy(&renew, data, sizeof(renew));
        key = model_key(model, &renew.key);
        record = model_record(model, key, renew.version);
        if (record == NULL) {
            model_fault(model, "a renewal of a version that nobody gave");
            return;
        }
        if (model_record(model, key, renew.renewed) == NULL) {
            struct record base = *record;

            model_note_version(model, key, renew.renewed, base.id, NULL);
            record = model_record(model, key, renew.renewed);
            record->origin = base.origin;
            record->answered = base.answered;
            record->loss = base.loss;
            record->excused = base.excused;
        }
    }
    if (token == 0) {
        memset(&packet, 0, sizeof(packet));
        packet.subject = subject;
        packet.bytes = (uint8_t)bytes;
        memcpy(packet.data, data, bytes);
        model_send(model, mouth->rank, to, &packet);
        return;
    }
    {
        uint64_t patience_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
        struct request *request;

        if (deadline_ns == UINT64_MAX) {
            patience_ns = model->mutation == HOME_MUTATION_TWO_ADOPT
                              ? 2000 * MS
                              : UINT64_MAX - model->now_ns;
        }
        request = add_request(model, mouth->rank, to, subject, patience_ns);

        request->token = token;
        if (model->ranks[to].is_dead) {
            request->deadline_ns = 0; // told soon
        }
        send_request(model, request, data, bytes);
    }
}

static void
home_answers(void *context, uint16_t to, uint64_t ticket,
             enum cascade_status status, const void *data, size_t bytes)
{
    struct mouth *mouth = context;
    struct home_model *model = mouth->model;
    struct packet packet;

    if (ticket == UINT64_MAX) {
        memcpy(&model->found,
               (const uint8_t *)data + sizeof(struct directory_message_count),
               sizeof(model->found));
        model->has_found = true;
        return;
    }
    memset(&packet, 0, sizeof(packet));
    packet.is_answer = true;
    packet.number = ticket;
    packet.status = status;
    check(bytes <= sizeof(packet.data));
    packet.bytes = (uint8_t)bytes;
    if (bytes > 0) {
        memcpy(packet.data, data, bytes);
    }
    for (uint32_t i = 0; i < REQUESTS; i++) {
        if (model->requests[i].number == ticket) {
            packet.subject = model->requests[i].subject;
        }
    }
    model_send(model, mouth->rank, to, &packet);
}

static struct block_version
home_next_version(void *context)
{
    struct mouth *mouth = context;

    return model_next_version(mouth->model, mouth->rank);
}

static void
home_sees_version(void *context, struct block_version version)
{
    struct mouth *mouth = context;

    model_see(mouth->model, mouth->rank, version);
}

static void
home_protection(void *context, const struct directory_registry_entry *entry)
{
    (void)context;
    (void)entry;
}

bool
model_deadline_passed(struct home_model *model)
{
    for (uint32_t i = 0; i < REQUESTS; i++) {
        struct request *request = &model->requests[i];

        if (request->number == 0) {
            continue;
        }
        if (model->ranks[request->to].is_dead) {
            model_settle(model, request, CASCADE_CLOSED);
            return true;
        }
        if (request->deadline_ns <= model->now_ns) {
            model_settle(model, request, CASCADE_TIMEOUT);
            return true;
        }
    }
    return false;
}

struct directory_home_out
model_out(struct home_model *model, uint16_t rank)
{
    struct mouth *mouth = &model->mouths[rank];

    mouth->model = model;
    mouth->rank = rank;
    return (struct directory_home_out){
        mouth,
        home_asks,
        home_answers,
        home_next_version,
        home_sees_version,
        home_protection,
    };
}
