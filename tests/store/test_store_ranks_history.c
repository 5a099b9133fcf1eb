// SPDX-License-Identifier: Apache-2.0
//
// Random histories of a cache on many ranks, two clients on each, under seeds:
// puts, rebinds, removes, protection, clears and pressure, while messages are
// delayed, reordered, lost, doubled and refused. One thread, so every operation
// has a start and an end in one order. The checker keeps what was begun and
// what was answered; it knows nothing of ranks.
//
// What it demands of a get: the bytes are those of a put that no other write
// followed which was answered before the get began. Nothing may be found only
// where eviction is allowed: never of a protected key, and with a cold tier
// only where a remove or clear explains it. When all is quiet, tables and
// memory agree.
//
// Usage: [first seed] [seeds]. A failure prints its seed.

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

#include "base/check.h"
#include "directory/directory_home_inner.h"
#include "store/store_cluster.h"
#include "store_ranks.h"

#define KEYS 10
#define WRITES_MAX 2048
#define BYTES_MAX 48000
#define RANKS_MAX 6
#define CLIENTS 2
#define NEVER UINT64_MAX
#define CONTESTS_MAX 512
#define CONTEST_NS (50 * NS_PER_MS)
#define FIRST_FILLER 1000000
#define FIRST_RIVAL 2000000
// A lease of ten seconds and its margin have not ended by then.
#define LEASES_LAST_NS (8 * NS_PER_S)
// Longer than leases, claims, patience and pins of other ranks.
#define QUIET_NS (25 * NS_PER_S)

// A put, or with content 0 a removal.
struct write {
    uint32_t content;
    bool is_void; // was refused
    uint64_t start;
    uint64_t end; // NEVER: not answered, or unknown
};

struct key_model {
    struct write writes[WRITES_MAX];
    uint32_t count;
    uint32_t open;  // changes under way that may take the binding away
    uint32_t epoch; // of such changes
    bool is_unknown;
    bool is_guarded; // protected, and nothing has begun to lift that
};

// What a client knew when its operation began.
struct view {
    uint64_t start;
    uint32_t epoch;
    bool is_guarded;
    bool is_still; // no change was under way
};

// A put if absent of a key that is nowhere, at a moment at which others do the
// same.
struct contest {
    uint64_t number;
    uint32_t content;
    bool is_out; // was refused
};

static struct history {
    struct key_model keys[KEYS];
    struct contest contests[CONTESTS_MAX];
    uint32_t contest_count;
    uint64_t seed;
    uint64_t order; // of starts and ends
    uint64_t random;
    uint32_t next_content;
    uint32_t next_filler;
    uint32_t next_rival;
    uint32_t operations; // of each client
    bool cold;
    bool short_timeouts;
    bool long_leases; // none ends in the first seconds
    bool restarted;
    uint32_t kept[KEYS]; // what the first life ended with
    // Sums over all seeds: a test in which nothing happens is none.
    uint64_t hits;
    uint64_t misses;
    uint64_t unknown;
    uint64_t guarded_reads;
    uint64_t promotions;
    uint64_t remote_hits;
    uint64_t evictions;
    uint64_t handed;
    uint64_t lost_contests;
} history;

struct client {
    struct store_ranks *ranks;
    struct cascade *store;
    uint16_t rank;
    bool is_done;
};

static uint32_t
pick(uint32_t below)
{
    history.random = history.random * 6364136223846793005u +
                     1442695040888963407u;
    return (uint32_t)(history.random >> 33) % below;
}

static size_t
content_bytes(uint32_t content)
{
    return 500 + (size_t)content * 7919 % (BYTES_MAX - 500);
}

static void
fail_with(const char *what, uint32_t key, enum cascade_status status)
{
    (void)fprintf(stderr,
                  "seed %llu%s: key-%u: %s (%s: %s); again with: "
                  "store_store_ranks_history %llu 1\n",
                  (unsigned long long)history.seed, history.cold ? " cold" : "",
                  key, what, cascade_status_name(status),
                  cascade_error_message(), (unsigned long long)history.seed);
    abort();
}

static void
print_writes(uint32_t key)
{
    const struct key_model *one = &history.keys[key];

    for (uint32_t i = 0; i < one->count; i++) {
        const struct write *write = &one->writes[i];

        (void)fprintf(stderr, "  content %u from %llu to %lld%s\n",
                      write->content, (unsigned long long)write->start,
                      (long long)write->end, write->is_void ? " refused" : "");
    }
}

