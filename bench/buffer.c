// SPDX-License-Identifier: Apache-2.0
//
// Buffers are mappings of their own. No lock.

#include "bench/buffer.h"

#include <string.h>
#include <sys/mman.h>

#include "base/error.h"
#include "base/units.h"

#define LARGE_PAGE_BYTES ((size_t)2 * MIB)

static enum cascade_status
map(size_t bytes, int flags, struct buffer *buffer)
{
    size_t mapping_bytes = bytes + LARGE_PAGE_BYTES;
    size_t skip;
    uint8_t *mapping;

    mapping = mmap(NULL, mapping_bytes, PROT_READ | PROT_WRITE,
                   flags | MAP_ANONYMOUS, -1, 0);
    if (mapping == MAP_FAILED) {
        return error_set(CASCADE_NO_MEMORY,
                         "the system gave no buffer of %zu bytes", bytes);
    }
    skip = (size_t)(-(uintptr_t)mapping % LARGE_PAGE_BYTES);
    *buffer = (struct buffer){
        .data = mapping + skip,
        .bytes = bytes,
        .mapping = mapping,
        .mapping_bytes = mapping_bytes,
    };
    return CASCADE_OK;
}

enum cascade_status
buffer_take(size_t bytes, struct buffer *buffer)
{
    enum cascade_status status = map(bytes, MAP_PRIVATE, buffer);

    if (status == CASCADE_OK) {
        // Large pages are a wish; without them the buffer works as well.
        (void)madvise(buffer->data, bytes, MADV_HUGEPAGE);
        memset(buffer->data, 1, bytes);
    }
    return status;
}

enum cascade_status
buffer_take_shared(size_t bytes, struct buffer *buffer)
{
    return map(bytes, MAP_SHARED, buffer);
}

void
buffer_release(struct buffer *buffer)
{
    if (buffer->mapping != NULL) {
        (void)munmap(buffer->mapping, buffer->mapping_bytes);
    }
    memset(buffer, 0, sizeof(*buffer));
}
