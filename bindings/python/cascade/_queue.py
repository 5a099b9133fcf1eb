# SPDX-License-Identifier: Apache-2.0
"""Futures over the completion queue of the C interface.

One thread per queue takes completions and ends their futures; it sleeps on
the queue's eventfd. `_lock` guards `_pending` and is never held while a
future's callbacks run or while the store is called.
"""

from __future__ import annotations

import concurrent.futures
import os
import select
import threading
import time
from typing import Any

from cascade._batch import Batch
from cascade._cascade import ffi, lib
from cascade._errors import BusyError, Error, error, last_error

_TAKEN_AT_ONCE = 64


class StoreFuture(concurrent.futures.Future):  # type: ignore[type-arg]
    """A Future whose cancel is honest: it is True only if the operation had
    not started, so that the memory is not touched any more."""

    _queue: Queue | None = None
    _ticket = 0

    def cancel(self) -> bool:
        if self.done():
            return self.cancelled()
        queue = self._queue
        if queue is None or not queue.cancel(self._ticket):
            return False
        return super().cancel()


class _Pending:
    __slots__ = ("future", "batch", "ticket")

    def __init__(self, future: StoreFuture, batch: Batch) -> None:
        self.future = future
        self.batch = batch
        self.ticket = 0

    def finish(self, status: int) -> None:
        future = self.future
        future._queue = None
        value: Any = None
        try:
            if status != lib.CASCADE_OK:
                value = error(status)
            else:
                value = self.batch.result(0)
        except BaseException as reason:  # the future carries it
            value = reason
        finally:
            self.batch.close()
        if status == lib.CASCADE_CANCELLED:
            concurrent.futures.Future.cancel(future)
        if not future.set_running_or_notify_cancel():
            return
        if isinstance(value, BaseException):
            future.set_exception(value)
        else:
            future.set_result(value)


class Queue:
    """A completion queue with its thread. Closed by the store."""

    def __init__(self, store: Any, depth: int) -> None:
        handle = ffi.new("struct cascade_queue **")
        status = lib.cascade_queue_open(store, depth, handle)
        if status != lib.CASCADE_OK:
            raise last_error(status)
        self._queue = handle[0]
        self._lock = threading.Lock()
        self._pending: dict[int, _Pending] = {}
        self._number = 0
        self._closed = False
        self._slots = threading.Semaphore(depth)
        self._drained = threading.Event()
        self._drained.set()
        self._stop = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread = threading.Thread(
            target=self._serve, name="cascade-queue", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        room = ffi.new("struct cascade_completion[]", _TAKEN_AT_ONCE)
        count = ffi.new("size_t *")
        poll = select.poll()
        poll.register(lib.cascade_queue_eventfd(self._queue), select.POLLIN)
        poll.register(self._stop, select.POLLIN)
        while True:
            ready = [descriptor for descriptor, _ in poll.poll()]
            if self._stop in ready:
                return
            status = lib.cascade_queue_wait(
                self._queue, room, _TAKEN_AT_ONCE, 0, count)
            if status != lib.CASCADE_OK:
                continue
            for index in range(count[0]):
                number = int(ffi.cast("uintptr_t", room[index].user_data))
                with self._lock:
                    pending = self._pending.pop(number)
                    empty = not self._pending
                self._slots.release()
                pending.finish(room[index].status)
                del pending
                if empty:
                    self._note_drained()

    def _note_drained(self) -> None:
        with self._lock:
            if not self._pending:
                self._drained.set()

    def on_its_thread(self) -> bool:
        return threading.current_thread() is self._thread

    def submit(self, batch: Batch, timeout_ns: int) -> StoreFuture:
        """Hands one item over. Waits for a place in the queue, except on the
        thread that makes places: there BusyError."""
        if not self._slots.acquire(blocking=not self.on_its_thread()):
            raise BusyError("the queue is full, and a callback cannot wait "
                            "for it; submit from another thread")
        future = StoreFuture()
        pending = _Pending(future, batch)
        ticket = ffi.new("uint64_t *")
        with self._lock:
            self._number += 1
            number = self._number
            self._pending[number] = pending
            self._drained.clear()
        status = lib.glue_submit(self._queue, batch.items, batch.count,
                                 timeout_ns, number, ticket)
        if status != lib.CASCADE_OK:
            reason: Error = last_error(status)
            with self._lock:
                del self._pending[number]
            self._slots.release()
            self._note_drained()
            raise reason
        with self._lock:
            pending.ticket = future._ticket = ticket[0]
            if number in self._pending:
                future._queue = self
        return future

    def cancel(self, ticket: int) -> bool:
        with self._lock:
            if self._closed:
                return False
            # Does not wait, so the lock may be held: it keeps close away.
            status = lib.cascade_cancel(self._queue, ticket)
            return bool(status == lib.CASCADE_OK)

    def close(self, timeout: float) -> None:
        """Cancels what has not started, waits for the rest."""
        if self.on_its_thread():
            raise BusyError("a callback of a future cannot close its store")
        ends = time.monotonic() + timeout
        with self._lock:
            tickets = [each.ticket for each in self._pending.values()]
        for ticket in tickets:
            self.cancel(ticket)
        if not self._drained.wait(max(0.0, ends - time.monotonic())):
            raise BusyError("submissions are still running; wait for their "
                            "futures, then close again")
        os.eventfd_write(self._stop, 1)
        self._thread.join()
        with self._lock:
            self._closed = True
        os.close(self._stop)
        status = lib.cascade_queue_close(self._queue)
        if status != lib.CASCADE_OK:
            raise last_error(status)