static struct cascade_key
name_of(uint32_t key, char text[32])
{
    (void)snprintf(text, 32, "key-%u", key);
    return store_name(text);
}

// --- the model

static struct view
begin(uint32_t key)
{
    return (struct view){
        .start = ++history.order,
        .epoch = history.keys[key].epoch,
        .is_guarded = history.keys[key].is_guarded,
        .is_still = history.keys[key].open == 0,
    };
}

// The key was protected from the start of the operation until now.
static bool
was_guarded(uint32_t key, const struct view *view)
{
    return view->is_guarded && history.keys[key].is_guarded &&
           history.keys[key].epoch == view->epoch;
}

static void
begin_change(uint32_t key)
{
    struct key_model *one = &history.keys[key];

    one->epoch++;
    one->open++;
    one->is_guarded = false;
}

static void
end_change(uint32_t key, bool is_known)
{
    struct key_model *one = &history.keys[key];

    check(one->open > 0);
    one->open--;
    one->is_unknown = one->is_unknown || !is_known;
}

static uint32_t
begin_write(uint32_t key, uint32_t content)
{
    struct key_model *one = &history.keys[key];

    check(one->count < WRITES_MAX);
    one->writes[one->count] = (struct write){
        .content = content,
        .start = ++history.order,
        .end = NEVER,
    };
    return one->count++;
}

// A read that began at `start` may see that write.
static bool
is_current(const struct key_model *one, const struct write *write,
           uint64_t start)
{
    for (uint32_t i = 0; i < one->count; i++) {
        const struct write *later = &one->writes[i];

        if (!later->is_void && later != write && later->end < start &&
            later->start > write->end) {
            return false;
        }
    }
    return !write->is_void;
}

static bool
may_be_absent(uint32_t key, uint64_t start)
{
    static const struct write never = {0};
    const struct key_model *one = &history.keys[key];
    bool may = is_current(one, &never, start);

    for (uint32_t i = 0; i < one->count && !may; i++) {
        may = one->writes[i].content == 0 &&
              is_current(one, &one->writes[i], start);
    }
    return may;
}

static void
check_absent(uint32_t key, const struct view *view, const char *what)
{
    if (was_guarded(key, view)) {
        print_writes(key);
        fail_with(what, key, CASCADE_NOT_FOUND);
    }
    // Between the old binding and the new one there may be nothing.
    if (history.cold && view->is_still &&
        history.keys[key].epoch == view->epoch &&
        !may_be_absent(key, view->start)) {
        print_writes(key);
        fail_with(what, key, CASCADE_NOT_FOUND);
    }
}

// --- operations

static struct block_key
digest_of(struct cascade *store, const char *text)
{
    struct cascade_key name = store_name(text);
    struct block_key digest;

    block_key_of(store->settings.namespace_name, name.data, name.bytes,
                 &digest);
    return digest;
}

// The key has a name here. `found` is the binding.
static bool
is_named(struct cascade *store, const char *text, struct directory_found *found)
{
    struct block_key digest = digest_of(store, text);

    return directory_find_binding(store->directory, &digest, found) ==
               CASCADE_OK &&
           (found->flags & DIRECTORY_REMOVED) == 0;
}

// The rank that keeps the key, as its catalogue says; RANKS_MAX: none.
static uint16_t
custodian_of(struct store_ranks *ranks, const char *text,
             struct directory_found *found)
{
    uint16_t r = 0;

    while (r < ranks->count &&
           (ranks->members[r].store == NULL ||
            !is_named(ranks->members[r].store, text, found) ||
            (found->flags & DIRECTORY_GUEST) != 0)) {
        r++;
    }
    return r < ranks->count ? r : RANKS_MAX;
}

// The put was answered, and nothing else is going on with the key: every guest
// of an older binding was recalled.
static void
check_guests(struct store_ranks *ranks, uint32_t key)
{
    struct directory_found kept;
    struct directory_found guest;
    char text[32];

    (void)name_of(key, text);
    if (!history.long_leases ||
        fabric_sim_now_ns(ranks->sim) >= LEASES_LAST_NS ||
        custodian_of(ranks, text, &kept) == RANKS_MAX) {
        return;
    }
    for (uint16_t r = 0; r < ranks->count; r++) {
        struct cascade *store = ranks->members[r].store;

        if (store != NULL && is_named(store, text, &guest) &&
            (guest.flags & DIRECTORY_GUEST) != 0 &&
            !block_id_equal(&guest.id, &kept.id)) {
            fail_with("a guest of what was replaced", key, CASCADE_OK);
        }
    }
}

