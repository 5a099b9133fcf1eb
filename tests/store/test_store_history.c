// SPDX-License-Identifier: Apache-2.0
//
// A random history of puts, gets, rebinds, removes, clears, protections,
// flushes, evictions, clean restarts and crashes against a plain model. Each
// session runs in a child process, so that a crash is a real one: the child
// kills itself. The model lies in memory that both share.
//
// Where rebinding is refused any content ever bound to a key is right.
//
// What the model demands: in a session a get gives the newest bytes, and
// nothing only if a counter says that a block was dropped. After a crash a key
// has the state of the last flush or a later one; after a clean close, exactly
// the last one. Nothing is ever a state of before the last flush.
//
// Usage: [seed] [sessions]. The seed is printed.

#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>

#include <cmocka.h>

#include "cascade/cascade.h"
#include "support/scratch.h"

#define KEYS 48
#define STATES_MAX 4096
#define BLOCK_BYTES_MAX 400000
#define OPERATIONS 220

// States of a key since the last flush: [0] is that of the flush, the last one
// is the newest. A state is the number of a content; 0 is "absent".
struct key_model {
    uint32_t states[STATES_MAX];
    uint32_t count;
    uint32_t ever[STATES_MAX]; // every content that was bound to the key
    uint32_t ever_count;
    bool is_protected;
};

struct model {
    struct key_model keys[KEYS];
    uint32_t next_content;
    uint64_t random;
    uint64_t gets_verified;
    uint64_t misses_allowed;
    bool crashed;
    bool failed;
};

struct setting {
    const char *name;
    const char *rebind;
    const char *dedup;
    const char *cold_capacity;
    const char *cold_io;
    const char *sync;
    bool may_forget; // the cold tier is too small for all
};

static uint64_t
mix(uint64_t value)
{
    value += 0x9e3779b97f4a7c15u;
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
    return value ^ (value >> 31);
}

static uint32_t
pick(struct model *model, uint32_t below)
{
    model->random = model->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(model->random >> 33) % below;
}

static size_t
content_bytes(uint32_t content)
{
    static const size_t sizes[] = {0,    1,     100,   4095,   4096,
                                   4097, 70000, 65536, 300000, BLOCK_BYTES_MAX};

    return sizes[mix(content) % (sizeof(sizes) / sizeof(sizes[0]))];
}

static void
fill(uint32_t content, uint8_t *data)
{
    size_t bytes = content_bytes(content);

    for (size_t i = 0; i < bytes; i += 8) {
        uint64_t word = mix((uint64_t)content << 32 | i);
        size_t part = bytes - i < 8 ? bytes - i : 8;

        memcpy(data + i, &word, part);
    }
}

// Two numbers may stand for the same few bytes.
static bool
is_same_content(uint32_t a, uint32_t b)
{
    size_t bytes = content_bytes(a);
    uint8_t first[8];
    uint8_t second[8];

    if (a == 0 || b == 0 || a == b) {
        return a == b;
    }
    if (bytes != content_bytes(b) || bytes > sizeof(first)) {
        return false;
    }
    fill(a, first);
    fill(b, second);
    return memcmp(first, second, bytes) == 0;
}

static struct cascade_key
key_of(uint32_t number, char text[32])
{
    (void)snprintf(text, 32, "key-%u", number);
    return (struct cascade_key){text, strlen(text)};
}

#define demand(condition)                                                    \
    do {                                                                     \
        if (!(condition)) {                                                  \
            (void)fprintf(stderr, "line %d: %s: %s\n", __LINE__, #condition, \
                          cascade_error_message());                          \
            model->failed = true;                                            \
            (void)fflush(stderr);                                            \
            _exit(1);                                                        \
        }                                                                    \
    } while (0)

static void
push(struct model *model, uint32_t key, uint32_t content)
{
    struct key_model *one = &model->keys[key];

    demand(one->count < STATES_MAX && one->ever_count < STATES_MAX);
    one->states[one->count++] = content;
    if (content != 0) {
        one->ever[one->ever_count++] = content;
    }
}

static uint32_t
newest(const struct model *model, uint32_t key)
{
    const struct key_model *one = &model->keys[key];

    return one->states[one->count - 1];
}

