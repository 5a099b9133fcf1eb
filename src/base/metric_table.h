// SPDX-License-Identifier: Apache-2.0
//
// Every metric of the product, one row each: identifier, name (without the
// prefix cascade_), kind, labels, unit, sentence. Included with METRIC(...)
// defined; so it has no include guard. The text for Prometheus, the shared page
// and the documentation read this table. The identifier is the name in capitals.

// clang-format off
// Operations
METRIC(OPERATIONS_TOTAL, "operations_total", COUNTER, OPERATION_RESULT, "operations",
       "Operations that ended, by operation and status")
METRIC(PUTS_TOTAL, "puts_total", COUNTER, NONE, "operations",
       "Puts that ended, whatever happened")
METRIC(PUTS_EXISTED_TOTAL, "puts_existed_total", COUNTER, NONE, "operations",
       "Puts that found their key bound and left it alone")
METRIC(PUTS_REFUSED_TOTAL, "puts_refused_total", COUNTER, NONE, "operations",
       "Puts for which no tier had room")
METRIC(PUTS_WAITED_TOTAL, "puts_waited_total", COUNTER, NONE, "operations",
       "Puts that waited for memory to become free")
METRIC(PUT_BYTES_TOTAL, "put_bytes_total", COUNTER, NONE, "bytes",
       "Bytes of blocks that were stored")
METRIC(GETS_TOTAL, "gets_total", COUNTER, NONE, "operations",
       "Gets and acquires that ended, whatever happened")
METRIC(HITS_TOTAL, "hits_total", COUNTER, TIER, "operations",
       "Gets and acquires answered with the block, by the tier that gave it")
METRIC(HIT_BYTES_TOTAL, "hit_bytes_total", COUNTER, TIER, "bytes",
       "Bytes given by gets and acquires, by the tier that gave them")
METRIC(MISSES_TOTAL, "misses_total", COUNTER, REASON, "operations",
       "Gets and acquires without the block, by reason")
// Content
METRIC(DEDUP_HITS_TOTAL, "dedup_hits_total", COUNTER, NONE, "operations",
       "Puts whose content was there already")
METRIC(DEDUP_SAVED_BYTES_TOTAL, "dedup_saved_bytes_total", COUNTER, NONE, "bytes",
       "Bytes that were not stored because the content was there already")
METRIC(DEDUP_REMOTE_HITS_TOTAL, "dedup_remote_hits_total", COUNTER, NONE, "operations",
       "Of dedup_hits_total, puts whose content another rank had and keeps")
METRIC(DEDUP_REMOTE_SAVED_BYTES_TOTAL, "dedup_remote_saved_bytes_total", COUNTER, NONE, "bytes",
       "Of dedup_saved_bytes_total, bytes that another rank had and keeps")
METRIC(BLOCKS, "blocks", GAUGE, NONE, "blocks",
       "Distinct contents that this rank can serve")
METRIC(KEYS, "keys", GAUGE, NONE, "keys",
       "Keys that are bound")
METRIC(PROTECTED_BLOCKS, "protected_blocks", GAUGE, NONE, "blocks",
       "Blocks protected from leaving memory")
METRIC(PROTECTED_BYTES, "protected_bytes", GAUGE, NONE, "bytes",
       "Bytes of blocks protected from leaving memory")
METRIC(PROTECTED_KEYS_LISTED, "protected_keys_listed", GAUGE, NONE, "keys",
       "Protected keys of all ranks that this rank lists")
METRIC(PROTECTED_KEYS_MISSING, "protected_keys_missing", GAUGE, NONE, "keys",
       "Protected keys of all ranks for which that list has no room")
METRIC(PROTECTIONS_REFUSED_TOTAL, "protections_refused_total", COUNTER, NONE, "operations",
       "Protections that the budget refused")
METRIC(CORRUPT_BLOCKS_TOTAL, "corrupt_blocks_total", COUNTER, NONE, "blocks",
       "Blocks whose bytes did not match their checksum and were forgotten")
