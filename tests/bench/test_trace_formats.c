// SPDX-License-Identifier: Apache-2.0
//
// Traces of other caches: what is read, how a format is told by its beginning,
// and that every bad record or line is named.

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/allocator.h"
#include "base/error.h"
#include "bench/random.h"
#include "bench/trace.h"
#include "support/allocator_failing.h"
#include "support/scratch.h"

#define RECORD_BYTES 24
#define SEED UINT64_C(31)

static struct scratch scratch;
static char path[256];

static int
make_folder(void **state)
{
    (void)state;
    scratch_make(&scratch);
    (void)snprintf(path, sizeof(path), "%s/trace", scratch.path);
    return 0;
}

static int
remove_folder(void **state)
{
    (void)state;
    scratch_remove(&scratch);
    return 0;
}

static void
write_file(const void *data, size_t bytes)
{
    FILE *file = fopen(path, "wb");

    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
}

static enum cascade_status
load(const char *format_name, struct trace *trace)
{
    enum trace_format format;

    assert_true(trace_format_find(format_name, &format));
    return trace_load_format(allocator_system(), path, format, 0, trace);
}

static enum cascade_status
load_text(const char *format, const char *text, struct trace *trace)
{
    write_file(text, strlen(text));
    return load(format, trace);
}

static void
assert_refused(const char *format, const char *part)
{
    struct trace trace;

    assert_int_equal(load(format, &trace), CASCADE_INVALID);
    if (strstr(error_message(), part) == NULL) {
        fail_msg("'%s' does not say '%s'", error_message(), part);
    }
}

// Little-endian, whatever the machine is.
static void
make_record(uint8_t *record, uint32_t seconds, uint64_t id, uint32_t bytes,
            uint64_t next)
{
    for (unsigned i = 0; i < 8; i++) {
        if (i < 4) {
            record[i] = (uint8_t)(seconds >> 8 * i);
            record[12 + i] = (uint8_t)(bytes >> 8 * i);
        }
        record[4 + i] = (uint8_t)(id >> 8 * i);
        record[16 + i] = (uint8_t)(next >> 8 * i);
    }
}

static void
oracle_records_are_read(void **state)
{
    uint8_t data[3 * RECORD_BYTES];
    struct trace trace;

    (void)state;
    make_record(data, 5, UINT64_C(0xfedcba9876543210), 4096, 2);
    make_record(data + RECORD_BYTES, 7, 3, 1, UINT64_MAX);
    make_record(data + 2 * RECORD_BYTES, 9, UINT64_C(0xfedcba9876543210), 4096,
                UINT64_MAX);
    write_file(data, sizeof(data));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(load(i == 0 ? "oracle" : "auto", &trace), CASCADE_OK);
        assert_int_equal(trace.request_count, 3);
        assert_int_equal(trace.ref_count, 3);
        assert_int_equal(trace.id_count, 2);
        assert_int_equal(trace.refs_per_request_max, 1);
        assert_int_equal(trace.ids[0], 3);
        assert_int_equal(trace.ids[1], UINT64_C(0xfedcba9876543210));
        assert_int_equal(trace.refs[0], 1);
        assert_int_equal(trace.refs[1], 0);
        assert_int_equal(trace.refs[2], 1);
        assert_true(trace.requests[1].timestamp_ms > 6999 &&
                    trace.requests[1].timestamp_ms < 7001);
        trace_release(&trace);
    }
}

static void
bad_records_are_named(void **state)
{
    uint8_t data[3 * RECORD_BYTES];

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        make_record(data + i * RECORD_BYTES, i, i, 1, UINT64_MAX);
    }
    write_file(data, sizeof(data) - 1);
    assert_refused("oracle", "trace:3: the record is cut short");
    make_record(data + RECORD_BYTES, 1, 1, 1, UINT64_MAX - 1);
    write_file(data, sizeof(data));
    assert_refused("auto", "trace:2: the next use is before the beginning");
    write_file(data, 0);
    assert_refused("oracle", "has no requests");
}

static void
twitter_lines_are_read(void **state)
{
    struct trace trace;

    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(
            load_text(i == 0 ? "twitter" : "auto",
                      "0,nz:u:abc,10,200,3,get,0\n"
                      "1,with,commas,11,0,3,set,600\r\n"
                      "\n"
                      "1,nz:u:abc,10,0,3,delete,0\n"
                      "2,nz:u:abc,10,200,4,gets,0", // no end of line
                      &trace),
            CASCADE_OK);
        assert_int_equal(trace.request_count, 3);
        assert_int_equal(trace.id_count, 2);
        assert_int_equal(trace.refs[0], trace.refs[2]);
        assert_int_not_equal(trace.refs[0], trace.refs[1]);
        trace_release(&trace);
    }
}

