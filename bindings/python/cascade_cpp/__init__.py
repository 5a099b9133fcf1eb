# SPDX-License-Identifier: Apache-2.0
"""The interface of the original Cascade, over the package `cascade`.

Scripts written for the original run unchanged:

    from cascade_cpp import DistributedStore, CascadeConfig
    store = DistributedStore(CascadeConfig())
    store.put("sys_prompt_v1", array, is_prefix=True)
    found, size = store.get("sys_prompt_v1", result)

New programs should use `cascade`, which says more about what happened.
"""

from __future__ import annotations

import dataclasses
import re
from types import TracebackType
from typing import Any

import cascade
from cascade import CorruptError, Error, Key, Tier, UnsupportedError

__all__ = ["BlockLocation", "CascadeConfig", "CascadeStats", "CascadeStore",
           "DistributedConfig", "DistributedStore", "compute_block_id"]

#: How long get_stats waits for the other ranks.
_STATS_SECONDS = 5.0

_UNITS = {"": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
          "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


@dataclasses.dataclass(slots=True)
class CascadeConfig:
    """The fields of both configurations of the original.

    An unknown field is an AttributeError. None means that the library decides
    (memory is then sized from the machine). "Accepted" fields are kept and do
    nothing, because this implementation has no such part.
    """

    #: Memory on the GPU, in bytes. `gpu_capacity_per_device` wins if set.
    gpu_capacity_bytes: int | None = None
    #: The GPU of this process; None: the library chooses.
    gpu_device_id: int | None = None
    #: False: no GPU tier. True without a GPU is no error: there is none then.
    use_gpu: bool = True
    #: Memory in DRAM, in bytes. `dram_capacity` wins if set.
    shm_capacity_bytes: int | None = None
    #: Accepted: the arena needs no path.
    shm_path: str = ""
    #: Folder of the cold tier, made if its parent exists. Empty: none.
    lustre_path: str | None = ""
    #: Accepted: striping is a property of the folder (lfs setstripe).
    lustre_stripe_size: int | None = None
    #: Accepted, as above.
    lustre_stripe_count: int | None = None
    #: One copy per content, whatever the keys.
    dedup_enabled: bool = True
    #: Accepted: bytes are returned as they were put, and stored so.
    compression_enabled: bool = False
    #: Threads for batches; None or 0: one per usable processor.
    num_io_threads: int | None = None
    #: Protected prefixes stay in memory.
    semantic_eviction: bool = True
    #: False: blocks of peers are not copied closer.
    promotion_enabled: bool = True
    #: Accepted: prefetching is asked for by cascade.Store.prefetch.
    prefetch_enabled: bool = False
    #: Accepted, as above.
    prefetch_threads: int | None = None
    #: Accepted, as above.
    prefetch_queue_size: int | None = None
    #: Accepted: nothing here loses bits.
    kv_compression: bool = False
    #: Accepted: blocks are always put together in segment files.
    aggregated_lustre: bool = True
    #: Size of a segment file in bytes, brought into the range of the option.
    agg_file_size: int | None = None
    #: Memory on the GPU of this process, in bytes.
    gpu_capacity_per_device: int | None = None
    #: Memory in DRAM of this process, in bytes.
    dram_capacity: int | None = None
    #: Accepted: each process has its own GPU.
    num_gpus_per_node: int | None = None
    #: Accepted: staging is sized by the library.
    staging_buffer_size: int | None = None
    #: Accepted, as above.
    num_staging_buffers: int | None = None
    #: Accepted: peers copy a prefix when they read it often.
    prefix_replication: bool = True
    #: Keep a local copy of blocks that are often read from peers.
    locality_aware: bool = True
    #: Remote reads after which a local copy is kept.
    promotion_threshold: int | None = None
    #: Accepted: the directory is always in step for gets.
    sync_metadata: bool = True


DistributedConfig = CascadeConfig


@dataclasses.dataclass(slots=True)
class BlockLocation:
    """Where the nearest copy of a block is."""

    node_id: int
    gpu_id: int
    offset: int
    size: int
    is_gpu: bool
    is_prefix: bool
    #: 1 local GPU, 2 local DRAM, 3 remote GPU, 4 remote DRAM, 5 segments.
    tier: int


@dataclasses.dataclass(slots=True)
class CascadeStats:
    """Counters of this rank, but for `cluster_*`; each counts what happened."""

    local_gpu_used: int
    local_dram_used: int
    #: The sum over all ranks, which are asked; this rank's own if one of them
    #: does not answer.
    cluster_gpu_used: int
    cluster_dram_used: int
    local_gpu_hits: int
    local_dram_hits: int
    remote_gpu_hits: int
    remote_dram_hits: int
    lustre_hits: int
    misses: int
    dedup_hits: int
    dedup_bytes_saved: int
    gpu_evictions: int
    dram_evictions: int
    #: Blocks that are protected now.
    prefix_blocks_protected: int
    promotions_to_local: int
    #: Distinct contents that this rank can serve from its own tiers.
    total_blocks: int
    prefix_blocks: int
    #: Protections that the budget refused.
    prefix_refused: int
    corrupt_blocks: int


def _size(text: str) -> int | None:
    match = re.fullmatch(r"(\d+)([A-Za-z]*)", text)
    if match is None or match[2] not in _UNITS:
        return None
    return int(match[1]) * _UNITS[match[2]]


def _ranges() -> dict[str, str]:
    return {row.name: row.range for row in cascade.options()}


def _clamped(value: int, allowed: str) -> int:
    """`value` moved into a range such as "1MiB..16GiB"."""
    for part in allowed.split("|"):
        least, dots, most = part.partition("..")
        low, high = _size(least), _size(most)
        if dots and low is not None and high is not None:
            return min(max(int(value), low), high)
    return int(value)


def _options(config: CascadeConfig) -> dict[str, Any]:
    """The options of a cascade.Store that a configuration asks for."""
    ranges = _ranges()
    dram = config.dram_capacity
    if dram is None:
        dram = config.shm_capacity_bytes
    gpu = config.gpu_capacity_per_device
    if gpu is None:
        gpu = config.gpu_capacity_bytes
    device = config.gpu_device_id
    if not config.use_gpu:
        gpu, device = 0, None
    chosen: dict[str, Any] = {
        "dram_capacity": dram,
        "gpu_capacity": gpu,
        "gpu_devices": None if device is None else str(device),
        "cold_path": config.lustre_path or None,
        "dedup": "content" if config.dedup_enabled else "off",
        "semantic_eviction": bool(config.semantic_eviction),
        "locality_aware": bool(config.locality_aware
                               and config.promotion_enabled),
    }
    for name, value in (("threads", config.num_io_threads),
                        ("segment_size", config.agg_file_size),
                        ("promotion_threshold", config.promotion_threshold)):
        if value:
            chosen[name] = _clamped(value, ranges.get(name, ""))
    return {name: value for name, value in chosen.items()
            if name in ranges and value is not None}


def _opened(config: CascadeConfig) -> cascade.Store:
    chosen = _options(config)
    try:
        return cascade.Store(**chosen)
    except UnsupportedError:
        if not chosen.get("gpu_capacity"):
            raise
    # No GPU here: the original's scripts ask for one all the same.
    chosen["gpu_capacity"] = 0
    chosen.pop("gpu_devices", None)
    return cascade.Store(**chosen)


def compute_block_id(data: Any) -> str:
    """The content id of the bytes of `data`, in hex."""
    return cascade.content_id(data).hex()


class DistributedStore:
    """A store with the methods of the original. See the module's text."""

    def __init__(self, config: CascadeConfig | None = None) -> None:
        self._store = _opened(CascadeConfig() if config is None else config)

    def put(self, id: Key, data: Any, is_prefix: bool = False) -> bool:
        """Stores the bytes of `data`; False if no tier has space."""
        return self._store.put(id, data, prefix=is_prefix).stored

    def get(self, id: Key, out: Any) -> tuple[bool, int]:
        """Fills `out` in place: (found, bytes). On a miss (False, 0), and
        `out` stays as it was; so too for a damaged block, which is counted,
        but then `out` is unspecified. An `out` that is too small is a
        cascade.TooSmallError."""
        try:
            size = self._store.get_into(id, out)
        except CorruptError:
            return False, 0
        return (False, 0) if size is None else (True, size)

    def contains(self, id: Key) -> bool:
        return self._store.exists(id)

    def locate(self, id: Key) -> BlockLocation | None:
        where = self._store.locate(id)
        if where is None:
            return None
        return BlockLocation(
            node_id=where.rank, gpu_id=where.device, offset=where.offset,
            size=where.nbytes,
            is_gpu=where.tier in (Tier.LOCAL_GPU, Tier.REMOTE_GPU),
            is_prefix=where.protected, tier=int(where.tier))

    def _used_by_all(self, local: tuple[int, ...]) -> tuple[int, ...]:
        """Bytes in each tier over all ranks; `local` if they cannot be asked."""
        if self._store.world_size == 1:
            return local
        try:
            return self._store.stats(all_ranks=True,
                                     timeout=_STATS_SECONDS).used_bytes
        except Error:
            return local

    def get_stats(self) -> CascadeStats:
        """Counters of this rank. Never collective: other ranks are asked for
        what they use, and need not call anything."""
        stats = self._store.stats()
        gpu, dram = Tier.LOCAL_GPU, Tier.LOCAL_DRAM
        far_gpu, far_dram = Tier.REMOTE_GPU, Tier.REMOTE_DRAM
        used = stats.used_bytes
        used_by_all = self._used_by_all(used)
        return CascadeStats(
            local_gpu_used=used[gpu],
            local_dram_used=used[dram],
            cluster_gpu_used=used_by_all[gpu],
            cluster_dram_used=used_by_all[dram],
            local_gpu_hits=stats.hits[gpu],
            local_dram_hits=stats.hits[dram],
            remote_gpu_hits=stats.hits[far_gpu],
            remote_dram_hits=stats.hits[far_dram],
            lustre_hits=stats.hits[Tier.SEGMENTS],
            misses=stats.misses,
            dedup_hits=stats.dedup_hits,
            dedup_bytes_saved=stats.dedup_bytes_saved,
            gpu_evictions=stats.evictions[gpu],
            dram_evictions=stats.evictions[dram],
            prefix_blocks_protected=stats.protected_blocks,
            promotions_to_local=stats.promotions,
            total_blocks=stats.blocks,
            prefix_blocks=stats.protected_blocks,
            prefix_refused=stats.protections_refused,
            corrupt_blocks=stats.corrupt_blocks)

    def sync_metadata(self) -> None:
        """What this rank has changed before is in every rank's list of
        prefixes. Gets are right without it."""
        self._store.sync()

    def barrier(self) -> None:
        """Waits for all ranks. The one collective besides open and close."""
        self._store.barrier()

    def clear(self) -> None:
        """Forgets every block put before, on all ranks and in all tiers."""
        self._store.clear()

    def flush(self) -> None:
        """What was put before survives a crash. Without a cold tier there is
        nothing to do."""
        self._store.flush()

    def close(self) -> None:
        self._store.close()

    @property
    def rank(self) -> int:
        return self._store.rank

    @property
    def world_size(self) -> int:
        return self._store.world_size

    def __enter__(self) -> DistributedStore:
        return self

    def __exit__(self, kind: type[BaseException] | None,
                 value: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.close()


CascadeStore = DistributedStore