METRIC(STALE_PLACES_TOTAL, "stale_places_total", COUNTER, NONE, "places",
       "Places at which a block was looked for and was not any more")
// Space
METRIC(USED_BYTES, "used_bytes", GAUGE, TIER, "bytes",
       "Bytes in use")
METRIC(CAPACITY_BYTES, "capacity_bytes", GAUGE, TIER, "bytes",
       "Bytes that may be in use")
METRIC(POPULATED_BYTES, "populated_bytes", GAUGE, NONE, "bytes",
       "Bytes of local DRAM that the system has given pages for")
METRIC(TIER_BLOCKS, "tier_blocks", GAUGE, TIER, "blocks",
       "Blocks with a copy in the tier")
METRIC(VIEWS_OUT, "views_out", GAUGE, NONE, "views",
       "Views that were acquired and not yet released")
METRIC(PINS, "pins", GAUGE, NONE, "pins",
       "Pins held, by views and by work under way")
// Movement
METRIC(RELOCATIONS_TOTAL, "relocations_total", COUNTER, NONE, "blocks",
       "Blocks that stay in memory and moved there to make room for large ones")
METRIC(TOUCHES_DROPPED_TOTAL, "touches_dropped_total", COUNTER, NONE, "touches",
       "Uses of blocks that the eviction policy was not told, for want of time")
METRIC(EVICTIONS_TOTAL, "evictions_total", COUNTER, TIER, "blocks",
       "Copies dropped to make room")
METRIC(DEMOTIONS_TOTAL, "demotions_total", COUNTER, NONE, "blocks",
       "Blocks written to segments because memory was wanted")
METRIC(PROMOTIONS_TOTAL, "promotions_total", COUNTER, NONE, "blocks",
       "Blocks brought to a closer tier")
METRIC(SPILLS_TOTAL, "spills_total", COUNTER, NONE, "blocks",
       "Blocks that were about to leave memory and that another rank has taken")
METRIC(SPILL_BYTES_TOTAL, "spill_bytes_total", COUNTER, NONE, "bytes",
       "Bytes of blocks that were about to leave memory and that another rank has taken")
METRIC(SPILLS_TAKEN_TOTAL, "spills_taken_total", COUNTER, NONE, "blocks",
       "Blocks that this rank has taken because another one was short of memory")
METRIC(DIRTY_BYTES, "dirty_bytes", GAUGE, NONE, "bytes",
       "Bytes in memory that are not yet on the cold tier")
METRIC(DIRTY_BLOCKS, "dirty_blocks", GAUGE, NONE, "blocks",
       "Blocks in memory that are not yet on the cold tier")
METRIC(COLD_READ_BYTES_TOTAL, "cold_read_bytes_total", COUNTER, NONE, "bytes",
       "Bytes read from segments")
METRIC(COLD_WRITTEN_BYTES_TOTAL, "cold_written_bytes_total", COUNTER, NONE, "bytes",
       "Bytes written to segments")
METRIC(COLD_WRITES_DROPPED_TOTAL, "cold_writes_dropped_total", COUNTER, NONE, "blocks",
       "Blocks that were not written to segments, for want of space or time")
METRIC(COLD_ERRORS_TOTAL, "cold_errors_total", COUNTER, NONE, "calls",
       "Reads and writes of segments that the system refused")
METRIC(SEGMENTS_SEALED_TOTAL, "segments_sealed_total", COUNTER, NONE, "files",
       "Segment files that were sealed")
METRIC(SEGMENTS_RECLAIMED_TOTAL, "segments_reclaimed_total", COUNTER, NONE, "files",
       "Segment files that were removed to make room")
METRIC(BLOCKS_REINSERTED_TOTAL, "blocks_reinserted_total", COUNTER, NONE, "blocks",
       "Blocks moved out of a segment before it was reclaimed")
