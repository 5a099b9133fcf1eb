# SPDX-License-Identifier: Apache-2.0
"""What put, get and the other calls of Store promise."""

import dataclasses

import pytest

import cascade
from cascade._cascade import ffi


def test_put_and_get_into(store):
    result = store.put("key", b"some bytes")
    assert result.stored and not result.deduplicated and not result.existed
    assert result.tier == cascade.Tier.LOCAL_DRAM
    out = bytearray(b"." * 10)
    assert store.get_into("key", out) == 10
    assert out == b"some bytes"


def test_miss_leaves_the_output(store):
    out = bytearray(b"as it was")
    assert store.get_into("nothing", out) is None
    assert out == b"as it was"
    assert store.get("nothing") is None


def test_larger_output_is_filled_as_far_as_the_block_goes(store):
    store.put("key", b"four")
    out = bytearray(b"12345678")
    assert store.get_into("key", out) == 4
    assert out == b"four5678"


def test_smaller_output_is_an_error_and_untouched(store):
    store.put("key", b"four")
    out = bytearray(b"123")
    with pytest.raises(cascade.TooSmallError) as caught:
        store.get_into("key", out)
    assert out == b"123"
    assert caught.value.needed == 4
    assert caught.value.status_name == "TOO_SMALL"


def test_block_of_no_bytes_is_a_block(store):
    assert store.put("empty", b"").stored
    assert store.exists("empty")
    assert store.get_into("empty", bytearray()) == 0
    out = bytearray(b"x")
    assert store.get_into("empty", out) == 0
    assert out == b"x"
    with store.get("empty") as block:
        assert bytes(block) == b"" and len(block) == 0


def test_keys_are_text_or_bytes(store):
    store.put("schlüssel", b"1")
    assert store.exists("schlüssel".encode())
    store.put(b"\x00\xff/../x", b"2")
    store.put(bytearray(b"b"), b"3")
    assert store.exists(memoryview(b"b"))
    assert "schlüssel" in store
    assert sorted(store.keys()) == [
        b"\x00\xff/../x", b"b", "schlüssel".encode()]
    with pytest.raises(TypeError):
        store.put(7, b"4")
    with pytest.raises(cascade.InvalidError):
        store.put("", b"5")
    with pytest.raises(ValueError):
        store.put("k" * 1025, b"6")
    store.put("k" * 1024, b"7")


def test_key_moves_to_other_bytes(store):
    store.put("key", b"old bytes")
    store.put("key", b"new")
    out = bytearray(3)
    assert store.get_into("key", out) == 3
    assert out == b"new"


def test_if_absent_leaves_a_known_key(store):
    assert not store.put("key", b"old", if_absent=True).existed
    result = store.put("key", b"new", if_absent=True)
    assert result.existed and result.stored
    out = bytearray(3)
    store.get_into("key", out)
    assert out == b"old"


def test_rebind_refused_says_so():
    with cascade.Store(dram_capacity="16MiB", rebind="refused") as store:
        store.put("key", b"old")
        result = store.put("key", b"new")
        assert result.existed and not result.stored and not result
        out = bytearray(3)
        store.get_into("key", out)
        assert out == b"old"


def test_same_bytes_are_kept_once(store):
    store.put("one", b"z" * 5000)
    assert store.put("two", b"z" * 5000).deduplicated
    stats = store.stats()
    assert stats.dedup_hits == 1
    assert stats.dedup_bytes_saved == 5000


def test_no_space_is_an_answer():
    with cascade.Store(dram_capacity="4MiB") as store:
        results = []
        blocks = []
        for number in range(8):
            data = bytes([number]) * (1 << 20)
            results.append(store.put(f"key {number}", data))
            held = store.get(f"key {number}")  # pinned: may not be evicted
            if held is not None:
                blocks.append(held)
        assert not results[-1].stored and not results[-1]
        for block in blocks:
            block.close()


def test_too_large_is_an_error():
    with cascade.Store(dram_capacity="4MiB") as store:
        with pytest.raises(cascade.TooLargeError):
            store.put("key", bytes(64 << 20))


def test_remove_and_clear(store):
    store.put("a", b"1")
    store.put("b", b"2")
    assert store.remove("a") is True
    assert store.remove("a") is False
    assert store.get_into("a", bytearray(1)) is None
    store.clear()
    assert store.keys() == []


