// SPDX-License-Identifier: Apache-2.0
//
// Tests of the trace reader: what it reads, and that every bad line is named.

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/allocator.h"
#include "base/error.h"
#include "bench/trace.h"
#include "support/allocator_failing.h"
#include "support/scratch.h"

#define GOOD                                                           \
    "{\"timestamp\": 5, \"input_length\": 700, \"output_length\": 2, " \
    "\"hash_ids\": [7, 9]}\n"

static struct scratch scratch;

static int
make_folder(void **state)
{
    (void)state;
    scratch_make(&scratch);
    return 0;
}

static int
remove_folder(void **state)
{
    (void)state;
    scratch_remove(&scratch);
    return 0;
}

static enum cascade_status
load(const char *text, struct trace *trace)
{
    char path[256];

    scratch_write(&scratch, "trace.jsonl", text);
    (void)snprintf(path, sizeof(path), "%s/trace.jsonl", scratch.path);
    return trace_load(allocator_system(), path, 0, trace);
}

static void
test_requests_are_read(void **state)
{
    struct trace trace;

    (void)state;
    assert_int_equal(
        load(GOOD "\n  \n"
                  "{\"hash_ids\": [7, 4000000000000, 9, 7], \"timestamp\": "
                  "6.5, \"output_length\": 0, \"input_length\": 1, \"more\": "
                  "{}}\n"
                  "{\"timestamp\": 7, \"input_length\": 0, "
                  "\"output_length\": 0, \"hash_ids\": []}",
             &trace),
        CASCADE_OK);
    assert_int_equal(trace.request_count, 3);
    assert_int_equal(trace.ref_count, 6);
    assert_int_equal(trace.id_count, 3);
    assert_int_equal(trace.refs_per_request_max, 4);
    assert_int_equal(trace.ids[0], 7);
    assert_int_equal(trace.ids[2], 4000000000000);
    assert_int_equal(trace.requests[0].input_length, 700);
    assert_true(trace.requests[1].timestamp_ms > 6.4);
    assert_int_equal(trace.requests[1].ref_first, 2);
    assert_int_equal(trace.requests[1].ref_count, 4);
    assert_int_equal(trace.refs[3], 2);
    assert_int_equal(trace.refs[4], 1);
    assert_int_equal(trace.requests[2].ref_count, 0);
    trace_release(&trace);
}

static void
test_the_number_of_requests_can_be_limited(void **state)
{
    struct trace trace;
    char path[256];

    (void)state;
    scratch_write(&scratch, "trace.jsonl", GOOD GOOD "not read");
    (void)snprintf(path, sizeof(path), "%s/trace.jsonl", scratch.path);
    assert_int_equal(trace_load(allocator_system(), path, 2, &trace),
                     CASCADE_OK);
    assert_int_equal(trace.request_count, 2);
    trace_release(&trace);
}

static void
test_bad_lines_are_named(void **state)
{
    static const char *const lines[] = {
        "x\n",
        "[1]\n",
        "{\"timestamp\": 1}\n",
        "{\"timestamp\": \"1\", \"input_length\": 1, \"output_length\": 1, "
        "\"hash_ids\": []}\n",
        "{\"timestamp\": 1, \"input_length\": -1, \"output_length\": 1, "
        "\"hash_ids\": []}\n",
        "{\"timestamp\": 1, \"input_length\": 1, \"output_length\": 1, "
        "\"hash_ids\": 3}\n",
        "{\"timestamp\": 1, \"input_length\": 1, \"output_length\": 1, "
        "\"hash_ids\": [1, \"2\"]}\n",
        "{\"timestamp\": 1, \"input_length\": 1, \"output_length\": 1, "
        "\"hash_ids\": [1.5]}\n",
        "{\"timestamp\": 1, \"input_length\": 1, \"output_len",
    };
    struct trace trace;
    char text[1024];

    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        memset(&trace, 0x5a, sizeof(trace));
        (void)snprintf(text, sizeof(text), "%s\n%s", GOOD, lines[i]);
        assert_int_equal(load(text, &trace), CASCADE_INVALID);
        assert_non_null(strstr(error_message(), "trace.jsonl:3: "));
        assert_int_equal(trace.request_count, 0x5a5a5a5a5a5a5a5a);
    }
}

static void
test_missing_and_empty_files(void **state)
{
    struct trace trace;

    (void)state;
    assert_int_equal(
        trace_load(allocator_system(), "/nowhere/t.jsonl", 0, &trace),
        CASCADE_NOT_FOUND);
    assert_non_null(strstr(error_message(), "/nowhere/t.jsonl"));
    assert_int_equal(load("\n\n", &trace), CASCADE_INVALID);
}

// The carried trace: its counts are published with it.
static void
test_the_carried_trace(void **state)
{
    const char *source = getenv("CASCADE_SOURCE_DIR");
    struct trace trace;
    char path[4096];

    (void)state;
    if (source == NULL) {
        skip();
    }
    (void)snprintf(path, sizeof(path), "%s/data/conversation_trace.jsonl.gz",
                   source);
    assert_int_equal(trace_load(allocator_system(), path, 0, &trace),
                     CASCADE_OK);
    assert_int_equal(trace.request_count, 12031);
    assert_int_equal(trace.ref_count, 288500);
    assert_int_equal(trace.id_count, 182790);
    trace_release(&trace);
}

// A compressed file that ends early is damage, not the end of the trace.
static void
test_a_file_cut_short_is_refused(void **state)
{
    const char *source = getenv("CASCADE_SOURCE_DIR");
    struct trace trace;
    char path[4096];
    static char bytes[100000];
    FILE *file;

    (void)state;
    if (source == NULL) {
        skip();
    }
    (void)snprintf(path, sizeof(path), "%s/data/conversation_trace.jsonl.gz",
                   source);
    file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fread(bytes, 1, sizeof(bytes), file), sizeof(bytes));
    assert_int_equal(fclose(file), 0);
    (void)snprintf(path, sizeof(path), "%s/cut.jsonl.gz", scratch.path);
    file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, sizeof(bytes), file), sizeof(bytes));
    assert_int_equal(fclose(file), 0);
    assert_int_not_equal(trace_load(allocator_system(), path, 0, &trace),
                         CASCADE_OK);
    assert_non_null(strstr(error_message(), "cut.jsonl.gz"));
}

static void
test_want_of_memory_is_survived(void **state)
{
    struct trace trace;
    char path[256];
    uint64_t failures = 0;

    (void)state;
    scratch_write(&scratch, "trace.jsonl", GOOD GOOD);
    (void)snprintf(path, sizeof(path), "%s/trace.jsonl", scratch.path);
    for (uint64_t nth = 1;; nth++) {
        struct allocator_failing failing;
        enum cascade_status status;

        allocator_failing_init(&failing, nth);
        status = trace_load(&failing.table, path, 0, &trace);
        if (status == CASCADE_OK) {
            trace_release(&trace);
            assert_int_equal(failing.live, 0);
            break;
        }
        assert_int_equal(status, CASCADE_NO_MEMORY);
        assert_int_equal(failing.live, 0);
        failures++;
    }
    assert_true(failures >= 5);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests_are_read),
        cmocka_unit_test(test_the_number_of_requests_can_be_limited),
        cmocka_unit_test(test_bad_lines_are_named),
        cmocka_unit_test(test_missing_and_empty_files),
        cmocka_unit_test(test_the_carried_trace),
        cmocka_unit_test(test_a_file_cut_short_is_refused),
        cmocka_unit_test(test_want_of_memory_is_survived),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