// A put that was refused leaves no name behind.
static void
check_given_back(struct cascade *store, uint32_t key, uint32_t content)
{
    struct directory_found found;
    struct block_key digest;
    struct tier_pin pin;
    char text[32];
    struct cascade_key name = name_of(key, text);
    uint32_t others = 0;

    for (uint32_t i = 0; i < history.keys[key].count; i++) {
        const struct write *write = &history.keys[key].writes[i];

        others += write->content == content && !write->is_void;
    }
    block_key_of(store->settings.namespace_name, name.data, name.bytes,
                 &digest);
    if (others == 0 &&
        directory_find_binding(store->directory, &digest, &found) ==
            CASCADE_OK &&
        directory_find_content(store->directory, &found.id, &found) ==
            CASCADE_OK &&
        block_place_is_set(&found.memory) &&
        tier_dram_table.pin(store->dram, &found.memory, &pin) == CASCADE_OK) {
        bool is_named = found.bytes == content_bytes(content) &&
                        store_is(content, pin.memory, found.bytes);

        tier_dram_table.unpin(store->dram, &pin);
        if (is_named) {
            fail_with("a refused put is named", key, CASCADE_EXISTS);
        }
    }
}

static void
put(struct store_ranks *ranks, struct cascade *store)
{
    uint32_t key = pick(KEYS);
    struct key_model *one = &history.keys[key];
    bool is_old = history.next_content > 3 && pick(4) == 0;
    uint32_t content = is_old ? history.next_content - 1 - pick(3)
                              : history.next_content++;
    uint32_t flags = 0;
    struct cascade_put_result result;
    struct view view = begin(key);
    uint32_t number;
    char text[32];
    bool changes;
    enum cascade_status status;

    flags |= pick(6) == 0 ? CASCADE_PUT_PREFIX : 0;
    flags |= pick(4) == 0 ? CASCADE_PUT_IF_ABSENT : 0;
    changes = (flags & CASCADE_PUT_IF_ABSENT) == 0 || !view.is_guarded;
    number = begin_write(key, content);
    if (changes) {
        begin_change(key);
    }
    memset(&result, 0, sizeof(result));
    (void)name_of(key, text);
    status = store_put_seed(store, text, content, content_bytes(content), flags,
                            &result);
    if (status == CASCADE_EXISTS && (flags & CASCADE_PUT_IF_ABSENT) == 0) {
        fail_with("exists without being asked for", key, status);
    }
    if (status == CASCADE_EXISTS || (status == CASCADE_OK && result.existed &&
                                     (flags & CASCADE_PUT_IF_ABSENT) != 0)) {
        one->writes[number].is_void = true;
        check_given_back(store, key, content);
        status = CASCADE_OK;
    } else if (status == CASCADE_OK && result.stored) {
        if (!changes && was_guarded(key, &view)) {
            fail_with("a protected key counted as absent", key, status);
        }
        one->writes[number].end = ++history.order;
        // A change that was under way when it began may have come after it.
        if (changes && result.protected_prefix && view.is_still &&
            one->open == 1 && one->epoch == view.epoch + 1 &&
            !one->is_unknown) {
            one->is_guarded = true;
        }
        if (one->open == 1 && one->epoch == view.epoch + 1 && !result.existed &&
            !one->is_unknown) {
            check_guests(ranks, key);
        }
    } else if (status == CASCADE_OK) {
        if (history.cold) {
            fail_with("not stored", key, status);
        }
        status = CASCADE_TIMEOUT; // whether the old binding stays is open
    } else if (status != CASCADE_TIMEOUT && status != CASCADE_BUSY &&
               status != CASCADE_NO_SPACE) {
        fail_with("put", key, status);
    }
    if (changes) {
        end_change(key, status == CASCADE_OK);
    } else if (status != CASCADE_OK) {
        one->is_unknown = true;
        one->is_guarded = false;
    }
    history.unknown += status != CASCADE_OK;
}

