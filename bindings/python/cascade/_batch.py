# SPDX-License-Identifier: Apache-2.0
"""Arguments in the form of the C interface, and several of them as items.

A Batch keeps every piece of memory that its items name alive until `close`.
"""

from __future__ import annotations

import math
from typing import Any, Union

from cascade._cascade import ffi, lib
from cascade._errors import Error, InvalidError, error, sentence
from cascade._memory import Pieces
from cascade._results import PutResult, Tier

Key = Union[str, bytes, bytearray, memoryview]

_TIMEOUT_NS_MAX = 2**62
_ITEM_BYTES = ffi.sizeof("struct cascade_item")
# Statuses of a put that are answers.
PUT_ANSWERS = (lib.CASCADE_OK, lib.CASCADE_EXISTS, lib.CASCADE_NO_SPACE)


def key_bytes(key: Key) -> bytes:
    if isinstance(key, str):
        return key.encode("utf-8")
    if isinstance(key, bytes):
        return key
    if isinstance(key, (bytearray, memoryview)):
        return bytes(key)
    raise TypeError(f"a key is str or bytes, not {type(key).__name__}")


def nanoseconds(timeout: float | None) -> int:
    """0 means the default of the store, so no time at all becomes 1."""
    if timeout is None:
        return 0
    if math.isnan(timeout) or timeout < 0:
        raise InvalidError(f"a timeout of {timeout} s; give 0 or more")
    if timeout * 1e9 >= _TIMEOUT_NS_MAX:
        return _TIMEOUT_NS_MAX
    return max(1, int(timeout * 1e9))


class Hints:
    """What a put may say, with the memory that it names."""

    __slots__ = ("struct", "_parent")

    def __init__(
        self,
        prefix: bool = False,
        if_absent: bool = False,
        parent: Key | None = None,
        depth: int = 0,
        turn: int = 0,
        request_class: int = 0,
        expected_reuse: float = 0.0,
        session_end: bool = False,
    ) -> None:
        self.struct = ffi.new("struct glue_hints *")
        self.struct.flags = (
            (lib.CASCADE_PUT_PREFIX if prefix else 0)
            | (lib.CASCADE_PUT_IF_ABSENT if if_absent else 0)
            | (lib.CASCADE_PUT_SESSION_END if session_end else 0))
        self.struct.depth = depth
        self.struct.turn = turn
        self.struct.request_class = request_class
        self.struct.expected_reuse = expected_reuse
        self._parent = None
        if parent is not None:
            self._parent = ffi.from_buffer("char[]", key_bytes(parent))
            self.struct.parent = self._parent
            self.struct.parent_bytes = len(self._parent)


PLAIN = Hints()

# Most puts say no more than these; they are never changed.
_FLAGS_ONLY = {
    (prefix, absent, end): Hints(prefix, absent, session_end=end)
    for prefix in (False, True)
    for absent in (False, True)
    for end in (False, True)
}


def flag_hints(prefix: bool, if_absent: bool, session_end: bool) -> Hints:
    return _FLAGS_ONLY[bool(prefix), bool(if_absent), bool(session_end)]


# A look-up takes a fraction of the time of Tier(number).
_TIERS = {int(tier): tier for tier in Tier}


def put_result(status: int, result: Any, hints: Hints) -> PutResult:
    """What the caller is told of a put that ended with an answer."""
    if status == lib.CASCADE_NO_SPACE:
        return PutResult(False, False, False, False, Tier.NONE)
    if status == lib.CASCADE_EXISTS:
        # With if-absent any bytes under the key will do; with rebind=refused
        # these bytes are not the ones that are there.
        absent = bool(hints.struct.flags & lib.CASCADE_PUT_IF_ABSENT)
        return PutResult(absent, False, result.protected_prefix, True,
                         _TIERS[result.tier])
    return PutResult(result.stored, result.deduplicated,
                     result.protected_prefix, result.existed,
                     _TIERS[result.tier])


class Batch:
    """Items of the C interface. Not safe for several threads at once."""

    __slots__ = ("_hints", "_keep", "_names", "_pieces", "count", "items")

    def __init__(self, count: int) -> None:
        self.items = ffi.new("struct cascade_item[]", max(count, 1))
        self.count = 0
        self._keep: list[Any] = []
        self._pieces: list[Pieces | None] = []
        self._hints: list[Hints] = []
        self._names: list[bytes] = []

    def _next(self, operation: int, key: Key, pieces: Pieces | None = None,
              hints: Hints = PLAIN) -> Any:
        name = key_bytes(key)
        pinned = ffi.from_buffer("char[]", name)
        item = self.items[self.count]
        item.size = _ITEM_BYTES
        item.operation = operation
        item.key.data = pinned
        item.key.bytes = len(name)
        self.count += 1
        self._keep.append(pinned)
        self._pieces.append(pieces)
        self._hints.append(hints)
        self._names.append(name)
        return item

    def add(self, operation: int, key: Key) -> None:
        self._next(operation, key)

    def add_get(self, key: Key, out: Any) -> None:
        key = key_bytes(key)
        pieces = Pieces(out, writable=True)
        item = self._next(lib.CASCADE_OPERATION_GET, key, pieces)
        item.get_spans = pieces.spans
        item.get_span_count = pieces.count

    def add_put(self, key: Key, data: Any, hints: Hints,
                timeout_ns: int = 0) -> None:
        key = key_bytes(key)
        pieces = Pieces(data)
        item = self._next(lib.CASCADE_OPERATION_PUT, key, pieces, hints)
        options = ffi.new("struct cascade_put_options *")
        lib.glue_put_options(hints.struct, timeout_ns, options)
        self._keep.append(options)
        item.put_spans = ffi.cast("struct cascade_const_span *", pieces.spans)
        item.put_span_count = pieces.count
        item.put_options = options

    def _error(self, index: int) -> Error:
        status = self.items[index].status
        made = error(status, f"{self._names[index]!r}: {sentence(status)}")
        if status == lib.CASCADE_TOO_SMALL:
            made.needed = self.items[index].bytes  # type: ignore[attr-defined]
        return made

    def result(self, index: int) -> Any:
        """What the item came to: a value, or an Error (not raised)."""
        item = self.items[index]
        if item.operation == lib.CASCADE_OPERATION_PUT:
            if item.status in PUT_ANSWERS:
                return put_result(item.status, item.put_result,
                                  self._hints[index])
            return self._error(index)
        found = item.status == lib.CASCADE_OK
        if not found and item.status != lib.CASCADE_NOT_FOUND:
            no_space = item.status == lib.CASCADE_NO_SPACE
            if no_space and item.operation == lib.CASCADE_OPERATION_PREFETCH:
                return False
            return self._error(index)
        if item.operation != lib.CASCADE_OPERATION_GET:
            return found
        if not found:
            return None
        pieces = self._pieces[index]
        if pieces is not None:
            pieces.filled(item.bytes)
        return int(item.bytes)

    def results(self) -> list[Any]:
        """All of them. If one is an Error, the first is raised and has all
        in its `results`."""
        all_of_them = [self.result(index) for index in range(self.count)]
        for each in all_of_them:
            if isinstance(each, Error):
                each.results = all_of_them
                raise each
        return all_of_them

    def close(self) -> None:
        for pieces in self._pieces:
            if pieces is not None:
                pieces.close()
        self._pieces.clear()
