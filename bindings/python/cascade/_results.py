# SPDX-License-Identifier: Apache-2.0
"""What calls return. Plain values; none refers to the store."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any, NamedTuple


class Tier(enum.IntEnum):
    """Where copies live, fastest first."""

    NONE = 0
    LOCAL_GPU = 1
    LOCAL_DRAM = 2
    REMOTE_GPU = 3
    REMOTE_DRAM = 4
    SEGMENTS = 5


class PutResult(NamedTuple):
    """What a put did. It is true if the block can be got."""

    #: The block is there; False: no tier had space.
    stored: bool
    #: The content was there already; nothing new is kept.
    deduplicated: bool
    #: It is protected now; False: not asked for, or the budget refused.
    protected: bool
    #: The key was bound, and what it is bound to was left alone.
    existed: bool
    #: Where the copy is.
    tier: Tier

    def __bool__(self) -> bool:
        return self.stored


class DrainResult(NamedTuple):
    """What a drain wrote and what is still only in memory."""

    blocks_written: int
    bytes_written: int
    blocks_left: int
    bytes_left: int


class Location(NamedTuple):
    """Where the nearest copy of a block is."""

    tier: Tier
    rank: int
    #: GPU number, -1 for none.
    device: int
    protected: bool
    #: Bytes from the start of the arena or segment file.
    offset: int
    nbytes: int
    #: Content id (a surrogate unless dedup=content).
    id: bytes


class Entry(NamedTuple):
    """One key of a store."""

    #: Empty if only the digest is known.
    key: bytes
    key_digest: bytes
    id: bytes
    nbytes: int
    protected: bool
    in_memory: bool
    on_segments: bool


class OptionInfo(NamedTuple):
    """One row of the option table."""

    name: str
    type: str
    unit: str
    default: str
    range: str
    sentence: str


@dataclasses.dataclass(frozen=True)
class Stats:
    """Counters of one rank, as in `struct cascade_stats`.

    Tuples have one number for each Tier.
    """

    puts: int
    puts_existed: int
    puts_refused: int
    gets: int
    hits: tuple[int, ...]
    hit_bytes: tuple[int, ...]
    misses: int
    misses_evicted: int
    misses_corrupt: int
    put_bytes: int
    dedup_hits: int
    dedup_bytes_saved: int
    blocks: int
    keys: int
    protected_blocks: int
    protected_bytes: int
    protections_refused: int
    corrupt_blocks: int
    stale_places: int
    used_bytes: tuple[int, ...]
    capacity_bytes: tuple[int, ...]
    tier_blocks: tuple[int, ...]
    evictions: tuple[int, ...]
    demotions: int
    promotions: int
    cold_bytes_written: int
    cold_writes_dropped: int
    dirty_bytes: int
    dirty_blocks: int
    segments_sealed: int
    segments_reclaimed: int
    blocks_reinserted: int
    views_out: int
    pins: int

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def stats_of(struct: Any) -> Stats:
    """The Stats of a filled `struct cascade_stats`."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(Stats):
        value = getattr(struct, field.name)
        values[field.name] = value if isinstance(value, int) else tuple(value)
    return Stats(**values)