// The content that is found; 0: none; NEVER: unknown.
static uint64_t
get(struct cascade *store, uint32_t key)
{
    static uint8_t data[BYTES_MAX * RANKS_MAX * CLIENTS];
    static uint32_t turn;
    const struct key_model *one = &history.keys[key];
    // Others run while this one waits: each has a buffer.
    uint8_t *own = &data[(size_t)(turn++ % (RANKS_MAX * CLIENTS)) * BYTES_MAX];
    struct cascade_span span = {.data = own, .bytes = BYTES_MAX};
    struct view view = begin(key);
    char text[32];
    size_t bytes = 0;
    enum cascade_status status = cascade_get(store, name_of(key, text), &span,
                                             1, NULL, &bytes);
    uint32_t stale = 0;

    if (status == CASCADE_NOT_FOUND) {
        check_absent(key, &view, "not found");
        history.misses++;
        return 0;
    }
    if (status == CASCADE_TIMEOUT && history.short_timeouts) {
        return NEVER;
    }
    if (status != CASCADE_OK) {
        fail_with("get", key, status);
    }
    history.guarded_reads += was_guarded(key, &view);
    history.hits++;
    for (uint32_t i = one->count; i > 0; i--) {
        const struct write *write = &one->writes[i - 1];

        if (write->content != 0 && content_bytes(write->content) == bytes &&
            store_is(write->content, own, bytes)) {
            if (is_current(one, write, view.start)) {
                return write->content;
            }
            stale = write->content;
        }
    }
    print_writes(key);
    (void)fprintf(stderr, "content %u at %llu\n", stale,
                  (unsigned long long)view.start);
    fail_with(stale != 0 ? "bytes that were replaced before" : "wrong bytes",
              key, status);
    return 0;
}

static void
remove_one(struct cascade *store)
{
    uint32_t key = pick(KEYS);
    struct view view = begin(key);
    uint32_t number = begin_write(key, 0);
    bool was_sure = view.is_guarded;
    char text[32];
    enum cascade_status status;

    begin_change(key);
    status = cascade_remove(store, name_of(key, text));
    if (status == CASCADE_OK || status == CASCADE_NOT_FOUND) {
        history.keys[key].writes[number].end = ++history.order;
    } else if (status != CASCADE_TIMEOUT && status != CASCADE_BUSY) {
        fail_with("remove", key, status);
    }
    if (status == CASCADE_NOT_FOUND && was_sure &&
        history.keys[key].epoch == view.epoch + 1) {
        fail_with("nothing to remove", key, status);
    }
    end_change(key, status == CASCADE_OK || status == CASCADE_NOT_FOUND);
}

static void
clear_all(struct cascade *store)
{
    uint32_t numbers[KEYS];
    enum cascade_status status;

    for (uint32_t k = 0; k < KEYS; k++) {
        numbers[k] = begin_write(k, 0);
        begin_change(k);
    }
    status = cascade_clear(store);
    if (status != CASCADE_OK && status != CASCADE_TIMEOUT) {
        fail_with("clear", 0, status);
    }
    ++history.order;
    for (uint32_t k = 0; k < KEYS; k++) {
        if (status == CASCADE_OK) {
            history.keys[k].writes[numbers[k]].end = history.order;
        }
        end_change(k, status == CASCADE_OK);
    }
}

static void
protect(struct cascade *store)
{
    uint32_t key = pick(KEYS);
    struct key_model *one = &history.keys[key];
    struct view view = begin(key);
    bool is_alone = one->open == 0 && !one->is_unknown;
    char text[32];
    enum cascade_status status = cascade_protect(store, name_of(key, text),
                                                 NULL);

    if (status == CASCADE_OK && is_alone && one->epoch == view.epoch &&
        !one->is_unknown) {
        one->is_guarded = true;
    } else if (status == CASCADE_NOT_FOUND) {
        check_absent(key, &view, "nothing to protect");
    } else if (status != CASCADE_OK && status != CASCADE_NO_SPACE &&
               status != CASCADE_TIMEOUT && status != CASCADE_BUSY &&
               status != CASCADE_STALE) {
        fail_with("protect", key, status);
    }
}

static void
unprotect(struct cascade *store)
{
    uint32_t key = pick(KEYS);
    char text[32];
    enum cascade_status status;

    begin_change(key);
    status = cascade_unprotect(store, name_of(key, text));
    end_change(key, status == CASCADE_OK || status == CASCADE_NOT_FOUND);
    if (status != CASCADE_OK && status != CASCADE_NOT_FOUND &&
        status != CASCADE_TIMEOUT && status != CASCADE_BUSY &&
        status != CASCADE_STALE) {
        fail_with("unprotect", key, status);
    }
}

