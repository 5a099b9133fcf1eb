// SPDX-License-Identifier: Apache-2.0
//
// Every option of the product, one row each: identifier, name, type, unit,
// default, range, sentence. Included with OPTION(...) defined; so it has no
// include guard. Help, environment, documentation and bindings read this table.
//
// The order is that of the documentation. Ranges are read by base/option.h; the
// order of the words of a range is that of the enum of the setting.

// clang-format off
OPTION(DRAM_CAPACITY, "dram_capacity", BYTES, "bytes", "auto",
       "auto|0|1MiB..16TiB",
       "Memory for blocks in DRAM, per process; auto is a quarter of what this process "
       "may use, 0 is no DRAM tier (needs cold_path)")
OPTION(GPU_CAPACITY, "gpu_capacity", BYTES, "bytes", "0",
       "0|1MiB..16TiB",
       "Memory for blocks on the GPU, per process; 0 is no GPU tier; no effect in this "
       "release, which has none")
OPTION(GPU_DEVICES, "gpu_devices", TEXT, "device numbers", "",
       "0..63",
       "GPUs to use, as numbers separated by commas; empty is the one of this process; "
       "no effect in this release")
OPTION(COLD_PATH, "cold_path", TEXT, "path", "",
       "0..4095",
       "Folder of the cold tier, made if its parent exists; empty is no cold tier")
OPTION(COLD_CAPACITY, "cold_capacity", BYTES, "bytes", "auto",
       "auto|0|1MiB..1024TiB",
       "Space for segment files; auto or 0 is nine tenths of the free space at open")
OPTION(SEGMENT_SIZE, "segment_size", BYTES, "bytes", "256MiB",
       "1MiB..16GiB",
       "Size near which a segment file is sealed; a larger block has a file to itself")
OPTION(NAMESPACE, "namespace", TEXT, "text", "default",
       "1..255",
       "Name that separates keys of one model, layout and epoch from others; "
       "printable, without a slash")
OPTION(REBIND, "rebind", WORD, "word", "allowed",
       "allowed|refused",
       "What a put of other bytes under a known key does: moves the key, or is refused")
OPTION(DEDUP, "dedup", WORD, "word", "content",
       "content|key|off",
       "When two puts share a copy: equal content, equal key, or never")
OPTION(EVICTION_POLICY, "eviction_policy", WORD, "word", "cascade",
       "cascade|lru|fifo|lfu|lfu-da|arc|s3fifo|s3fifo-50|sieve|slru|wtinylfu",
       "Which block leaves a full tier first; docs/guide/08-policies.md compares them")
OPTION(SEMANTIC_EVICTION, "semantic_eviction", FLAG, "flag", "true",
       "true|false",
       "Honour protected prefixes when blocks have to leave memory")
OPTION(PREFIX_FRACTION_MAX, "prefix_fraction_max", REAL, "fraction", "0.25",
       "0..1",
       "Largest part of the memory that protected blocks may take")
OPTION(LOCALITY_AWARE, "locality_aware", FLAG, "flag", "true",
       "true|false",
       "Keep a local copy of blocks that are often read from other ranks")
OPTION(PROMOTION_THRESHOLD, "promotion_threshold", COUNT, "reads", "3",
       "1..1000000",
       "Reads of a block from another rank's memory after which a local copy is kept")
OPTION(SPILL, "spill", FLAG, "flag", "true",
       "true|false",
       "Blocks that are about to leave memory go to another rank that has free memory, and "
       "this rank takes others' so")
OPTION(MAX_BLOCKS, "max_blocks", COUNT, "blocks", "0",
       "0|16..268435456",
       "Blocks that the index has room for; 0 is one per 64KiB of capacity, within bounds")
OPTION(FABRIC, "fabric", WORD, "word", "auto",
       "auto|self|mpi",
       "How ranks reach each other; auto finds the launcher")
OPTION(FABRIC_RUNG, "fabric_rung", WORD, "word", "auto",
       "auto|near|read|fetch",
       "How bytes come from other ranks: mapped memory of the node, one-sided reads, or "
       "sent by their owner; auto takes the best that works between two ranks")
