# SPDX-License-Identifier: Apache-2.0
"""Cascade: a tiered cache for the KV blocks of LLM inference.

    import cascade
    with cascade.Store(dram_capacity="1GiB", cold_path="/tmp/kv") as store:
        store.put("sys_prompt_v1", tensor, prefix=True)
        store.get_into("sys_prompt_v1", out)
"""

from cascade._batch import Key
from cascade._cascade import ffi as _ffi
from cascade._cascade import lib as _lib
from cascade._errors import (BusyError, CancelledError, ClosedError,
                             CorruptError, Error, ExistsError, ForkedError,
                             InvalidError, IoError, LockedError, NoMemoryError,
                             NoSpaceError, NotFoundError, PermissionError_,
                             StaleError, TimeoutError_, TooLargeError,
                             TooSmallError, UnsupportedError, VersionError)
from cascade._memory import content_id
from cascade._native import Block
from cascade._options import options
from cascade._queue import StoreFuture
from cascade._results import (DrainResult, Entry, Location, OptionInfo,
                              PutResult, Stats, Tier)
from cascade._store import Store

__version__: str = _ffi.string(_lib.cascade_version()).decode()

__all__ = [
    "Block", "BusyError", "CancelledError", "ClosedError", "CorruptError",
    "DrainResult", "Entry", "Error", "ExistsError", "ForkedError",
    "InvalidError", "IoError", "Key", "Location", "LockedError", "NoMemoryError", "NoSpaceError",
    "NotFoundError", "OptionInfo", "PermissionError_", "PutResult",
    "StaleError", "Stats", "Store", "StoreFuture", "Tier", "TimeoutError_",
    "TooLargeError", "TooSmallError", "UnsupportedError", "VersionError",
    "content_id", "options",
]