static void
flushed(struct model *model)
{
    for (uint32_t k = 0; k < KEYS; k++) {
        model->keys[k].states[0] = newest(model, k);
        model->keys[k].count = 1;
    }
}

static struct cascade *
open_store(struct model *model, const struct setting *setting,
           const char *folder)
{
    struct cascade_options *options = cascade_options_create();
    struct cascade *store = NULL;
    const char *pairs[][2] = {
        {"dram_capacity", "2MiB"},
        {"cold_path", folder},
        {"cold_capacity", setting->cold_capacity},
        {"segment_size", "1MiB"},
        {"rebind", setting->rebind},
        {"dedup", setting->dedup},
        {"cold_io", setting->cold_io},
        {"sync", setting->sync},
        {"put_wait", "20"},
        {"cold_admission", "all"},
        {"max_blocks", "4096"},
        {"stats_page", "false"},
        {"threads", "2"},
        {"log_level", "warning"},
    };

    demand(options != NULL);
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        demand(cascade_options_set(options, pairs[i][0], pairs[i][1]) ==
               CASCADE_OK);
    }
    demand(cascade_open(options, &store) == CASCADE_OK);
    cascade_options_destroy(options);
    return store;
}

// The newest of the contents that has these bytes; 0 if there is none.
static uint32_t
recognise(const uint32_t *contents, uint32_t count, const uint8_t *data,
          size_t bytes)
{
    static uint8_t expected[BLOCK_BYTES_MAX];

    for (uint32_t i = count; i > 0; i--) {
        uint32_t content = contents[i - 1];

        if (content != 0 && content_bytes(content) == bytes) {
            fill(content, expected);
            if (memcmp(data, expected, bytes) == 0) {
                return content;
            }
        }
    }
    return 0;
}

// The content that the key has in the store now; 0 if it is absent. The bytes
// are compared with every content that is allowed.
static uint32_t
observe(struct model *model, struct cascade *store, uint32_t key,
        const struct setting *setting)
{
    static uint8_t data[BLOCK_BYTES_MAX];
    const struct key_model *one = &model->keys[key];
    struct cascade_span span = {.data = data, .bytes = sizeof(data)};
    char text[32];
    size_t bytes = 0;
    uint32_t seen;
    enum cascade_status status = cascade_get(store, key_of(key, text), &span, 1,
                                             NULL, &bytes);

    if (status == CASCADE_NOT_FOUND) {
        return 0;
    }
    demand(status == CASCADE_OK);
    model->gets_verified++;
    seen = recognise(one->states, one->count, data, bytes);
    if (seen == 0 && strcmp(setting->rebind, "refused") == 0) {
        seen = recognise(one->ever, one->ever_count, data, bytes);
    }
    if (seen == 0) {
        (void)fprintf(stderr, "key %u: %zu bytes that are no allowed state\n",
                      key, bytes);
        demand(false);
    }
    return seen;
}

static bool
allows(const struct key_model *one, uint32_t content,
       const struct setting *setting)
{
    if (content != 0 && strcmp(setting->rebind, "refused") == 0) {
        return true; // observe found it among those ever bound
    }
    for (uint32_t i = 0; i < one->count; i++) {
        if (one->states[i] == content) {
            return true;
        }
    }
    return false;
}

// After a restart: each key has an allowed state, which is its state from now
// on.
static void
check_restart(struct model *model, struct cascade *store,
              const struct setting *setting)
{
    for (uint32_t k = 0; k < KEYS; k++) {
        struct key_model *one = &model->keys[k];
        uint32_t seen = observe(model, store, k, setting);

        if (seen == 0 && setting->may_forget) {
            model->misses_allowed++;
        } else if (!allows(one, seen, setting)) {
            (void)fprintf(stderr, "key %u: state %u, %u states from %u to %u\n",
                          k, seen, one->count, one->states[0],
                          newest(model, k));
            demand(false);
        }
        one->states[0] = seen;
        one->count = 1;
        one->is_protected = false;
    }
}

