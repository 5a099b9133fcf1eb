# SPDX-License-Identifier: Apache-2.0
"""The zero-copy view: pinned as long as anybody looks, and no longer."""

import gc
import threading

import pytest

import cascade


def test_block_shows_the_bytes(store):
    store.put("key", b"some bytes")
    with store.get("key") as block:
        assert isinstance(block, cascade.Block)
        assert bytes(block) == b"some bytes"
        assert (block.nbytes, len(block)) == (10, 10)
        assert block.tier == cascade.Tier.LOCAL_DRAM
        assert block.device is None
        assert block.address != 0
        view = memoryview(block)
        assert view.readonly and view.ndim == 1 and view.format == "B"
        with pytest.raises(TypeError):
            view[0] = 1
        view.release()
    assert block.closed and not block.pinned
    assert store.stats().views_out == 0


def test_bytes_stay_whatever_happens_meanwhile(store):
    store.put("key", b"old bytes")
    block = store.get("key")
    view = memoryview(block)
    store.put("key", b"new")
    assert view == b"old bytes"
    store.remove("key")
    store.clear()
    for number in range(100):
        store.put(f"{number}", bytes([number]) * 100000)
    assert view == b"old bytes"
    view.release()
    block.close()
    assert store.stats().views_out == 0


def test_close_with_a_live_export(store):
    store.put("key", b"data")
    block = store.get("key")
    first, second = memoryview(block), memoryview(block)
    with pytest.raises(BufferError):
        block.close()
    assert block.closed and block.pinned
    with pytest.raises(BufferError):
        memoryview(block)
    first.release()
    assert block.pinned and second == b"data"
    assert store.stats().views_out == 1
    second.release()
    assert not block.pinned
    assert store.stats().views_out == 0
    block.close()


def test_with_leaves_the_release_to_the_last_export(store):
    store.put("key", b"data")
    with store.get("key") as block:
        view = memoryview(block)
    assert view == b"data" and block.pinned
    del block
    gc.collect()
    assert view == b"data" and store.stats().views_out == 1
    del view
    gc.collect()
    assert store.stats().views_out == 0


def test_dropped_block_is_released(store):
    store.put("key", b"data")
    block = store.get("key")
    assert store.stats().views_out == 1
    del block
    gc.collect()
    assert store.stats().views_out == 0


def test_closed_block_is_not_entered(store):
    store.put("key", b"data")
    block = store.get("key")
    block.close()
    block.close()
    with pytest.raises(ValueError):
        block.__enter__()
    with pytest.raises(ValueError):
        block.address
    with pytest.raises(TypeError):
        cascade.Block()


def test_store_does_not_close_under_a_view():
    store = cascade.Store(dram_capacity="16MiB")
    store.put("key", b"data")
    block = store.get("key")
    with pytest.raises(cascade.BusyError):
        store.close()
    assert not store.closed and store.exists("key")
    block.close()
    store.close()
    assert store.closed


def test_end_of_with_leaves_the_closing_to_the_last_view(tmp_path):
    path = tmp_path / "cold"
    with cascade.Store(dram_capacity="16MiB", cold_path=path) as store:
        store.put("key", b"data")
        with store.get("key") as block:
            view = memoryview(block)
    assert store.closed
    with pytest.raises(cascade.ClosedError):
        store.exists("key")
    assert view == b"data"
    with pytest.raises(cascade.LockedError):
        cascade.Store(dram_capacity="16MiB", cold_path=path)
    del view, block
    gc.collect()
    cascade.Store(dram_capacity="16MiB", cold_path=path).close()


def test_block_keeps_its_store():
    block = None
    store = cascade.Store(dram_capacity="16MiB")
    store.put("key", b"data")
    block = store.get("key")
    del store
    gc.collect()
    assert bytes(block) == b"data"
    with pytest.warns(ResourceWarning):
        del block
        gc.collect()


def test_numpy_over_a_block(store):
    numpy = pytest.importorskip("numpy")
    store.put("key", numpy.arange(1000, dtype="f4"))
    with store.get("key") as block:
        values = numpy.frombuffer(block, "f4")
    assert not values.flags.writeable
    assert values[999] == 999 and store.stats().views_out == 1
    del values, block
    gc.collect()
    assert store.stats().views_out == 0


def test_views_of_many_threads(store):
    for number in range(8):
        store.put(f"{number}", bytes([number]) * 4096)
    wrong = []

    def look():
        for turn in range(300):
            number = turn % 8
            with store.get(f"{number}") as block:
                view = memoryview(block)
                if view[0] != number or view[4095] != number:
                    wrong.append(number)
                view.release()

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert store.stats().views_out == 0
