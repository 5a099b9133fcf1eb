# SPDX-License-Identifier: Apache-2.0
"""Store: the cache as Python sees it.

Every call into an open store passes its Gate, which refuses in a child
process and after close, and tells the closer when nobody is inside. No lock
of Python is held while the store is called.
"""

from __future__ import annotations

import atexit
import sys
import threading
import warnings
import weakref
from types import TracebackType
from typing import (Any, TypeVar)
from collections.abc import Callable, Iterable, Mapping, Sequence

from cascade._batch import (PUT_ANSWERS, Batch, Hints, Key, flag_hints,
                            key_bytes, nanoseconds, put_result)
from cascade._cascade import ffi, lib
from cascade._errors import (BusyError, Error, InvalidError, TooSmallError,
                             last_error, refuse)
from cascade._memory import Pieces
from cascade._native import Block, Gate
from cascade._options import OptionValue, options_of
from cascade._queue import Queue, StoreFuture
from cascade._results import (DrainResult, Entry, Location, PutResult, Stats,
                              Tier, stats_of)

_Result = TypeVar("_Result")

# How long close waits for calls of other threads, and at interpreter exit.
_CLOSE_SECONDS = 60.0
_EXIT_SECONDS = 5.0
_OPTION_TEXT_BYTES = 8192
_QUEUE_DEPTH = 256

_open_stores: weakref.WeakSet[Store] = weakref.WeakSet()