METRIC(QUEUE_DEPTH, "queue_depth", GAUGE, QUEUE, "items",
       "Items that wait")
METRIC(METADATA_BYTES_PER_BLOCK, "metadata_bytes_per_block", GAUGE, NONE,
       "bytes", "Memory that a block in DRAM takes beside its bytes, at most")
METRIC(DIRECTORY_BYTES_PER_BLOCK, "directory_bytes_per_block", GAUGE, NONE,
       "bytes", "Memory that the index takes for a block with one key")
METRIC(LOG_SUPPRESSED_TOTAL, "log_suppressed_total", COUNTER, NONE, "lines",
       "Log lines left out because their like had been written often enough")
// Other ranks
METRIC(REMOTE_READS_TOTAL, "remote_reads_total", COUNTER, RUNG, "blocks",
       "Blocks read from other ranks' memory, by how they came")
METRIC(REMOTE_READ_BYTES_TOTAL, "remote_read_bytes_total", COUNTER, RUNG, "bytes",
       "Bytes read from other ranks' memory, by how they came")
METRIC(REMOTE_STALE_TOTAL, "remote_stale_total", COUNTER, NONE, "places",
       "Places in other ranks' memory that held something else than the hint said")
METRIC(REMOTE_LATE_TOTAL, "remote_late_total", COUNTER, NONE, "transfers",
       "Transfers from other ranks that ended after their deadline")
METRIC(REMOTE_PINS_GIVEN_TOTAL, "remote_pins_given_total", COUNTER, NONE, "pins",
       "Pins and blocks that other ranks got by message")
METRIC(REMOTE_PINS_EXPIRED_TOTAL, "remote_pins_expired_total", COUNTER, NONE, "pins",
       "Pins of other ranks that ended because nobody had let them go")
METRIC(REMOTE_PINS, "remote_pins", GAUGE, NONE, "pins",
       "Pins that other ranks hold by message")
METRIC(FABRIC_MESSAGES_TOTAL, "fabric_messages_total", COUNTER, NONE, "messages",
       "Messages sent to ranks")
METRIC(FABRIC_MESSAGES_REPEATED_TOTAL, "fabric_messages_repeated_total", COUNTER, NONE, "messages",
       "Messages sent again because no receipt came")
METRIC(FABRIC_BYTES_TOTAL, "fabric_bytes_total", COUNTER, NONE, "bytes",
       "Bytes of messages sent to ranks")
METRIC(FABRIC_CALLS_TIMED_OUT_TOTAL, "fabric_calls_timed_out_total", COUNTER, NONE, "calls",
       "Questions to ranks that got no answer in time")
// Latencies
METRIC(PUT_SECONDS, "put_seconds", HISTOGRAM, NONE, "seconds",
       "Time of a put")
METRIC(GET_SECONDS, "get_seconds", HISTOGRAM, NONE, "seconds",
       "Time of a get")
METRIC(ACQUIRE_SECONDS, "acquire_seconds", HISTOGRAM, NONE, "seconds",
       "Time of an acquire")
METRIC(EXISTS_SECONDS, "exists_seconds", HISTOGRAM, NONE, "seconds",
       "Time of an exists")
METRIC(PREFETCH_SECONDS, "prefetch_seconds", HISTOGRAM, NONE, "seconds",
       "Time of a prefetch")
METRIC(FLUSH_SECONDS, "flush_seconds", HISTOGRAM, NONE, "seconds",
       "Time of a flush")
METRIC(PUT_WAIT_SECONDS, "put_wait_seconds", HISTOGRAM, NONE, "seconds",
       "Time that puts waited for memory to become free")
METRIC(COLD_READ_SECONDS, "cold_read_seconds", HISTOGRAM, NONE, "seconds",
       "Time to read a block from segments")
METRIC(COLD_WRITE_SECONDS, "cold_write_seconds", HISTOGRAM, NONE, "seconds",
       "Time to append a block to a segment")
// clang-format on