static void
exists(struct cascade *store)
{
    uint32_t key = pick(KEYS);
    struct view view = begin(key);
    char text[32];
    enum cascade_status status = cascade_exists(store, name_of(key, text));

    if (status == CASCADE_NOT_FOUND) {
        check_absent(key, &view, "does not exist");
    } else if (status != CASCADE_OK &&
               !(status == CASCADE_TIMEOUT && history.short_timeouts)) {
        fail_with("exists", key, status);
    }
}

// Blocks that nobody asks for again.
static void
press(struct cascade *store)
{
    for (int i = 0; i < 6; i++) {
        uint32_t number = FIRST_FILLER + history.next_filler++;
        char text[32];
        enum cascade_status status;

        (void)snprintf(text, sizeof(text), "filler-%u", number);
        status = store_put_seed(store, text, number, BYTES_MAX, 0, NULL);
        if (status != CASCADE_OK && status != CASCADE_TIMEOUT &&
            status != CASCADE_BUSY && status != CASCADE_NO_SPACE) {
            fail_with("filler", number, status);
        }
    }
}

// Nobody else puts, or has put, that content under that name.
static bool
is_alone_with(uint64_t number, uint32_t content)
{
    uint32_t others = 0;

    for (uint32_t i = 0; i < history.contest_count; i++) {
        const struct contest *one = &history.contests[i];

        others += one->number == number && one->content == content &&
                  !one->is_out;
    }
    return others == 0;
}

// Who was refused has no name left, neither here nor where another rank was to
// give it. If nobody waited for that rank it may be at it yet.
static void
check_no_name(struct store_ranks *ranks, uint16_t rank, const char *text,
              uint64_t number, uint32_t content)
{
    static uint8_t data[BYTES_MAX];
    struct directory_found found;
    struct block_id id;

    if (!is_alone_with(number, content)) {
        return;
    }
    store_fill(content, data, content_bytes(content));
    block_id_of(data, content_bytes(content), &id);
    for (uint16_t r = 0; r < ranks->count; r++) {
        struct cascade *store = ranks->members[r].store;

        if (store != NULL && (r == rank || !history.short_timeouts) &&
            is_named(store, text, &found) && block_id_equal(&found.id, &id)) {
            (void)fprintf(stderr, "%s on rank %u\n", text, (unsigned)r);
            fail_with("a refused put is named", 0, CASCADE_EXISTS);
        }
    }
}

// All who come here in the same moment want the same key. Some have contents of
// their own, some put what lies on other ranks.
static void
contend(struct client *client)
{
    struct store_ranks *ranks = client->ranks;
    uint64_t now_ns = fabric_sim_now_ns(ranks->sim);
    uint64_t number = now_ns / CONTEST_NS + 1;
    bool is_new = history.next_rival < 4 || pick(2) == 0;
    uint32_t content = FIRST_RIVAL + (is_new
                                          ? history.next_rival++
                                          : history.next_rival - 1 - pick(4));
    struct contest *own = &history.contests[history.contest_count];
    struct cascade_put_result result;
    char text[32];
    enum cascade_status status;

    if (history.contest_count == CONTESTS_MAX) {
        return;
    }
    history.contest_count++;
    *own = (struct contest){.number = number, .content = content};
    (void)snprintf(text, sizeof(text), "contest-%llu",
                   (unsigned long long)number);
    fabric_sim_sleep(ranks->sim, number * CONTEST_NS - now_ns);
    memset(&result, 0, sizeof(result));
    status = store_put_seed(client->store, text, content,
                            content_bytes(content), CASCADE_PUT_IF_ABSENT,
                            &result);
    if (status == CASCADE_EXISTS || (status == CASCADE_OK && result.existed)) {
        own->is_out = true;
        history.lost_contests++;
        check_no_name(ranks, client->rank, text, number, content);
    } else if (status != CASCADE_OK && status != CASCADE_TIMEOUT &&
               status != CASCADE_BUSY && status != CASCADE_NO_SPACE) {
        fail_with("contest", content, status);
    }
}

