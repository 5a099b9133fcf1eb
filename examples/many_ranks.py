#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One cache on many ranks: rank 0 puts a system prompt, all ranks get it.

    PYTHONPATH=build/python mpirun -n 4 python3 examples/many_ranks.py

The script is the same with Open MPI, MPICH and srun, and with one process and
no launcher at all. It does not use MPI itself. Exit status 0 means that every
rank got exactly the bytes that rank 0 put.
"""

import hashlib
import sys

from cascade_cpp import CascadeConfig, DistributedStore

PROMPT_BYTES = 1 << 20

cfg = CascadeConfig()
cfg.dedup_enabled = True
cfg.semantic_eviction = True
cfg.locality_aware = True
# Kept here after it was read here twice.
cfg.promotion_threshold = 2


def block_of(rank: int) -> bytes:
    """Bytes that every rank can make again, to compare with."""
    seed = hashlib.sha256(b"block of rank %d" % rank).digest()
    return seed * (PROMPT_BYTES // len(seed))


def expect(holds: bool, what: str) -> None:
    if not holds:
        sys.exit(f"rank {store.rank}: {what}")


store = DistributedStore(cfg)
rank, ranks = store.rank, store.world_size

# 1. One rank puts; nobody else has to know when or where.
if rank == 0:
    expect(store.put("sys_prompt_v1", block_of(0), is_prefix=True),
           "the prompt was not stored")
store.barrier()

# 2. Every rank gets it, from wherever it is.
result = bytearray(PROMPT_BYTES)
found, size = store.get("sys_prompt_v1", result)
expect(found and size == PROMPT_BYTES, "the prompt was not found")
expect(result == block_of(0), "the prompt has other bytes")
where = store.locate("sys_prompt_v1")
expect(where is not None and where.is_prefix, "it is not a protected prefix")

# 3. Every rank puts a block of its own and gets its neighbour's.
expect(store.put(f"block_{rank}", block_of(rank + 1)), "it was not stored")
store.sync_metadata()
store.barrier()
neighbour = (rank + 1) % ranks
found, size = store.get(f"block_{neighbour}", result)
expect(found and result == block_of(neighbour + 1), "the neighbour's is wrong")

# 4. What all ranks hold; nobody else has to call anything for that.
stats = store.get_stats()
expect(stats.cluster_dram_used >= (1 + ranks) * PROMPT_BYTES,
       "the sum over all ranks is too small")
print(f"rank {rank} of {ranks}: got two blocks of {size} bytes; the prompt "
      f"is in tier {where.tier} of rank {where.node_id}; the ranks hold "
      f"{stats.cluster_dram_used} bytes", flush=True)

# 5. One rank may forget everything for all.
store.barrier()
if rank == ranks - 1:
    store.clear()
store.barrier()
expect(not store.contains("sys_prompt_v1"), "it is there after clear")
before = bytes(result)
expect(store.get("sys_prompt_v1", result) == (False, 0), "it is got after clear")
expect(result == before, "a miss changed the output")
store.flush()
store.close()