static void
put(struct model *model, struct cascade *store, const struct setting *setting)
{
    static uint8_t data[BLOCK_BYTES_MAX];
    uint32_t key = pick(model, KEYS);
    bool again = pick(model, 4) == 0 && model->next_content > 2;
    uint32_t content = again ? 1 + pick(model, model->next_content - 1)
                             : model->next_content++;
    struct cascade_const_span span = {.data = data,
                                      .bytes = content_bytes(content)};
    struct cascade_put_options options = {.size = sizeof(options)};
    struct cascade_put_result result;
    uint32_t before = newest(model, key);
    char text[32];
    enum cascade_status status;

    fill(content, data);
    if (pick(model, 6) == 0) {
        options.flags |= CASCADE_PUT_PREFIX;
    }
    if (pick(model, 6) == 0) {
        options.flags |= CASCADE_PUT_IF_ABSENT;
    }
    status = cascade_put(store, key_of(key, text), &span, 1, &options, &result);
    if (status == CASCADE_EXISTS) {
        demand((options.flags & CASCADE_PUT_IF_ABSENT) != 0 ||
               strcmp(setting->rebind, "refused") == 0);
        demand(before != 0);
        return;
    }
    demand(status == CASCADE_OK);
    demand(result.stored);
    if ((options.flags & CASCADE_PUT_IF_ABSENT) != 0 ||
        strcmp(setting->rebind, "refused") == 0) {
        demand(before == 0 || is_same_content(before, content) ||
               setting->may_forget);
    }
    push(model, key, content);
    model->keys[key].is_protected = result.protected_prefix;
}

static void
check_key(struct model *model, struct cascade *store, uint32_t key,
          const struct setting *setting)
{
    uint32_t seen = observe(model, store, key, setting);
    struct key_model *one = &model->keys[key];

    if (seen == 0 && newest(model, key) != 0 && setting->may_forget) {
        model->misses_allowed++;
        // Forgotten: from now on absent or, after a crash, what it was.
        push(model, key, 0);
        return;
    }
    if (seen != newest(model, key)) {
        (void)fprintf(stderr, "key %u: state %u, newest %u (of %u)\n", key,
                      seen, newest(model, key), one->count);
        demand(false);
    }
}

// A cold tier that is too small may say that it cannot hold everything.
static bool
flush(struct model *model, struct cascade *store, const struct setting *setting)
{
    enum cascade_status status = cascade_flush(store, NULL);

    demand(status == CASCADE_OK ||
           (status == CASCADE_NO_SPACE && setting->may_forget));
    return status == CASCADE_OK;
}

static void
run_one(struct model *model, struct cascade *store,
        const struct setting *setting)
{
    uint32_t key = pick(model, KEYS);
    char text[32];
    struct cascade_key name = key_of(key, text);
    struct cascade_location location;
    enum cascade_status status;

    switch (pick(model, 16)) {
    case 0:
        status = cascade_remove(store, name);
        demand(status == CASCADE_OK || status == CASCADE_NOT_FOUND);
        demand(status == CASCADE_OK || newest(model, key) == 0 ||
               setting->may_forget);
        push(model, key, 0);
        model->keys[key].is_protected = false;
        break;
    case 1:
        if (pick(model, 20) == 0) {
            demand(cascade_clear(store) == CASCADE_OK);
            for (uint32_t k = 0; k < KEYS; k++) {
                push(model, k, 0);
                model->keys[k].is_protected = false;
            }
        }
        break;
    case 2:
        if (pick(model, 4) == 0 && flush(model, store, setting)) {
            flushed(model);
        }
        break;
    case 3:
        status = cascade_protect(store, name, NULL);
        demand(status == CASCADE_OK || status == CASCADE_NO_SPACE ||
               status == CASCADE_NOT_FOUND);
        model->keys[key].is_protected = model->keys[key].is_protected ||
                                        status == CASCADE_OK;
        break;
    case 4:
        status = cascade_unprotect(store, name);
        demand(status == CASCADE_OK || status == CASCADE_NOT_FOUND);
        model->keys[key].is_protected = false;
        break;
    case 5:
        if (pick(model, 5) == 0) {
            status = cascade_evict(store, CASCADE_TIER_LOCAL_DRAM, NULL, NULL);
            demand(status == CASCADE_OK ||
                   (status == CASCADE_NO_SPACE && setting->may_forget));
            if (status == CASCADE_OK) {
                flushed(model);
            }
        }
        break;
    case 6:
        if (model->keys[key].is_protected) {
            demand(cascade_locate(store, name, &location) == CASCADE_OK);
            demand(location.tier == CASCADE_TIER_LOCAL_DRAM);
        }
        break;
    case 7:
    case 8:
    case 9:
    case 10:
        check_key(model, store, key, setting);
        break;
    default:
        put(model, store, setting);
        break;
    }
}

