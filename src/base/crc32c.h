// SPDX-License-Identifier: Apache-2.0
//
// CRC32C (Castagnoli, RFC 3720 appendix B.4): finds damage, not malice.
// Pure; any thread.

#ifndef BASE_CRC32C_H
#define BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

// The checksum of `bytes` bytes after those whose checksum is `seed`; 0 begins.
// So crc32c(crc32c(0, a, n), b, m) is the checksum of a followed by b.
uint32_t
crc32c(uint32_t seed, const void *data, size_t bytes);

#endif
