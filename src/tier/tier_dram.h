// SPDX-License-Identifier: Apache-2.0
//
// The DRAM tier: an arena, an extent map over it, and one slot per block. It
// answers through the tier table; what the store needs beside that is here.
//
// A slot's whole state is one atomic word: generation, out-of-service bit, pin
// count. Pinning is a compare-and-swap that fails when the generation differs
// or the bit is set, so a pin either holds the bytes it named or was never
// taken. The one who brings the word to (out of service, no pins) frees the
// space: the releaser, or the last unpin.
//
// Locks: one mutex over the extent map and the list of free slots. reserve,
// abandon, release (of what nobody pins), usage and the last unpin of a
// released place take it for O(log n) steps; pin, read, write, commit and every
// other unpin take none. Nothing ever waits for a pin.

#ifndef TIER_TIER_DRAM_H
#define TIER_TIER_DRAM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/allocator.h"
#include "base/attributes.h"
#include "base/pool.h"
#include "tier/tier.h"

struct tier_dram;
struct arena;

struct tier_dram_options {
    uint64_t capacity_bytes; // rounded up to the granule
    uint32_t blocks_max;     // slots; also bounds the entries of a policy
    uint64_t granule_bytes;  // power of two; 0 = 4 KiB
    bool huge_pages;
    // To use, of at least the rounded capacity; the tier's once it is open.
    // NULL: one is opened.
    struct arena *arena;
    uint16_t rank;     // put into places
    bool shares_words; // peers of the node may see the words of the slots
    const struct allocator *allocator;
    struct pool *pool; // may be NULL; helps with large writes
};

// NO_MEMORY: arena or slots. INVALID: an option is out of its range.
enum cascade_status
tier_dram_open(const struct tier_dram_options *options,
               struct tier_dram **dram) MUST_USE;

// Closes and frees everything. No other thread may be using the tier.
// BUSY: a pin is out, or a reserved slot was neither committed nor abandoned;
// the tier goes on. NULL is OK.
enum cascade_status
tier_dram_close(struct tier_dram *dram) MUST_USE;

// `self` is the struct tier_dram. Its table: TIER_ZERO_COPY. Slot numbers are
// below blocks_max and serve as policy entries: a number is not given out again
// before its place was released and its last pin is gone. Payloads begin on a
// granule, and the rest of the last granule is zero.
extern const struct tier_table tier_dram_table;

struct tier
tier_dram_tier(struct tier_dram *dram);

// Address of a place that the caller has pinned (or that cannot be released
// meanwhile). Readable up to its size rounded up to the granule.
const void *
tier_dram_memory(const struct tier_dram *dram, const struct block_place *place);

// Memory beside the payload that a block takes, at worst.
uint64_t
tier_dram_bytes_per_block(void);

// Pins that are out now; a sum over all slots while others go on.
uint64_t
tier_dram_pins(const struct tier_dram *dram);

// The same at a bounded cost: each call walks over a part of the slots that
// were ever used, TIER_DRAM_COUNT_SLOTS or that part of all, and gives what the
// last whole walk saw. Of up to TIER_DRAM_COUNT_SLOTS that is now; of more, what
// does not change is in it after two walks, 2 * TIER_DRAM_COUNT_CALLS calls.
#define TIER_DRAM_COUNT_SLOTS ((uint32_t)1 << 14)
#define TIER_DRAM_COUNT_CALLS ((uint32_t)16)

uint64_t
tier_dram_pins_seen(struct tier_dram *dram);

// A run of neighbours in the arena that would make room for `bytes`.
struct tier_dram_window {
    uint64_t bytes;
    // What it costs to lose the block in that slot (the same whenever asked,
    // under locks of the caller that come before the tier's); negative: it
    // stays.
    double (*cost)(void *context, uint32_t slot, uint64_t bytes);
    void *context;
    uint32_t *slots; // filled with the blocks in it, or the first of them
    uint32_t slots_max;
    uint32_t count; // set
};