static void
bad_lines_are_named(void **state)
{
    static const struct {
        const char *line;
        const char *says;
    } bad[] = {
        {"1,key,3,4,5,get", "not seven fields"},
        {"1", "not seven fields"},
        {"1,,3,4,5,get,0", "not seven fields"},
        {"x,key,3,4,5,get,0", "the timestamp is not a number"},
        {"-1,key,3,4,5,get,0", "the timestamp is not a number"},
        {"99999999999999999999,key,3,4,5,get,0",
         "the timestamp is not a number"},
        {"1,key,3,4,5,get,", "a size, the client or the TTL"},
        {"1,key,a,4,5,get,0", "a size, the client or the TTL"},
        {"1,key,3,4,5,steal,0", "an unknown operation"},
    };
    char text[256];
    struct trace trace;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        (void)snprintf(text, sizeof(text), "0,a,1,1,1,get,0\n%s\n",
                       bad[i].line);
        write_file(text, strlen(text));
        (void)snprintf(text, sizeof(text), "trace:2: %s", bad[i].says);
        assert_refused("twitter", text);
    }
    assert_int_equal(load_text("auto", "0,a,1,1,1,delete,0\n", &trace),
                     CASCADE_INVALID);
}

static void
formats_are_told_by_their_beginning(void **state)
{
    static const uint8_t zstd[] = {0x28, 0xb5, 0x2f, 0xfd, 4, 0, 0, 0};
    enum trace_format format;
    struct trace trace;

    (void)state;
    assert_int_equal(
        load_text("auto",
                  "\n {\"timestamp\": 1.5, \"input_length\": 9, "
                  "\"output_length\": 1, \"hash_ids\": [4], \"type\": "
                  "\"text\", \"turn\": 2}\n",
                  &trace),
        CASCADE_OK);
    assert_int_equal(trace.request_count, 1);
    trace_release(&trace);
    write_file(zstd, sizeof(zstd));
    assert_refused("auto", "decompress it first");
    write_file("hello\n", 6);
    assert_refused("auto", "begins like no trace that is known");
    write_file("", 0);
    assert_refused("auto", "has no requests");
    assert_false(trace_format_find("vscsi", &format));
    assert_false(trace_format_find("", &format));
}

// Whatever the bytes, the answer is a trace or a refusal.
static void
random_bytes_are_survived(void **state)
{
    static const char *const names[] = {"auto", "mooncake", "oracle",
                                        "twitter"};
    static const char alphabet[] = "0123456789,,,,get\n\n{}\"\r \x1f\x8b";
    uint64_t random = SEED;
    uint8_t data[200];

    (void)state;
    print_message("seed %" PRIu64 "\n", SEED);
    for (uint32_t round = 0; round < 400; round++) {
        uint32_t bytes = random_below(&random, sizeof(data));
        struct trace trace;

        for (uint32_t i = 0; i < bytes; i++) {
            data[i] = round % 2 == 0
                          ? (uint8_t)random_below(&random, 256)
                          : (uint8_t)alphabet[random_below(
                                &random, (uint32_t)sizeof(alphabet) - 1)];
        }
        write_file(data, bytes);
        if (load(names[round % 4], &trace) == CASCADE_OK) {
            assert_true(trace.request_count > 0);
            for (size_t i = 0; i < trace.ref_count; i++) {
                assert_true(trace.refs[i] < trace.id_count);
            }
            trace_release(&trace);
        }
    }
}

static void
want_of_memory_is_survived(void **state)
{
    uint8_t data[RECORD_BYTES];
    enum cascade_status status;
    uint64_t fail_at = 0;

    (void)state;
    make_record(data, 5, 6, 4096, 2);
    write_file(data, sizeof(data));
    do {
        struct allocator_failing failing;
        struct trace trace;

        allocator_failing_init(&failing, ++fail_at);
        status = trace_load_format(&failing.table, path, TRACE_FORMAT_AUTO, 0,
                                   &trace);
        if (status == CASCADE_OK) {
            trace_release(&trace);
        } else {
            assert_int_equal(status, CASCADE_NO_MEMORY);
        }
        assert_int_equal(failing.live, 0);
    } while (status != CASCADE_OK);
    assert_true(fail_at > 3);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(oracle_records_are_read),
        cmocka_unit_test(bad_records_are_named),
        cmocka_unit_test(twitter_lines_are_read),
        cmocka_unit_test(bad_lines_are_named),
        cmocka_unit_test(formats_are_told_by_their_beginning),
        cmocka_unit_test(random_bytes_are_survived),
        cmocka_unit_test(want_of_memory_is_survived),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