def test_protect(store):
    assert store.put("prefix", b"p" * 100, prefix=True).protected
    store.put("plain", b"q" * 100)
    assert store.locate("prefix").protected
    assert store.protect("plain") is True
    assert store.locate("plain").protected
    assert store.unprotect("plain") is True
    assert not store.locate("plain").protected
    assert store.protect("nothing") is False
    assert store.unprotect("nothing") is False


def test_locate(store):
    store.put("key", b"x" * 77)
    where = store.locate("key")
    assert (where.tier, where.rank, where.device, where.nbytes) == (
        cascade.Tier.LOCAL_DRAM, 0, -1, 77)
    assert where.id == cascade.content_id(b"x" * 77)
    assert store.locate("nothing") is None


def test_protected_entries(store):
    store.put("plain", b"plain")
    store.put("prefix", b"prefix", prefix=True)
    store.sync()
    listed = store.protected_entries()
    assert [entry.key for entry in listed] == [b"prefix"]
    assert listed[0].protected and listed[0].nbytes == 6
    assert store.unprotect("prefix")
    assert store.protected_entries() == []


def test_prefix_match(store):
    for key in ("a", "b", "d"):
        store.put(key, key.encode())
    assert store.prefix_match(["a", "b", "c", "d"]) == 2
    assert store.prefix_match([]) == 0
    assert store.exists_batch(["a", "c", b"d"]) == [True, False, True]
    assert store.exists_batch([]) == []


def test_batches(store):
    results = store.put_batch(
        [("a", b"11"), ("b", b"22", {"prefix": True}), (b"c", b"")])
    assert [each.stored for each in results] == [True] * 3
    assert [each.protected for each in results] == [False, True, False]
    outs = [bytearray(2), bytearray(2), bytearray(2), bytearray(b"..")]
    sizes = store.get_batch_into(["a", "b", "c", "none"], outs)
    assert sizes == [2, 2, 0, None]
    assert outs == [b"11", b"22", bytes(2), b".."]
    assert store.put_batch([]) == []
    with pytest.raises(ValueError):
        store.get_batch_into(["a"], [])


def test_batch_with_an_error_runs_the_others(store):
    store.put("a", b"1111")
    store.put("b", b"2222")
    small, fits = bytearray(b"."), bytearray(4)
    with pytest.raises(cascade.TooSmallError) as caught:
        store.get_batch_into(["a", "b", "c"], [small, fits, bytearray(4)])
    assert fits == b"2222" and small == b"."
    results = caught.value.results
    assert isinstance(results[0], cascade.TooSmallError)
    assert results[1:] == [4, None]


def test_prefetch(store):
    store.put("a", b"1")
    assert store.prefetch("a") is True
    assert store.prefetch("none") is False
    assert store.prefetch(["a", b"none"]) == [True, False]


def test_flush_and_evict(store):
    store.put("a", b"1")
    store.flush()
    assert store.evict(cascade.Tier.LOCAL_DRAM) >= 0
    with pytest.raises(cascade.UnsupportedError):
        store.evict(cascade.Tier.REMOTE_DRAM)


def test_drain(tmp_path):
    with cascade.Store(dram_capacity="16MiB",
                       cold_path=str(tmp_path / "cold")) as store:
        store.put("a", b"12345")
        result = store.drain(deadline=10)
        assert result == cascade.DrainResult(1, 5, 0, 0)
        assert store.stats().dirty_bytes == 0


def test_drain_without_a_cold_tier(store):
    with pytest.raises(cascade.UnsupportedError):
        store.drain()


def test_what_was_flushed_is_found_again(tmp_path):
    path = tmp_path / "cold"
    blocks = {f"key {n}": bytes([n]) * (1000 * n) for n in range(20)}
    with cascade.Store(dram_capacity="16MiB", cold_path=path) as store:
        store.put_batch(blocks.items())
        store.remove("key 7")
    with cascade.Store(dram_capacity="16MiB", cold_path=path) as store:
        assert store.get_into("key 7", bytearray(7000)) is None
        del blocks["key 7"]
        for key, data in blocks.items():
            out = bytearray(len(data))
            assert store.get_into(key, out) == len(data) and out == data
        with store.get("key 9") as block:
            assert bytes(block) == blocks["key 9"]
        assert store.stats().hits[cascade.Tier.SEGMENTS] > 0


