// SPDX-License-Identifier: Apache-2.0
//
// Traces in libCacheSim's format oracleGeneral, in which many public traces of
// block, object and key-value caches are distributed (decompress .zst first):
// records of 24 bytes, little-endian and without padding: time in seconds (32
// bits), object id (64), object size (32), and when the object is asked for
// next, as the number of a request (64, signed; -1: never).

#include <endian.h>
#include <string.h>

#include "bench/trace_reader.h"

#define RECORD_BYTES 24
#define NEXT_AT 16

// A request of one block that is full whatever the tokens of a block are.
#define TOKENS UINT32_MAX

static int64_t
next_use(const uint8_t *record)
{
    uint64_t next;

    memcpy(&next, record + NEXT_AT, sizeof(next));
    return (int64_t)le64toh(next);
}

// Not text, and the first record's next use is one.
static bool
fits(const uint8_t *data, size_t bytes)
{
    bool binary = false;

    for (size_t i = 0; i < bytes; i++) {
        binary = binary || data[i] < '\t';
    }
    return binary && bytes >= RECORD_BYTES && next_use(data) >= -1;
}

static enum cascade_status
read_next(struct trace_reader *reader)
{
    struct trace_request request = {.input_length = TOKENS};
    uint8_t record[RECORD_BYTES];
    enum cascade_status status = trace_reader_record(reader, record,
                                                     sizeof(record));
    uint32_t seconds;
    uint64_t id;
    uint64_t *ids;

    if (status != CASCADE_OK) {
        return status;
    }
    if (next_use(record) < -1) {
        return trace_reader_bad(reader, "the next use is before the beginning; "
                                        "this is not oracleGeneral");
    }
    memcpy(&seconds, record, sizeof(seconds));
    memcpy(&id, record + sizeof(seconds), sizeof(id));
    request.timestamp_ms = 1000.0 * le32toh(seconds);
    status = trace_reader_add(reader, &request, 1, &ids);
    if (status == CASCADE_OK) {
        ids[0] = le64toh(id);
    }
    return status;
}

const struct trace_format_table trace_format_oracle = {
    .name = "oracle",
    .fits = fits,
    .read_next = read_next,
};