class Store:
    """A cache, opened.

    Options are named as in the table that `cascade.options()` shows; values
    are text or numbers; None leaves an option as it is. Also a context
    manager. All methods may be called from any thread.

    `timeout` is in seconds; None means the option `timeout` of the store.
    """

    __slots__ = ("_gate", "_store", "_idle", "_queue", "_queue_lock",
                 "__weakref__")

    def __init__(self, **options: OptionValue) -> None:
        chosen = options_of(options)
        handle = ffi.new("struct cascade **")
        status = lib.cascade_open(chosen, handle)
        if status != lib.CASCADE_OK:
            raise last_error(status)
        self._store = handle[0]
        self._idle = threading.Event()
        self._queue: Queue | None = None
        self._queue_lock = threading.Lock()
        self._gate = Gate(int(ffi.cast("uintptr_t", self._store)), refuse,
                          self._idle)
        _open_stores.add(self)

    # -- calling -----------------------------------------------------------

    def _call(self, function: Callable[..., _Result],
              *arguments: Any) -> _Result:
        return self._gate.call(function, self._store, *arguments)

    def _checked(self, function: Callable[..., int], *arguments: Any) -> None:
        status = self._gate.call(function, self._store, *arguments)
        if status != lib.CASCADE_OK:
            raise last_error(status)

    def _asked(self, function: Callable[..., int], key: Key,
               *arguments: Any) -> bool:
        """True, or False for a key that is not there."""
        name = key_bytes(key)
        status = self._gate.call(function, self._store, name, len(name),
                                 *arguments)
        if status not in (lib.CASCADE_OK, lib.CASCADE_NOT_FOUND):
            raise last_error(status)
        return bool(status == lib.CASCADE_OK)

    # -- put and get -------------------------------------------------------

    def put(
        self,
        key: Key,
        data: Any,
        prefix: bool = False,
        if_absent: bool = False,
        parent: Key | None = None,
        depth: int = 0,
        turn: int = 0,
        request_class: int = 0,
        expected_reuse: float = 0.0,
        session_end: bool = False,
        timeout: float | None = None,
    ) -> PutResult:
        """Stores the bytes of `data`, in C order, under `key`.

        The bytes are copied before it returns. A bound key moves to the new
        bytes, unless `if_absent`, or the namespace has rebind=refused.
        `prefix` protects the block. The others are hints for eviction.

        Full is not an exception: see `stored` of the result. TooLargeError:
        no tier could ever hold it.
        """
        name = key_bytes(key)
        if (parent is None and not depth and not turn and not request_class
                and not expected_reuse):
            hints = flag_hints(prefix, if_absent, session_end)
        else:
            hints = Hints(prefix, if_absent, parent, depth, turn,
                          request_class, expected_reuse, session_end)
        timeout_ns = nanoseconds(timeout)
        result = ffi.new("struct cascade_put_result *")
        pieces = Pieces(data)
        try:
            status = self._gate.call(
                lib.glue_put, self._store, name, len(name), pieces.spans,
                pieces.count, timeout_ns, hints.struct, result)
        finally:
            pieces.close()
        if status not in PUT_ANSWERS:
            raise last_error(status)
        return put_result(status, result, hints)

    def get_into(self, key: Key, out: Any,
                 timeout: float | None = None) -> int | None:
        """Fills `out`, in C order, with the block; the number of bytes, or
        None on a miss, which leaves `out` alone, as does TooSmallError.

        Room beyond the block is left alone. CorruptError: the only copies
        were damaged; the content of `out` is then unspecified, as after
        IoError and TimeoutError_.
        """
        name = key_bytes(key)
        timeout_ns = nanoseconds(timeout)
        size = ffi.new("size_t *")
        pieces = Pieces(out, True)
        try:
            status = self._gate.call(
                lib.glue_get, self._store, name, len(name), pieces.spans,
                pieces.count, timeout_ns, size)
            if status == lib.CASCADE_OK:
                pieces.filled(size[0])
        finally:
            pieces.close()
        if status == lib.CASCADE_OK:
            return int(size[0])
        if status == lib.CASCADE_NOT_FOUND:
            return None
        reason = last_error(status)
        if isinstance(reason, TooSmallError):
            reason.needed = size[0]
        raise reason

    def get(self, key: Key,
            timeout: float | None = None) -> Block | None:
        """The block without a copy, pinned; None on a miss.

        A Block is a read-only buffer (memoryview(block), np.frombuffer(block))
        and a context manager. The bytes stay as they are until the block and
        every buffer of it are gone, whatever is put or removed meanwhile.
        """
        found = self._gate.acquire(self, key_bytes(key), nanoseconds(timeout))
        if isinstance(found, Block):
            return found
        if found == lib.CASCADE_NOT_FOUND:
            return None
        raise last_error(found)

    # -- batches -----------------------------------------------------------

    def _run(self, batch: Batch, timeout: float | None) -> list[Any]:
        try:
            if batch.count == 0:
                return []
            self._checked(lib.glue_batch, batch.items, batch.count,
                          nanoseconds(timeout))
            return batch.results()
        finally:
            batch.close()

    def _run_keys(self, operation: int, keys: Iterable[Key],
                  timeout: float | None = None) -> list[bool]:
        keys = list(keys)
        batch = Batch(len(keys))
        for key in keys:
            batch.add(operation, key)
        return self._run(batch, timeout)

    def get_batch_into(
        self, keys: Iterable[Key], outs: Iterable[Any],
        timeout: float | None = None,
    ) -> list[int | None]:
        """get_into for each key and output, by the threads of the store.

        If an item fails, the others are run all the same; the Error of the
        first that failed is raised and has all results in `results`.
        """
        keys, outs = list(keys), list(outs)
        if len(keys) != len(outs):
            raise InvalidError(f"{len(keys)} keys and {len(outs)} outputs")
        batch = Batch(len(keys))
        try:
            for key, out in zip(keys, outs):
                batch.add_get(key, out)
        except BaseException:
            batch.close()
            raise
        return self._run(batch, timeout)

    def put_batch(
        self,
        items: Iterable[tuple[Key, Any] | tuple[Key, Any, Mapping[str, Any]]],
        prefix: bool = False,
        if_absent: bool = False,
        timeout: float | None = None,
    ) -> list[PutResult]:
        """put for each (key, data) or (key, data, {"prefix": True, ...}).

        `prefix` and `if_absent` hold for items that do not say otherwise.
        Errors as in get_batch_into.
        """
        items = list(items)
        batch = Batch(len(items))
        timeout_ns = nanoseconds(timeout)
        try:
            for key, data, *rest in items:
                said: dict[str, Any] = {
                    "prefix": prefix, "if_absent": if_absent}
                for more in rest:
                    said.update(more)
                batch.add_put(key, data, Hints(**said), timeout_ns)
        except BaseException:
            batch.close()
            raise
        return self._run(batch, timeout)

    def exists_batch(self, keys: Iterable[Key]) -> list[bool]:
        return self._run_keys(lib.CASCADE_OPERATION_EXISTS, keys)

    # -- futures -----------------------------------------------------------

    def _open_queue(self) -> Queue:
        with self._queue_lock:
            if self._queue is None:
                self._queue = Queue(self._store, _QUEUE_DEPTH)
            return self._queue

    def _submit(self, batch: Batch, timeout: float | None) -> StoreFuture:
        def hand_over() -> StoreFuture:
            return self._open_queue().submit(batch, nanoseconds(timeout))

        try:
            return self._gate.call(hand_over)
        except BaseException:
            batch.close()
            raise

    def submit_get(self, key: Key, out: Any,
                   timeout: float | None = None) -> StoreFuture:
        """get_into in the background: a concurrent.futures.Future.

        `out` belongs to the store until the future is done. In a coroutine:
        `await asyncio.wrap_future(store.submit_get(key, out))`.
        """
        batch = Batch(1)
        batch.add_get(key, out)
        return self._submit(batch, timeout)

    def submit_put(self, key: Key, data: Any, prefix: bool = False,
                   if_absent: bool = False, timeout: float | None = None,
                   **hints: Any) -> StoreFuture:
        """put in the background: a Future of a PutResult. `data` must stay as
        it is until the future is done."""
        batch = Batch(1)
        said = Hints(prefix=prefix, if_absent=if_absent, **hints)
        batch.add_put(key, data, said, nanoseconds(timeout))
        return self._submit(batch, timeout)

    # -- look --------------------------------------------------------------

    def exists(self, key: Key) -> bool:
        return self._asked(lib.glue_exists, key)

    __contains__ = exists

    def prefix_match(self, keys: Sequence[Key]) -> int:
        """How many keys at the start of the list exist."""
        names = [ffi.from_buffer("char[]", key_bytes(key)) for key in keys]
        structs = ffi.new("struct cascade_key[]", max(len(names), 1))
        for struct, name in zip(structs, names):
            struct.data = name
            struct.bytes = len(name)
        matched = ffi.new("size_t *")
        self._checked(lib.cascade_prefix_match, structs, len(names), matched)
        return int(matched[0])

    def locate(self, key: Key) -> Location | None:
        """Where the nearest copy is; None if there is none."""
        where = ffi.new("struct cascade_location *")
        if not self._asked(lib.glue_locate, key, where):
            return None
        return Location(Tier(where.tier), where.rank, where.device,
                        where.protected_prefix, where.offset, where.bytes,
                        bytes(where.id))

    def entries(self) -> list[Entry]:
        """Every key of this rank, in no order."""
        return self._listed(lib.glue_list)

    def protected_entries(self, timeout: float | None = None) -> list[Entry]:
        """Every protected key of all ranks, in no order. What another rank has
        changed may be missing until that one has called sync."""
        return self._listed(lib.glue_list_protected, nanoseconds(timeout))

    def _listed(self, function: Any, *arguments: Any) -> list[Entry]:
        found = ffi.new("struct glue_list *")
        try:
            status = self._call(function, *arguments, found)
            if status != lib.CASCADE_OK:
                raise last_error(status)
            return [
                Entry(bytes(ffi.buffer(each.key.data, each.key.bytes)),
                      bytes(each.key_digest), bytes(each.id), each.bytes,
                      each.protected_prefix, each.in_memory, each.on_segments)
                for each in found.entries[0:found.count]
            ] if found.count else []
        finally:
            lib.glue_list_free(found)

    def keys(self) -> list[bytes]:
        """Every key whose bytes are known."""
        return [entry.key for entry in self.entries() if entry.key]

    # -- change ------------------------------------------------------------

    def remove(self, key: Key) -> bool:
        """Forgets the key; False if it was not there."""
        return self._asked(lib.glue_remove, key)

    def protect(self, key: Key, timeout: float | None = None) -> bool:
        """Keeps the block in memory. False: the budget for protected blocks
        refuses, or the key is not there."""
        name = key_bytes(key)
        status = self._call(lib.glue_protect, name, len(name),
                            nanoseconds(timeout))
        if status in (lib.CASCADE_NO_SPACE, lib.CASCADE_NOT_FOUND):
            return False
        if status != lib.CASCADE_OK:
            raise last_error(status)
        return True

    def unprotect(self, key: Key) -> bool:
        """Lifts the protection; False if the key is not there."""
        return self._asked(lib.glue_unprotect, key)

    def prefetch(
        self, keys: Key | Iterable[Key],
        timeout: float | None = None,
    ) -> bool | list[bool]:
        """Brings blocks closer. For each key: it is close now. One key gives
        one bool, several a list."""
        if isinstance(keys, (str, bytes, bytearray, memoryview)):
            return self._run_keys(lib.CASCADE_OPERATION_PREFETCH, [keys],
                                  timeout)[0]
        return self._run_keys(lib.CASCADE_OPERATION_PREFETCH, keys, timeout)

    def flush(self, timeout: float | None = None) -> None:
        """What was put, removed or cleared before survives a crash after."""
        self._checked(lib.glue_flush, nanoseconds(timeout))

    def drain(self, deadline: float | None = None) -> DrainResult:
        """Writes what is only in memory, protected blocks and then the hottest
        first, until `deadline` seconds have passed."""
        result = ffi.new("struct cascade_drain_result *")
        self._checked(lib.glue_drain, nanoseconds(deadline), result)
        return DrainResult(int(result.blocks_written),
                           int(result.bytes_written), int(result.blocks_left),
                           int(result.bytes_left))

    def evict(self, tier: Tier | int,
              timeout: float | None = None) -> int:
        """Empties a tier downwards; how many blocks left it."""
        evicted = ffi.new("uint64_t *")
        self._checked(lib.glue_evict, int(tier), nanoseconds(timeout), evicted)
        return int(evicted[0])

    def clear(self) -> None:
        """Forgets every block of the namespace put before."""
        self._checked(lib.cascade_clear)

    def barrier(self, timeout: float | None = None) -> None:
        """Waits until every rank has called it as often. The one collective
        besides open and close."""
        self._checked(lib.glue_barrier, nanoseconds(timeout))

    def sync(self, timeout: float | None = None) -> None:
        """Returns when what this rank has changed before is known to all ranks:
        open puts are confirmed, and protected_entries shows it everywhere. Not
        needed for correct bytes; at once with one rank."""
        self._checked(lib.glue_sync, nanoseconds(timeout))

    # -- facts -------------------------------------------------------------

    def stats(self, all_ranks: bool = False,
              timeout: float | None = None) -> Stats:
        """Counters of this rank, a local read; or the sum over all ranks,
        which are asked (they need not call anything)."""
        struct = ffi.new("struct cascade_stats *")
        struct.size = ffi.sizeof("struct cascade_stats")
        if all_ranks:
            self._checked(lib.glue_stats_all, nanoseconds(timeout), struct)
        else:
            self._checked(lib.cascade_stats_read, struct)
        return stats_of(struct)

    def metrics(self) -> str:
        """All metrics as Prometheus text."""
        needed = ffi.new("size_t *")
        room = 65536
        while True:
            text = ffi.new("char[]", room)
            status = self._call(lib.cascade_metrics_text, text, room, needed)
            if status == lib.CASCADE_OK:
                return str(ffi.string(text).decode())
            if status != lib.CASCADE_TOO_SMALL or needed[0] <= room:
                raise last_error(status)
            room = needed[0] * 2

    def option(self, name: str) -> str:
        """The effective value of an option."""
        text = ffi.new("char[]", _OPTION_TEXT_BYTES)
        self._checked(lib.cascade_option_effective, name.encode(), text,
                      _OPTION_TEXT_BYTES)
        return str(ffi.string(text).decode())

    @property
    def rank(self) -> int:
        return int(self._call(lib.cascade_rank))

    @property
    def world_size(self) -> int:
        return int(self._call(lib.cascade_rank_count))

    @property
    def closed(self) -> bool:
        return not self._gate.open

    # -- end ---------------------------------------------------------------

    def _quiet(self, seconds: float) -> None:
        """Shuts the gate and waits until nobody is inside, or BusyError."""
        if self._gate.calls and not self._idle.wait(seconds):
            raise BusyError(f"{self._gate.calls} calls of other threads are "
                            "still in the store; close again later")

    def _close_store(self) -> None:
        status = lib.cascade_close(self._store)
        if status == lib.CASCADE_BUSY:
            raise last_error(status)
        self._gate.finish()
        _open_stores.discard(self)
        if status != lib.CASCADE_OK:
            raise last_error(status)

    def _close(self, seconds: float) -> None:
        self._idle.clear()
        if not self._gate.begin_close():
            return
        try:
            self._quiet(seconds)
            if self._gate.views:
                raise BusyError(
                    f"{self._gate.views} blocks are in use (views of them, or "
                    "arrays over them, are alive); the store stays open")
            if self._queue is not None:
                self._queue.close(seconds)
                self._queue = None
            self._close_store()
        finally:
            self._gate.reopen()  # does nothing once the store is closed

    def close(self) -> None:
        """Closes the store. BusyError while blocks are in use: it stays open.
        IoError, NoSpaceError: closed, but something did not reach the cold
        tier. Closing twice, or in a child process, does nothing."""
        self._close(_CLOSE_SECONDS)

    def _last_view_ended(self) -> None:
        """Called by the last block after `with` ended while it was in use."""
        self._close_store()

    def _leave(self) -> None:
        """The end of `with` while blocks are in use: what was put is made
        durable, nothing more is accepted, the last block closes the store."""
        self.flush()
        self._idle.clear()
        if not self._gate.begin_close():
            return
        try:
            self._quiet(_CLOSE_SECONDS)
            if self._queue is not None:
                self._queue.close(_CLOSE_SECONDS)
                self._queue = None
            if not self._gate.leave_later():
                self._close_store()
        finally:
            self._gate.reopen()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None,
                 value: BaseException | None,
                 traceback: TracebackType | None) -> None:
        try:
            self.close()
        except BusyError:
            if not self._gate.views:
                raise
            self._leave()

    def _close_at_exit(self) -> None:
        if not self._gate.ours:
            return
        try:
            self._close(_EXIT_SECONDS)
        except BusyError:
            # Something still looks at the memory: leave that alone.
            self.flush(_EXIT_SECONDS)
        finally:
            self._gate.finish()  # blocks that go later close nothing

    def __del__(self) -> None:
        gate = getattr(self, "_gate", None)
        if gate is None or not gate.ours or not gate.open:
            return
        warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self)
        try:
            self.close()
        except Error as reason:
            print(f"cascade: closing a store: {reason}", file=sys.stderr)

    def __repr__(self) -> str:
        if not self._gate.ours:
            return "<cascade.Store of the parent process>"
        return f"<cascade.Store {'closed' if self.closed else 'open'}>"


def _close_all() -> None:
    for store in list(_open_stores):
        try:
            store._close_at_exit()
        except Error as reason:
            print(f"cascade: at exit: {reason}", file=sys.stderr)


atexit.register(_close_all)