def damage_segments(folder):
    """Flips one bit in each long run of the byte 0xA5."""
    count = 0
    for path in folder.rglob("*"):
        if not path.is_file():
            continue
        data = bytearray(path.read_bytes())
        at = data.find(b"\xa5" * 5000)
        if at >= 0:
            data[at + 2500] ^= 1
            path.write_bytes(data)
            count += 1
    return count


def test_damaged_block_is_an_error_once(tmp_path):
    path = tmp_path / "cold"
    with cascade.Store(dram_capacity="16MiB", cold_path=path) as store:
        store.put("damaged", b"\xa5" * 100000)
        store.put("well", b"\x77" * 100000)
    assert damage_segments(path) > 0
    out = bytearray(100000)
    with cascade.Store(dram_capacity="16MiB", cold_path=path) as store:
        with pytest.raises(cascade.CorruptError):
            store.get_into("damaged", out)
        assert store.get_into("damaged", out) is None
        assert store.get("damaged") is None
        assert store.get_into("well", out) == 100000
        assert out == b"\x77" * 100000
        assert store.stats().corrupt_blocks == 1


def test_stats_have_the_fields_of_the_struct(store):
    fields = [name for name, _ in ffi.typeof("struct cascade_stats").fields
              if name not in ("size", "reserved")]
    assert fields == [each.name for each in dataclasses.fields(cascade.Stats)]
    store.put("a", b"1")
    store.get_into("a", bytearray(1))
    store.get_into("b", bytearray(1))
    stats = store.stats()
    assert (stats.puts, stats.gets, stats.misses) == (1, 2, 1)
    assert stats.hits[cascade.Tier.LOCAL_DRAM] == 1
    assert stats.as_dict()["puts"] == 1


def test_hints_are_accepted(store):
    assert store.put("child", b"x", parent="root", depth=3, turn=1,
                     request_class=2, expected_reuse=0.5, session_end=True,
                     timeout=5)


def test_timeouts(store):
    store.put("a", b"1")
    assert store.get_into("a", bytearray(1), timeout=10) == 1
    assert store.get_into("a", bytearray(1), timeout=float("inf")) == 1
    with pytest.raises(ValueError):
        store.get_into("a", bytearray(1), timeout=-1)
    with pytest.raises(ValueError):
        store.get_into("a", bytearray(1), timeout=float("nan"))


def test_options_are_text_or_numbers(tmp_path):
    with cascade.Store(dram_capacity=32 << 20, semantic_eviction=False,
                       prefix_fraction_max=0.5, timeout=2,
                       namespace=None) as store:
        assert store.option("semantic_eviction") == "false"
    with pytest.raises(cascade.InvalidError, match="dram_capacity"):
        cascade.Store(dram_capacty="1GiB")
    with pytest.raises(cascade.InvalidError):
        cascade.Store(dram_capacity="plenty")
    with pytest.raises(TypeError):
        cascade.Store(dram_capacity=[1])
    with pytest.raises(ValueError):
        cascade.Store(namespace="a\0b")
    names = [row.name for row in cascade.options()]
    assert {"dram_capacity", "cold_path", "dedup"} <= set(names)


def test_two_stores_on_one_folder(tmp_path):
    path = str(tmp_path / "cold")
    with cascade.Store(dram_capacity="16MiB", cold_path=path):
        with pytest.raises(cascade.LockedError):
            cascade.Store(dram_capacity="16MiB", cold_path=path)


def test_errors_are_one_tree():
    for status in range(1, 20):
        assert status in {each.status
                          for each in cascade.Error.__subclasses__()}
    assert issubclass(cascade.InvalidError, ValueError)
    assert issubclass(cascade.TimeoutError_, TimeoutError)
    assert issubclass(cascade.NoMemoryError, MemoryError)


def test_metrics_and_ranks(store):
    assert "cascade_" in store.metrics()
    assert (store.rank, store.world_size) == (0, 1)


def test_use_after_close():
    store = cascade.Store(dram_capacity="16MiB")
    store.close()
    store.close()
    assert store.closed
    for call in (lambda: store.put("a", b""), lambda: store.get("a"),
                 lambda: store.get_into("a", bytearray()), store.stats,
                 store.flush, store.keys, lambda: store.rank,
                 lambda: store.put_batch([("a", b"")]),
                 lambda: store.submit_get("a", bytearray())):
        with pytest.raises(cascade.ClosedError):
            call()
