// SPDX-License-Identifier: Apache-2.0
//
// The reader of traces: the input is the whole file, plain or gzip. What was
// read keeps the invariants of trace.h, stands in the file line for line, and
// is the same when it is read again up to its number of requests.

#include <math.h>
#include <string.h>

#include "base/allocator.h"
#include "base/error.h"
#include "bench/trace.h"
#include "fuzz/fuzz.h"

static void
check_invariants(const struct trace *trace)
{
    uint64_t refs = 0;
    uint32_t most = 0;

    FUZZ_REQUIRE(trace->request_count > 0);
    for (size_t i = 0; i < trace->request_count; i++) {
        const struct trace_request *request = &trace->requests[i];

        FUZZ_REQUIRE(isfinite(request->timestamp_ms));
        FUZZ_REQUIRE(request->ref_first <= trace->ref_count);
        FUZZ_REQUIRE(request->ref_count <=
                     trace->ref_count - request->ref_first);
        refs += request->ref_count;
        most = request->ref_count > most ? request->ref_count : most;
    }
    FUZZ_REQUIRE(refs == trace->ref_count);
    FUZZ_REQUIRE(most == trace->refs_per_request_max);
    for (size_t i = 0; i < trace->ref_count; i++) {
        FUZZ_REQUIRE(trace->refs[i] < trace->id_count);
    }
    for (size_t i = 1; i < trace->id_count; i++) {
        FUZZ_REQUIRE(trace->ids[i - 1] < trace->ids[i]);
    }
}

// A plain file has one request a line, and no byte of zero.
static void
check_against_text(const struct trace *trace, const uint8_t *data, size_t bytes)
{
    size_t lines = bytes > 0 && data[bytes - 1] != '\n' ? 1 : 0;

    if (bytes >= 2 && data[0] == 0x1f && data[1] == 0x8b) {
        return;
    }
    for (size_t i = 0; i < bytes; i++) {
        lines += data[i] == '\n' ? 1 : 0;
        FUZZ_REQUIRE(data[i] != '\0');
    }
    FUZZ_REQUIRE(trace->request_count <= lines);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    const char *path = fuzz_path(data, bytes);
    struct trace trace;
    struct trace again;

    if (trace_load(allocator_system(), path, 0, &trace) != CASCADE_OK) {
        FUZZ_REQUIRE(error_message()[0] != '\0');
        return 0;
    }
    check_invariants(&trace);
    check_against_text(&trace, data, bytes);
    FUZZ_REQUIRE(trace_load(allocator_system(), path, trace.request_count,
                            &again) == CASCADE_OK);
    FUZZ_REQUIRE(again.request_count == trace.request_count);
    FUZZ_REQUIRE(again.ref_count == trace.ref_count);
    FUZZ_REQUIRE(trace.ref_count == 0 ||
                 memcmp(again.refs, trace.refs,
                        trace.ref_count * sizeof(trace.refs[0])) == 0);
    trace_release(&again);
    trace_release(&trace);
    return 0;
}