// A key is read until its block is here as a guest, and then its custodian loses
// its own.
static void
inherit(struct client *client)
{
    uint32_t key = pick(KEYS);
    struct directory_found kept;
    struct directory_found content;
    char text[32];
    uint16_t custodian;

    for (int i = 0; i < 4; i++) {
        (void)get(client->store, key);
    }
    (void)name_of(key, text);
    custodian = custodian_of(client->ranks, text, &kept);
    if (custodian != RANKS_MAX && custodian != client->rank &&
        directory_find_content(
            client->ranks->members[custodian].store->directory, &kept.id,
            &content) == CASCADE_OK &&
        !content.content_protected && block_place_is_set(&content.memory)) {
        store_memory_damaged(client->ranks->members[custodian].store, &content);
    }
}

// Two ranks do not hear each other for longer than a call waits.
static void
cut(struct client *client)
{
    uint16_t other = (uint16_t)pick(client->ranks->count);

    if (other != client->rank) {
        fabric_sim_cut(client->ranks->sim, client->rank, other);
        fabric_sim_sleep(client->ranks->sim, (uint64_t)pick(600) * NS_PER_MS);
        fabric_sim_heal(client->ranks->sim, client->rank, other);
    }
}

static void
step(struct client *client)
{
    struct cascade *store = client->store;
    uint32_t what = pick(100);

    if (history.short_timeouts && pick(12) == 0) {
        cut(client);
    } else if (!history.cold && what < 6) {
        contend(client);
    } else if (!history.cold && what < 12) {
        inherit(client);
    } else if (what < 28) {
        put(client->ranks, store);
    } else if (what < 34) {
        remove_one(store);
    } else if (what < 40) {
        protect(store);
    } else if (what < 43) {
        unprotect(store);
    } else if (what < 47) {
        exists(store);
    } else if (what < 53) {
        press(store);
    } else if (what < 54) {
        if (pick(4) == 0) {
            clear_all(store);
        }
    } else if (what < 64) {
        uint32_t key = pick(KEYS);

        for (int i = 0; i < 4; i++) {
            (void)get(store, key);
        }
    } else {
        (void)get(store, pick(KEYS));
    }
    if (pick(3) == 0) {
        fabric_sim_sleep(client->ranks->sim, 1 + pick(20 * NS_PER_MS));
    }
}

static void
run_client(void *context)
{
    struct client *client = context;

    for (uint32_t i = 0; i < history.operations; i++) {
        step(client);
    }
    client->is_done = true;
}

static bool
client_is_done(void *context)
{
    const struct client *client = context;

    return client->is_done;
}

// --- when all is quiet

// Every copy in memory is listed under some content: bytes are counted through
// the slots.
static void
check_memory(struct cascade *store)
{
    struct tier_usage usage;
    uint64_t bytes = 0;
    uint64_t blocks = 0;

    for (uint32_t s = 0; s < store->slots; s++) {
        struct directory_found found;

        if (directory_find_slot(store->directory, s, &found) == CASCADE_OK) {
            bytes += units_round_up(units_max(found.bytes, 1),
                                    store->granule_bytes);
            blocks++;
        }
    }
    tier_dram_table.usage(store->dram, &usage);
    if (usage.used_bytes != bytes || usage.blocks != blocks) {
        (void)fprintf(stderr,
                      "%llu bytes in %llu blocks are used, %llu in "
                      "%llu listed\n",
                      (unsigned long long)usage.used_bytes,
                      (unsigned long long)usage.blocks,
                      (unsigned long long)bytes, (unsigned long long)blocks);
        fail_with("memory is not as listed", 0, CASCADE_OK);
    }
}

// Who keeps a key is whom its home names, under the version that the home has.
static void
check_custodians(struct store_ranks *ranks)
{
    for (uint32_t k = 0; k < KEYS; k++) {
        struct store_cluster *cluster = ranks->members[0].store->cluster;
        uint32_t custodians = 0;
        const struct directory_home_key *entry;
        struct block_key digest;
        char text[32];
        bool is_live;

        (void)name_of(k, text);
        digest = digest_of(ranks->members[0].store, text);
        entry = directory_home_key(
            ranks->members[store_cluster_key_home(cluster, &digest)]
                .store->cluster->home,
            &digest);
        is_live = directory_home_is_live(entry);
        for (uint16_t r = 0; r < ranks->count; r++) {
            struct directory_found found;

            if (!is_named(ranks->members[r].store, text, &found) ||
                (found.flags & DIRECTORY_GUEST) != 0) {
                continue;
            }
            custodians++;
            if (!is_live || entry->custodian != r ||
                block_version_compare(entry->version, found.version) != 0) {
                fail_with("a custodian that its home does not know", k,
                          CASCADE_OK);
            }
        }
        if (custodians != (is_live ? 1 : 0)) {
            fail_with("a binding without exactly one custodian", k, CASCADE_OK);
        }
    }
}

