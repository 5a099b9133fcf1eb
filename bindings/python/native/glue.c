// SPDX-License-Identifier: Apache-2.0
//
// Plain C that the cffi module cascade._cascade adds to the public interface:
// the calls with one key without structs to be made in Python for them, and a
// list that does not call back into the interpreter
// while the store holds a lock.

#include <cascade/cascade.h>

#include <stdlib.h>
#include <string.h>

// CDEF BEGIN
struct glue_hints {
    uint32_t flags;
    uint32_t depth;
    uint32_t turn;
    uint32_t request_class;
    float expected_reuse;
    const char *parent;
    size_t parent_bytes;
};

// The entries of a store, and the bytes of their keys one after the other.
struct glue_list {
    struct cascade_entry *entries;
    size_t count;
    size_t room;
    char *keys;
    size_t key_bytes;
    size_t key_room;
};

int
glue_put(struct cascade *store, const char *key, size_t key_bytes,
         const void *spans, size_t span_count, uint64_t timeout_ns,
         const struct glue_hints *hints, struct cascade_put_result *result);
int
glue_get(struct cascade *store, const char *key, size_t key_bytes,
         const void *spans, size_t span_count, uint64_t timeout_ns,
         size_t *bytes);
int
glue_exists(struct cascade *store, const char *key, size_t key_bytes);
int
glue_locate(struct cascade *store, const char *key, size_t key_bytes,
            struct cascade_location *location);
int
glue_remove(struct cascade *store, const char *key, size_t key_bytes);
int
glue_protect(struct cascade *store, const char *key, size_t key_bytes,
             uint64_t timeout_ns);
int
glue_unprotect(struct cascade *store, const char *key, size_t key_bytes);
int
glue_prefetch(struct cascade *store, const char *key, size_t key_bytes,
              uint64_t timeout_ns);
int
glue_flush(struct cascade *store, uint64_t timeout_ns);
int
glue_barrier(struct cascade *store, uint64_t timeout_ns);
int
glue_stats_all(struct cascade *store, uint64_t timeout_ns,
               struct cascade_stats *stats);
int
glue_drain(struct cascade *store, uint64_t timeout_ns,
           struct cascade_drain_result *result);
int
glue_evict(struct cascade *store, int tier, uint64_t timeout_ns,
           uint64_t *evicted);
int
glue_batch(struct cascade *store, struct cascade_item *items, size_t count,
           uint64_t timeout_ns);
int
glue_submit(struct cascade_queue *queue, struct cascade_item *items,
            size_t count, uint64_t timeout_ns, uintptr_t number,
            uint64_t *ticket);
int
glue_list(struct cascade *store, struct glue_list *list);
int
glue_list_protected(struct cascade *store, uint64_t timeout_ns,
                    struct glue_list *list);
int
glue_sync(struct cascade *store, uint64_t timeout_ns);
void
glue_list_free(struct glue_list *list);
void
glue_put_options(const struct glue_hints *hints, uint64_t timeout_ns,
                 struct cascade_put_options *options);
void
glue_content_id(uintptr_t data, size_t bytes, uint8_t *id);
// CDEF END

static struct cascade_key
key_of(const char *data, size_t bytes)
{
    return (struct cascade_key){.data = data, .bytes = bytes};
}

static struct cascade_call
call_of(uint64_t timeout_ns)
{
    return (struct cascade_call){
        .size = sizeof(struct cascade_call),
        .timeout_ns = timeout_ns,
    };
}

// Makes room for one more; false if there is no memory.
static bool
grow(void **data, size_t item_bytes, size_t needed, size_t *room)
{
    if (needed <= *room) {
        return true;
    }
    size_t wanted = *room * 2 > needed ? *room * 2 : needed + 64;
    void *grown = realloc(*data, wanted * item_bytes);
    if (grown == NULL) {
        return false;
    }
    *data = grown;
    *room = wanted;
    return true;
}

// Keeps the entry, with its key as an offset until all keys are there.
static bool
visit(void *context, const struct cascade_entry *entry)
{
    struct glue_list *list = context;
    void *entries = list->entries;
    void *keys = list->keys;
    bool entries_grown = grow(&entries, sizeof(*entry), list->count + 1,
                              &list->room);
    list->entries = entries;
    bool keys_grown = grow(&keys, 1, list->key_bytes + entry->key.bytes,
                           &list->key_room);
    list->keys = keys;
    if (!entries_grown || !keys_grown) {
        list->room = SIZE_MAX; // says that memory ended
        return false;
    }
    if (entry->key.bytes != 0) {
        memcpy(list->keys + list->key_bytes, entry->key.data, entry->key.bytes);
    }
    list->entries[list->count] = *entry;
    list->count++;
    list->key_bytes += entry->key.bytes;
    return true;
}

void
glue_put_options(const struct glue_hints *hints, uint64_t timeout_ns,
                 struct cascade_put_options *options)
{
    *options = (struct cascade_put_options){
        .size = sizeof(*options),
        .flags = hints->flags,
        .parent = key_of(hints->parent, hints->parent_bytes),
        .depth = hints->depth,
        .turn = hints->turn,
        .request_class = hints->request_class,
        .expected_reuse = hints->expected_reuse,
        .timeout_ns = timeout_ns,
    };
}

