// SPDX-License-Identifier: Apache-2.0
//
// The mutator of the targets that take segment files: libFuzzer's own, and in
// three of four cases checksums that fit. Linked into fuzzers only.

#include "fuzz/fuzz.h"

size_t
LLVMFuzzerMutate(uint8_t *data, size_t bytes, size_t bytes_max);
size_t
LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t bytes_max,
                        unsigned seed);

size_t
LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t bytes_max,
                        unsigned seed)
{
    bytes = LLVMFuzzerMutate(data, bytes, bytes_max);
    if (seed % 4 != 0) {
        fuzz_mend_segment(data, bytes);
    }
    return bytes;
}
