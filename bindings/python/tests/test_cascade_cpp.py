# SPDX-License-Identifier: Apache-2.0
"""The interface of the original."""

import dataclasses

import pytest

import cascade
import cascade_cpp

FIELDS = """gpu_capacity_bytes gpu_device_id use_gpu shm_capacity_bytes
shm_path lustre_path lustre_stripe_size lustre_stripe_count dedup_enabled
compression_enabled num_io_threads semantic_eviction promotion_enabled
prefetch_enabled prefetch_threads prefetch_queue_size kv_compression
aggregated_lustre agg_file_size gpu_capacity_per_device dram_capacity
num_gpus_per_node staging_buffer_size num_staging_buffers prefix_replication
locality_aware promotion_threshold sync_metadata""".split()

STATS = """local_gpu_used local_dram_used cluster_gpu_used cluster_dram_used
local_gpu_hits local_dram_hits remote_gpu_hits remote_dram_hits lustre_hits
misses dedup_hits dedup_bytes_saved gpu_evictions dram_evictions
prefix_blocks_protected promotions_to_local total_blocks prefix_blocks
prefix_refused corrupt_blocks""".split()


@pytest.fixture
def config():
    made = cascade_cpp.CascadeConfig()
    made.dram_capacity = 64 << 20
    return made


@pytest.fixture
def store(config):
    opened = cascade_cpp.DistributedStore(config)
    yield opened
    opened.close()


def test_the_fields_of_the_configuration():
    config = cascade_cpp.CascadeConfig()
    assert [each.name for each in dataclasses.fields(config)] == FIELDS
    for name in FIELDS:
        setattr(config, name, getattr(config, name))
    with pytest.raises(AttributeError):
        config.dedup_enable = True
    with pytest.raises(AttributeError):
        config.no_such_field
    assert cascade_cpp.DistributedConfig is cascade_cpp.CascadeConfig
    assert cascade_cpp.CascadeStore is cascade_cpp.DistributedStore


def test_defaults_start_here():
    for store in (cascade_cpp.CascadeStore(),
                  cascade_cpp.DistributedStore(cascade_cpp.CascadeConfig())):
        assert store.put("key", b"data")
        assert (store.rank, store.world_size) == (0, 1)
        store.close()


def test_every_field_set(tmp_path):
    config = cascade_cpp.CascadeConfig()
    config.use_gpu = True
    config.gpu_capacity_bytes = config.gpu_capacity_per_device = 1 << 30
    config.gpu_device_id = 0
    config.shm_capacity_bytes = 1 << 40
    config.dram_capacity = 16 << 20
    config.shm_path = "/dev/shm/cascade"
    config.lustre_path = str(tmp_path / "cold")
    config.lustre_stripe_size, config.lustre_stripe_count = 4 << 20, 16
    config.num_io_threads = 10000
    config.agg_file_size = 1
    config.promotion_threshold = 3
    config.compression_enabled = config.kv_compression = True
    config.staging_buffer_size, config.num_staging_buffers = 64 << 20, 2
    store = cascade_cpp.DistributedStore(config)
    assert store.put("key", b"data")
    store.flush()
    assert (tmp_path / "cold").is_dir()
    store.close()


def test_put_and_get(store):
    assert store.put("key", b"some bytes", is_prefix=True) is True
    out = bytearray(b"." * 12)
    assert store.get("key", out) == (True, 10)
    assert out == b"some bytes.."
    assert store.get("none", out) == (False, 0)
    assert out == b"some bytes.."
    assert store.contains("key") and not store.contains("none")
    with pytest.raises(cascade.TooSmallError):
        store.get("key", bytearray(3))


def test_locate(store):
    store.put("key", b"x" * 50, is_prefix=True)
    where = store.locate("key")
    assert (where.node_id, where.size, where.tier) == (0, 50, 2)
    assert where.is_prefix and not where.is_gpu
    assert where.gpu_id == -1 and where.offset >= 0
    assert store.locate("none") is None


def test_stats(store):
    stats = store.get_stats()
    assert [each.name for each in dataclasses.fields(stats)] == STATS
    store.put("a", b"x" * 1000)
    store.put("b", b"x" * 1000)
    store.put("c", b"y", is_prefix=True)
    store.get("a", bytearray(1000))
    store.get("none", bytearray(1))
    stats = store.get_stats()
    assert (stats.dedup_hits, stats.dedup_bytes_saved) == (1, 1000)
    assert (stats.local_dram_hits, stats.misses) == (1, 1)
    assert stats.prefix_blocks == 1
    assert stats.local_dram_used >= 1001


def test_the_rest(store):
    store.put("key", b"data")
    store.sync_metadata()
    store.barrier()
    store.flush()
    store.clear()
    assert not store.contains("key")
    store.close()
    with pytest.raises(cascade.ClosedError):
        store.put("key", b"data")


def test_compute_block_id():
    name = cascade_cpp.compute_block_id(b"abc")
    assert name == cascade.content_id(b"abc").hex() and len(name) == 64