static void
check_quiet(struct store_ranks *ranks, struct cascade *store)
{
    struct directory_home_usage usage;

    check(directory_is_valid(store->directory));
    check(directory_home_is_valid(store->cluster->home));
    directory_home_usage(store->cluster->home, &usage);
    if (usage.changing != 0 || usage.waiting != 0) {
        fail_with("changes are under way", 0, CASCADE_OK);
    }
    if (store->cluster->unconfirmed_count != 0) {
        fail_with("names are not confirmed", 0, CASCADE_OK);
    }
    if (tier_dram_pins(store->dram) != 0) {
        fail_with("pins are left", 0, CASCADE_OK);
    }
    check_memory(store);
    check_custodians(ranks);
    history.handed += usage.handed;
}

static void
add_statistics(struct cascade *store)
{
    struct cascade_stats stats = {.size = sizeof(stats)};

    check(cascade_stats_read(store, &stats) == CASCADE_OK);
    history.promotions += stats.promotions;
    history.remote_hits += stats.hits[CASCADE_TIER_REMOTE_DRAM];
    history.evictions += stats.evictions[CASCADE_TIER_LOCAL_DRAM];
}

static void
meet(struct cascade *store)
{
    uint64_t started_ns = store_now(store);
    enum cascade_status status = CASCADE_TIMEOUT;

    // Timeouts are short in some histories.
    while (status == CASCADE_TIMEOUT &&
           store_now(store) - started_ns < 600 * NS_PER_S) {
        status = fabric_port_barrier(store->cluster->port, UINT64_MAX);
    }
    store_ranks_must(status, "barrier");
}

static void
become_quiet(struct store_ranks *ranks, struct cascade *store)
{
    meet(store);
    // What is unknown is asked for again by the background.
    fabric_sim_sleep(ranks->sim, QUIET_NS);
    for (int i = 0; i < 60 && store->cluster->unconfirmed_count > 0; i++) {
        fabric_sim_sleep(ranks->sim, NS_PER_S);
    }
    meet(store);
    fabric_sim_sleep(ranks->sim, QUIET_NS);
    meet(store);
}

static void
life(struct store_ranks *ranks, uint16_t rank, struct cascade *store)
{
    struct client clients[CLIENTS] = {
        {.ranks = ranks, .store = store, .rank = rank},
        {.ranks = ranks, .store = store, .rank = rank},
    };

    // Only once all are open, for which that is too short.
    meet(store);
    if (history.short_timeouts) {
        store->settings.timeout_ns = 200 * NS_PER_MS;
    }
    if (!history.cold) {
        fabric_sim_spawn(ranks->sim, rank, "client", run_client, &clients[1]);
    }
    run_client(&clients[0]);
    if (!history.cold) {
        fabric_sim_until(ranks->sim, client_is_done, &clients[1]);
    }
    become_quiet(ranks, store);
    for (uint32_t k = 0; k < KEYS; k++) {
        (void)get(store, k);
    }
    if (history.cold && rank == 0) {
        store_ranks_must(cascade_flush(store, NULL), "flush");
        for (uint32_t k = 0; k < KEYS; k++) {
            history.kept[k] = (uint32_t)get(store, k);
        }
    }
    become_quiet(ranks, store);
    check_quiet(ranks, store);
    add_statistics(store);
    meet(store);
}

// After a restart all is as it was flushed; then more happens.
static void
second_life(struct store_ranks *ranks, uint16_t rank, struct cascade *store)
{
    for (uint32_t k = 0; k < KEYS; k++) {
        uint64_t found = get(store, k);

        if (found != history.kept[k]) {
            print_writes(k);
            (void)fprintf(stderr, "content %u was flushed, %llu found\n",
                          history.kept[k], (unsigned long long)found);
            fail_with("is not as it was flushed", k, CASCADE_OK);
        }
    }
    meet(store);
    life(ranks, rank, store);
}

// --- runs

static void
forget(uint64_t seed)
{
    for (uint32_t k = 0; k < KEYS; k++) {
        struct key_model *one = &history.keys[k];

        one->count = 0;
        one->open = 0;
        one->epoch = 0;
        one->is_unknown = false;
        one->is_guarded = false;
    }
    history.seed = seed;
    history.random = seed * 0x9e3779b97f4a7c15u + 1;
    history.order = 0;
    history.next_content = 1;
    history.next_filler = 0;
    history.next_rival = 0;
    history.contest_count = 0;
    history.long_leases = false;
}