// Finds the cheapest run whose blocks are in service and unpinned, and clears
// nothing. O(extents) under the tier's lock. NO_SPACE: there is none (no
// message is set). A run without blocks (count 0) means that space is not what
// is missing.
enum cascade_status
tier_dram_find_window(struct tier_dram *dram,
                      struct tier_dram_window *window) MUST_USE;

// A block that is to move, so that the largest run between blocks that stay
// where they are grows.
struct tier_dram_relocation {
    // Under locks of the caller that come before the tier's. Whether the block
    // in the slot may be evicted, and if not, whether it may move.
    bool (*may_go)(void *context, uint32_t slot);
    bool (*may_move)(void *context, uint32_t slot);
    void *context;
    uint32_t *slots; // filled with the blocks that are where it would go
    uint32_t slots_max;
    uint32_t count; // set, as what follows
    uint32_t slot;  // of the block that is to move
    uint64_t offset;
};

// Finds one and changes nothing. Blocks under EXTENT_BIG_BYTES move up only,
// others down only, and only if they join as many bytes as they have. So this
// comes to an end while nothing else changes. O(extents) under the tier's lock.
// NO_SPACE: nothing is to move (no message is set).
enum cascade_status
tier_dram_find_relocation(struct tier_dram *dram,
                          struct tier_dram_relocation *relocation) MUST_USE;

// As the table's reserve, but just there: what tier_dram_find_relocation said.
// O(extents) under the tier's lock.
enum cascade_status
tier_dram_reserve_at(struct tier_dram *dram, uint64_t bytes, uint64_t offset,
                     struct tier_slot *slot) MUST_USE;

// The pinned block takes the space of `filled`, which holds the same bytes, and
// keeps its slot, under a new generation. `*place` is where it is then. Pin and
// `filled` are consumed, the old space is free. Nobody finds the block between
// the old place and the new one: call where those who look for it wait.
// BUSY: others pin it too. STALE: it is leaving. Then nothing changed.
enum cascade_status
tier_dram_move(struct tier_dram *dram, struct tier_pin *pin,
               struct tier_slot *filled, struct block_place *place) MUST_USE;

// True if the slot holds the generation that the place names.
bool
tier_dram_holds(const struct tier_dram *dram, const struct block_place *place);

// Space of the slot now; 0 if it has none. Another's, if it went meanwhile.
uint64_t
tier_dram_slot_bytes(struct tier_dram *dram, uint32_t slot);

// The arena, for populating in the background and for passing its file.
struct arena *
tier_dram_arena(struct tier_dram *dram);

// --- readers in other processes
//
// A peer maps the arena and the words, writes (slot, generation) where the
// owner sees it, and reads the bytes only if tier_dram_peer_holds then says so.
// The owner takes the slot out of service, and asks `is_watched`. Of these four
// each is sequentially consistent, so at least one of the two sees the other. A
// watched slot is BUSY for a release with `only_unpinned` and for a move; after
// any other release its space lingers, unused, until a later look finds that
// nobody watches it. Nothing waits for a peer.

// Whether a peer reads the slot under that generation. Must not block; may be
// called under the tier's lock, from any thread.
typedef bool
tier_dram_is_watched(void *context, uint32_t slot, uint32_t generation);

// Before others use the tier.
void
tier_dram_watch(struct tier_dram *dram, tier_dram_is_watched *is_watched,
                void *context);

// The descriptor of the words and its size, for peers; -1 without
// `shares_words`. Owned by the tier.
int
tier_dram_words_file(const struct tier_dram *dram);

uint64_t
tier_dram_words_bytes(const struct tier_dram *dram);

// In the peer: whether the mapped words say that the place is in service, and
// has that size. Acquires: what was written before the commit is visible then.
bool
tier_dram_peer_holds(const void *words, uint64_t words_bytes,
                     const struct block_place *place);

// Frees what no peer watches any more; now and then. True if something still
// lingers.
bool
tier_dram_sweep(struct tier_dram *dram);

// For tests and checkers: the extent map is sound, and used space is exactly
// that of the slots in use. Call while nobody else uses the tier.
bool
tier_dram_is_valid(struct tier_dram *dram);

#endif