OPTION(BINDING_LEASE, "binding_lease", TIME, "seconds", "10",
       "0.01..3600",
       "How long a rank may believe what a key is bound to without asking again; a change "
       "waits that long for a rank that does not answer")
OPTION(THREADS, "threads", COUNT, "threads", "0",
       "0..256",
       "Threads for batches and submissions; 0 is the number of usable processors")
OPTION(TIMEOUT, "timeout", TIME, "seconds", "30",
       "0.001..86400",
       "Longest that a call may take if it does not say so itself")
OPTION(PUT_WAIT, "put_wait", TIME, "seconds", "1",
       "0..3600",
       "Longest that a put waits for memory to become free before its block goes "
       "straight to the cold tier")
OPTION(LEASE_TIME, "lease_time", TIME, "seconds", "30",
       "1..86400",
       "Time without a sign of life after which a writer of the cold tier counts as gone")
OPTION(VERIFY, "verify", WORD, "word", "crossing",
       "crossing|always|off",
       "Which reads are compared with their checksum: those from storage and network, or "
       "all; off trusts memory as crossing does, and storage is compared all the same")
OPTION(SYNC, "sync", WORD, "word", "seal",
       "seal|put",
       "When puts reach stable storage: with flush and seal, or each before it returns")
OPTION(COLD_WRITE_RATE, "cold_write_rate", BYTES, "bytes per second", "0",
       "0|64KiB..1TiB",
       "Largest rate of writing to the cold tier, by whoever writes: ahead, flush, drain and "
       "reclaim; 0 is no limit")
OPTION(DRAIN_SIGNALS, "drain_signals", WORD, "word", "none",
       "none|usr1|term|both",
       "Signals on which this process writes what is only in memory; after that SIGTERM "
       "goes on to do what it did before")
OPTION(DRAIN_DEADLINE, "drain_deadline", TIME, "seconds", "20",
       "0.001..86400",
       "Longest that such a signal may take to write")
OPTION(DRAIN_REQUESTS, "drain_requests", FLAG, "flag", "true",
       "true|false",
       "Let `cascade drain` of the same user ask for the same; needs stats_page")
OPTION(COLD_ADMISSION, "cold_admission", WORD, "word", "used",
       "used|all",
       "What a cold tier that cannot keep up with the puts gets: only blocks that were used "
       "since they came, the rest being dropped and counted, or all, for which puts wait")
OPTION(COLD_QUEUE, "cold_queue", BYTES, "bytes", "auto",
       "auto|1MiB..1TiB",
       "Bytes of blocks that may be on their way to the cold tier at once, held in memory "
       "meanwhile; auto is a quarter of the DRAM, within bounds")
OPTION(COLD_MODE, "cold_mode", WORD, "word", "own",
       "own|look",
       "Whether the cold tier is written, or only looked at beside the store that owns it")
OPTION(COLD_IO, "cold_io", WORD, "word", "auto",
       "auto|uring|pread",
       "How segment files are read and written")
OPTION(COLD_ALIGNMENT, "cold_alignment", BYTES, "bytes", "0",
       "0|4KiB..1MiB",
       "Alignment inside segment files, a power of two; 0 asks the file system")
OPTION(COLD_FILE_MODE, "cold_file_mode", TEXT, "octal", "0640",
       "3..4",
       "Mode of files of the cold tier, in octal")
OPTION(COLD_GROUP, "cold_group", TEXT, "group", "",
       "0..63",
       "Group of files of the cold tier; empty is that of the process")
OPTION(HUGE_PAGES, "huge_pages", WORD, "word", "auto",
       "auto|off",
       "Ask the system for huge pages for the memory of blocks")
OPTION(STATS_PAGE, "stats_page", FLAG, "flag", "true",
       "true|false",
       "Publish counters in shared memory for `cascade stats`")
OPTION(METRICS_LISTEN, "metrics_listen", TEXT, "address", "",
       "0..255",
       "Address to serve metrics on; has to be empty in this release")
OPTION(LOG_LEVEL, "log_level", WORD, "word", "warning",
       "error|warning|info|debug",
       "How much is written to the log")
// clang-format on
