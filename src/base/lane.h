// SPDX-License-Identifier: Apache-2.0
//
// Lanes: which of a few copies of a hot thing the calling thread uses, so that
// threads that run at the same time rarely write to the same cache line. A lane
// may be shared by any number of threads: it is for speed, never for exclusion.

#ifndef BASE_LANE_H
#define BASE_LANE_H

#include <stdint.h>

#define LANE_COUNT 16

// What one lane writes lies this far from what another does. Processors fetch
// lines in pairs.
#define LANE_BYTES 128

// The lane of the calling thread, below LANE_COUNT; the same for its whole
// life. Threads get them in turn.
uint32_t
lane_of_thread(void);

#endif