static struct fabric_sim_options
network(uint64_t seed)
{
    bool is_bad = seed % 3 != 0;

    return (struct fabric_sim_options){
        .capabilities = is_bad ? 0 : FABRIC_RELIABLE,
        .loss_ppm = is_bad ? 20000 : 0,
        .double_ppm = is_bad ? 20000 : 0,
        .busy_ppm = 10000,
        .delay_ns_min = 1000,
        .delay_ns_max = seed % 2 == 0 ? 50000 : 2000000,
        .bulk_delay_ns_max = 100000,
    };
}

static const char *const leases[] = {"0.01", "0.1", "1", "10"};

static void
run_memory(uint64_t seed)
{
    static struct store_ranks ranks;
    struct fabric_sim_options options = network(seed);
    uint16_t count = (uint16_t)(2 + seed % (RANKS_MAX - 1));
    const char *pairs[] = {"dram_capacity",
                           "1MiB",
                           "max_blocks",
                           "256",
                           "promotion_threshold",
                           "2",
                           "binding_lease",
                           leases[seed / 2 % 4],
                           "timeout",
                           "60",
                           NULL};

    forget(seed);
    history.cold = false;
    history.short_timeouts = seed % 7 == 0;
    history.long_leases = seed / 2 % 4 == 3;
    history.operations = 40;
    store_ranks_make(&ranks, seed, count, &options);
    store_ranks_run(&ranks, count, false, pairs, life);
    store_ranks_remove(&ranks);
}

static void
run_cold(uint64_t seed)
{
    static struct store_ranks ranks;
    struct fabric_sim_options options = network(seed);
    uint16_t before = (uint16_t)(2 + seed % 4);
    uint16_t after = (uint16_t)(2 + seed / 4 % 4);
    const char *pairs[] = {"dram_capacity",
                           "1MiB",
                           "max_blocks",
                           "512",
                           "binding_lease",
                           leases[seed / 2 % 4],
                           "lease_time",
                           "3600",
                           "timeout",
                           "60",
                           NULL};

    forget(seed);
    history.cold = true;
    history.short_timeouts = false;
    history.operations = 40;
    store_ranks_make(&ranks, seed, before, &options);
    store_ranks_run(&ranks, before, true, pairs, life);
    fabric_sim_destroy(ranks.sim);
    ranks.sim = fabric_sim_create(seed + 1, after, &options);
    ranks.count = after;
    store_ranks_run(&ranks, after, true, pairs, second_life);
    store_ranks_remove(&ranks);
}

static uint64_t first_seed = 1;
static uint64_t seeds = 64;

static void
test_histories_in_memory(void **state)
{
    (void)state;
    for (uint64_t s = 0; s < seeds; s++) {
        run_memory(first_seed + s);
    }
    print_message("%llu hits (%llu from other ranks, %llu of protected keys), "
                  "%llu misses, %llu unknown; %llu evictions, %llu promotions, "
                  "%llu handed over, %llu contests lost\n",
                  (unsigned long long)history.hits,
                  (unsigned long long)history.remote_hits,
                  (unsigned long long)history.guarded_reads,
                  (unsigned long long)history.misses,
                  (unsigned long long)history.unknown,
                  (unsigned long long)history.evictions,
                  (unsigned long long)history.promotions,
                  (unsigned long long)history.handed,
                  (unsigned long long)history.lost_contests);
}

static void
test_histories_with_restarts(void **state)
{
    (void)state;
    for (uint64_t s = 0; s < (seeds + 9) / 10; s++) {
        run_cold(first_seed + s);
    }
}

// Seeds that found something once.
static void
test_known_histories(void **state)
{
    static const uint64_t known[] = {112, 1037, 10104};

    (void)state;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        run_memory(known[i]);
    }
    run_cold(10104);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_histories),
        cmocka_unit_test(test_histories_in_memory),
        cmocka_unit_test(test_histories_with_restarts),
    };

    if (argc > 1) {
        first_seed = strtoull(argv[1], NULL, 10);
    }
    if (argc > 2) {
        seeds = strtoull(argv[2], NULL, 10);
    }
    print_message("seeds %llu to %llu\n", (unsigned long long)first_seed,
                  (unsigned long long)(first_seed + seeds - 1));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
