# SPDX-License-Identifier: Apache-2.0
"""Futures: the result, the errors, cancel and close."""

import asyncio
import concurrent.futures
import threading

import pytest

import cascade


def test_get_and_put(store):
    future = store.submit_put("key", b"data", prefix=True)
    assert isinstance(future, concurrent.futures.Future)
    result = future.result(10)
    assert result.stored and result.protected
    out = bytearray(6)
    assert store.submit_get("key", out).result(10) == 4
    assert out == b"data\0\0"
    assert store.submit_get("none", out).result(10) is None


def test_errors_are_in_the_future(store):
    store.put("key", b"data")
    future = store.submit_get("key", bytearray(1))
    assert isinstance(future.exception(10), cascade.TooSmallError)
    assert future.exception().needed == 4
    with pytest.raises(ValueError):
        store.submit_get("key", b"readonly")


def test_strided_output(store):
    store.put("key", b"abc")
    out = bytearray(b"......")
    assert store.submit_get("key", memoryview(out)[::2]).result(10) == 3
    assert out == b"a.b.c."


def test_many(store):
    futures = [store.submit_put(f"{n}", b"%d" % n) for n in range(2000)]
    assert all(future.result(30).stored for future in futures)
    outs = [bytearray(4) for _ in range(2000)]
    futures = [store.submit_get(f"{n}", outs[n]) for n in range(2000)]
    done, waiting = concurrent.futures.wait(futures, 30)
    assert not waiting
    for number, out in enumerate(outs):
        assert out.rstrip(b"\0") == b"%d" % number


def test_asyncio(store):
    store.put("key", b"data")

    async def read():
        outs = [bytearray(4) for _ in range(10)]
        sizes = await asyncio.gather(*(
            asyncio.wrap_future(store.submit_get("key", out))
            for out in outs))
        return sizes, outs

    sizes, outs = asyncio.run(read())
    assert sizes == [4] * 10 and outs == [b"data"] * 10


def test_cancel_is_true_only_if_it_holds(store):
    store.put("key", bytes(1 << 20))
    out = bytearray(1 << 20)
    futures = [store.submit_get("key", out) for _ in range(200)]
    told = [future.cancel() for future in futures]
    concurrent.futures.wait(futures, 30)
    for future, cancelled in zip(futures, told):
        assert future.done()
        assert future.cancelled() == cancelled
        if not cancelled:
            assert future.result() == 1 << 20


def test_callback_may_call_the_store(store):
    store.put("key", b"data")
    seen = []
    ended = threading.Event()
    held = threading.Event()
    go_on = threading.Event()
    caller = threading.current_thread()

    def hold(_future):
        # A future that was done already calls back on the caller's thread.
        if threading.current_thread() is not caller:
            held.set()
            go_on.wait(10)

    def callback(future):
        seen.append(future.result())
        store.put("other", b"x")
        try:
            store.close()
        except cascade.BusyError as reason:
            seen.append(reason.status_name)
        ended.set()

    # While the queue's thread is held, the next future cannot be done before
    # its callback is there.
    store.put("large", bytes(16 << 20))
    for _ in range(100):
        out = bytearray(16 << 20)
        store.submit_get("large", out).add_done_callback(hold)
        if held.wait(0.1):
            break
    assert held.is_set()
    store.submit_get("key", bytearray(4)).add_done_callback(callback)
    go_on.set()
    assert ended.wait(10)
    assert seen == [4, "BUSY"]
    assert store.exists("other")


def test_close_ends_every_future():
    store = cascade.Store(dram_capacity="64MiB")
    store.put("key", bytes(1 << 20))
    futures = [store.submit_get("key", bytearray(1 << 20))
               for _ in range(50)]
    store.close()
    assert all(future.done() for future in futures)
    with pytest.raises(cascade.ClosedError):
        store.submit_get("key", bytearray(1))
