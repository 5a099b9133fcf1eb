// SPDX-License-Identifier: Apache-2.0
//
// What is found on segments while ranks serve: files of a writer that ended and
// that this rank adopted, and, where keys are never bound anew, what other jobs
// have sealed, which is taken in by the home of each key. What live ranks of the
// job have sealed is theirs to tell.
//
// A record is loaded, and its home told of it under its own version, as at open:
// so what was removed, cleared or bound anew since does not come back. A home
// that has forgotten removals refuses what is older than those; the next open
// finds it. Where the home knows a binding of the key, that one stays.
//
// Lock: adopt_lock over the list of what was found, a leaf. Homes are asked by
// the background.

#include <string.h>

#include "base/check.h"
#include "base/error.h"
#include "store/store_cluster.h"

#define STEP_MAX 64 // records of a step
#define ASK_NS NS_PER_S
#define AGAIN_NS NS_PER_S
#define FIRST_ROOM 64

struct store_cluster_adopt {
    pthread_mutex_t adopt_lock;
    struct block_key *keys; // that were loaded; their homes do not know
    size_t count;
    size_t room;
    uint64_t again_ns; // of the background: not before
};

static void
note(struct store_cluster *cluster, const struct block_key *key)
{
    struct store_cluster_adopt *adopt = cluster->adopt;
    bool has_room;

    check(pthread_mutex_lock(&adopt->adopt_lock) == 0);
    has_room = adopt->count < adopt->room;
    if (!has_room) {
        size_t room = adopt->room > 0 ? adopt->room * 2 : FIRST_ROOM;
        struct block_key *grown = allocator_array(cluster->allocator, room,
                                                  sizeof(*grown));

        has_room = grown != NULL;
        if (has_room) {
            if (adopt->count > 0) {
                memcpy(grown, adopt->keys, adopt->count * sizeof(*grown));
            }
            allocator_release(cluster->allocator, adopt->keys);
            adopt->keys = grown;
            adopt->room = room;
        }
    }
    if (has_room) {
        adopt->keys[adopt->count++] = *key;
    }
    check(pthread_mutex_unlock(&adopt->adopt_lock) == 0);
    if (!has_room) {
        log_write(&cluster->store->log, LOG_LEVEL_WARNING,
                  "no memory for a block that was found on segments; the next "
                  "open finds it");
    }
}

static bool
take(struct store_cluster_adopt *adopt, struct block_key *key)
{
    bool any;

    check(pthread_mutex_lock(&adopt->adopt_lock) == 0);
    any = adopt->count > 0;
    if (any) {
        *key = adopt->keys[--adopt->count];
    }
    check(pthread_mutex_unlock(&adopt->adopt_lock) == 0);
    return any;
}

bool
store_cluster_takes_entry(struct cascade *store,
                          const struct tier_segment_entry *entry)
{
    struct store_cluster *cluster = store->cluster;
    const struct block_label *label = &entry->label;

    if ((label->flags & (BLOCK_LABEL_NO_KEY | BLOCK_LABEL_CLEAR)) != 0) {
        return true; // a place, if anything names it
    }
    if (!entry->own &&
        (store->settings.rebind == STORE_REBIND_ALLOWED ||
         store_cluster_key_home(cluster, &label->key) != cluster->rank)) {
        return false;
    }
    note(cluster, &label->key);
    return true;
}

// The home knows another binding of the key, so this one goes.
static void
drop(struct cascade *store, const struct block_key *key,
     struct block_version version)
{
    struct block_version below = {version.time_ns + 1, 0};
    struct directory_freed freed;

    directory_end(store->directory, key, below, false, &freed);
    store_free(store, &freed);
}

// BUSY, TIMEOUT: not now.
static enum cascade_status
tell_home(struct cascade *store, const struct block_key *key,
          uint64_t deadline_ns)
{
    struct store_cluster_found known;
    struct directory_found found;
    enum cascade_status status = directory_find_binding(store->directory, key,
                                                        &found);

    if (status != CASCADE_OK || (found.flags & DIRECTORY_GUEST) != 0) {
        return CASCADE_OK; // it went meanwhile
    }
    if ((found.flags & DIRECTORY_REMOVED) != 0) {
        return store_cluster_announce_key(store, key, deadline_ns);
    }
    status = store_cluster_find(store, key, deadline_ns, &known);
    if (status == CASCADE_NOT_FOUND) {
        return store_cluster_announce_key(store, key, deadline_ns);
    }
    if (status == CASCADE_OK && known.lease.custodian != store->cluster->rank) {
        drop(store, key, found.version);
    }
    return status;
}

bool
store_cluster_adopt_step(struct cascade *store)
{
    struct store_cluster_adopt *adopt;
    struct block_key key;
    uint64_t now_ns = store_now(store);

    if (store->cluster == NULL || !atomic_load(&store->cluster->serving) ||
        now_ns < store->cluster->adopt->again_ns) {
        return false;
    }
    adopt = store->cluster->adopt;
    for (int i = 0; i < STEP_MAX; i++) {
        enum cascade_status status;

        if (!take(adopt, &key)) {
            return false;
        }
        status = tell_home(store, &key, now_ns + ASK_NS);
        if (status == CASCADE_BUSY || status == CASCADE_TIMEOUT) {
            note(store->cluster, &key);
            adopt->again_ns = now_ns + AGAIN_NS;
            return false;
        }
    }
    return true;
}

enum cascade_status
store_cluster_adopt_open(struct store_cluster *cluster)
{
    cluster->adopt = allocator_array(cluster->allocator, 1,
                                     sizeof(*cluster->adopt));
    if (cluster->adopt == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory for many ranks");
    }
    check(pthread_mutex_init(&cluster->adopt->adopt_lock, NULL) == 0);
    return CASCADE_OK;
}

void
store_cluster_adopt_close(struct store_cluster *cluster)
{
    if (cluster->adopt == NULL) {
        return;
    }
    (void)pthread_mutex_destroy(&cluster->adopt->adopt_lock);
    allocator_release(cluster->allocator, cluster->adopt->keys);
    allocator_release(cluster->allocator, cluster->adopt);
    cluster->adopt = NULL;
}