// In the child: one session, which ends cleanly or not.
static void
run_session(struct model *model, const struct setting *setting,
            const char *folder, bool crash)
{
    struct cascade *store = open_store(model, setting, folder);
    uint32_t operations = OPERATIONS / 2 + pick(model, OPERATIONS);
    enum cascade_status status;

    check_restart(model, store, setting);
    for (uint32_t i = 0; i < operations; i++) {
        run_one(model, store, setting);
    }
    for (uint32_t k = 0; k < KEYS; k++) {
        check_key(model, store, k, setting);
    }
    if (crash) {
        (void)kill(getpid(), SIGKILL);
    }
    if (flush(model, store, setting)) {
        flushed(model);
    }
    status = cascade_close(store);
    demand(status == CASCADE_OK ||
           (status == CASCADE_NO_SPACE && setting->may_forget));
    _exit(0);
}

static void
run_history(const struct setting *setting, uint64_t seed, uint32_t sessions)
{
    struct model *model = mmap(NULL, sizeof(*model), PROT_READ | PROT_WRITE,
                               MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct scratch scratch;
    char folder[600];

    assert_true(model != MAP_FAILED);
    scratch_make(&scratch);
    (void)snprintf(folder, sizeof(folder), "%s/kv", scratch.path);
    model->next_content = 1;
    model->random = seed;
    for (uint32_t k = 0; k < KEYS; k++) {
        model->keys[k].count = 1;
    }
    for (uint32_t s = 0; s < sessions && !model->failed; s++) {
        bool crash = pick(model, 3) != 0;
        int ended = 0;
        pid_t child = fork();

        assert_true(child >= 0);
        if (child == 0) {
            run_session(model, setting, folder, crash);
        }
        assert_int_equal(waitpid(child, &ended, 0), child);
        if (!(WIFEXITED(ended) && WEXITSTATUS(ended) == 0) &&
            !(crash && WIFSIGNALED(ended) && WTERMSIG(ended) == SIGKILL)) {
            print_error("session %u failed; the one before %s\n", s,
                        model->crashed ? "crashed" : "ended cleanly");
            model->failed = true;
        }
        model->crashed = crash;
    }
    if (model->failed) {
        print_error("setting %s failed; repeat with: test_store_history %llu "
                    "%u\n",
                    setting->name, (unsigned long long)seed, sessions);
    } else {
        print_message("setting %s, seed %llu: %llu gets verified, %llu misses "
                      "allowed\n",
                      setting->name, (unsigned long long)seed,
                      (unsigned long long)model->gets_verified,
                      (unsigned long long)model->misses_allowed);
    }
    scratch_remove(&scratch);
    assert_false(model->failed);
    (void)munmap(model, sizeof(*model));
}

static const struct setting settings[] = {
    {"plain", "allowed", "content", "1GiB", "auto", "seal", false},
    {"refused", "refused", "content", "1GiB", "pread", "seal", false},
    {"by key", "allowed", "key", "1GiB", "auto", "seal", false},
    {"tight", "allowed", "content", "4MiB", "auto", "seal", true},
    {"no dedup, synced", "allowed", "off", "1GiB", "pread", "put", false},
};

static uint64_t seed = 20261124;
static uint32_t sessions = 8;

static void
test_history(void **state)
{
    const struct setting *setting = *state;

    run_history(setting, seed, sessions);
}

int
main(int argc, char **argv)
{
    struct CMUnitTest tests[sizeof(settings) / sizeof(settings[0])];

    if (argc > 1) {
        seed = strtoull(argv[1], NULL, 10);
    }
    if (argc > 2) {
        sessions = (uint32_t)strtoul(argv[2], NULL, 10);
    }
    print_message("seed %llu, %u sessions each\n", (unsigned long long)seed,
                  sessions);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
        union {
            const void *given;
            void *taken;
        } setting = {.given = &settings[i]};

        memset(&tests[i], 0, sizeof(tests[i]));
        tests[i].name = settings[i].name;
        tests[i].test_func = test_history;
        tests[i].initial_state = setting.taken;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