int
glue_put(struct cascade *store, const char *key, size_t key_bytes,
         const void *spans, size_t span_count, uint64_t timeout_ns,
         const struct glue_hints *hints, struct cascade_put_result *result)
{
    struct cascade_put_options options;
    glue_put_options(hints, timeout_ns, &options);
    return (int)cascade_put(store, key_of(key, key_bytes), spans, span_count,
                            &options, result);
}

int
glue_get(struct cascade *store, const char *key, size_t key_bytes,
         const void *spans, size_t span_count, uint64_t timeout_ns,
         size_t *bytes)
{
    struct cascade_call call = call_of(timeout_ns);
    return (int)cascade_get(store, key_of(key, key_bytes), spans, span_count,
                            &call, bytes);
}

int
glue_exists(struct cascade *store, const char *key, size_t key_bytes)
{
    return (int)cascade_exists(store, key_of(key, key_bytes));
}

int
glue_locate(struct cascade *store, const char *key, size_t key_bytes,
            struct cascade_location *location)
{
    return (int)cascade_locate(store, key_of(key, key_bytes), location);
}

int
glue_remove(struct cascade *store, const char *key, size_t key_bytes)
{
    return (int)cascade_remove(store, key_of(key, key_bytes));
}

int
glue_protect(struct cascade *store, const char *key, size_t key_bytes,
             uint64_t timeout_ns)
{
    struct cascade_call call = call_of(timeout_ns);
    return (int)cascade_protect(store, key_of(key, key_bytes), &call);
}

int
glue_unprotect(struct cascade *store, const char *key, size_t key_bytes)
{
    return (int)cascade_unprotect(store, key_of(key, key_bytes));
}

int
glue_prefetch(struct cascade *store, const char *key, size_t key_bytes,
              uint64_t timeout_ns)
{
    struct cascade_call call = call_of(timeout_ns);
    return (int)cascade_prefetch(store, key_of(key, key_bytes), &call);
}

int
glue_flush(struct cascade *store, uint64_t timeout_ns)
{
    struct cascade_call call = call_of(timeout_ns);
    return (int)cascade_flush(store, &call);
}

int
glue_barrier(struct cascade *store, uint64_t timeout_ns)
{
    struct cascade_call call = call_of(timeout_ns);
    return (int)cascade_barrier(store, &call);
}

int
glue_stats_all(struct cascade *store, uint64_t timeout_ns,
               struct cascade_stats *stats)
{
    struct cascade_call call = call_of(timeout_ns);
    return (int)cascade_stats_read_all(store, &call, stats);
}

int
glue_drain(struct cascade *store, uint64_t timeout_ns,
           struct cascade_drain_result *result)
{
    return (int)cascade_drain(store, timeout_ns, result);
}

int
glue_evict(struct cascade *store, int tier, uint64_t timeout_ns,
           uint64_t *evicted)
{
    struct cascade_call call = call_of(timeout_ns);
    return (int)cascade_evict(store, (enum cascade_tier)tier, &call, evicted);
}

int
glue_batch(struct cascade *store, struct cascade_item *items, size_t count,
           uint64_t timeout_ns)
{
    struct cascade_call call = call_of(timeout_ns);
    return (int)cascade_batch(store, items, count, &call);
}

int
glue_submit(struct cascade_queue *queue, struct cascade_item *items,
            size_t count, uint64_t timeout_ns, uintptr_t number,
            uint64_t *ticket)
{
    struct cascade_call call = call_of(timeout_ns);
    return (int)cascade_submit(queue, items, count, &call, (void *)number,
                               ticket);
}

// All are there: keys are where their offsets say.
static int
finish_list(struct glue_list *list, int status)
{
    size_t at = 0;
    for (size_t i = 0; i < list->count; i++) {
        list->entries[i].key.data = list->keys + at;
        at += list->entries[i].key.bytes;
    }
    return list->room == SIZE_MAX ? (int)CASCADE_NO_MEMORY : status;
}

int
glue_list(struct cascade *store, struct glue_list *list)
{
    *list = (struct glue_list){0};
    return finish_list(list, (int)cascade_list(store, visit, list));
}

int
glue_list_protected(struct cascade *store, uint64_t timeout_ns,
                    struct glue_list *list)
{
    struct cascade_call call = call_of(timeout_ns);
    *list = (struct glue_list){0};
    return finish_list(list,
                       (int)cascade_list_protected(store, &call, visit, list));
}

int
glue_sync(struct cascade *store, uint64_t timeout_ns)
{
    struct cascade_call call = call_of(timeout_ns);
    return (int)cascade_sync(store, &call);
}

void
glue_list_free(struct glue_list *list)
{
    free(list->entries);
    free(list->keys);
    *list = (struct glue_list){0};
}

void
glue_content_id(uintptr_t data, size_t bytes, uint8_t *id)
{
    cascade_content_id((const void *)data, bytes, id);
}
