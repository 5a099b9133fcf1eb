# SPDX-License-Identifier: Apache-2.0
"""Bytes are bytes, in C order, whatever the object that has them."""

import array
import ctypes
import itertools
import mmap
import random
import types

import pytest

import cascade

try:
    import numpy
except ImportError:
    numpy = None

needs_numpy = pytest.mark.skipif(numpy is None, reason="numpy is not there")


def fetched(store, key, size):
    out = bytearray(size)
    assert store.get_into(key, out) == size
    return bytes(out)


def test_objects_with_the_buffer_protocol(store):
    memory = mmap.mmap(-1, 4096)
    memory[:4] = b"mmap"
    things = [b"bytes", bytearray(b"array"), memoryview(b"view")[1:],
              array.array("d", [1.5, 2.5]), memory,
              (ctypes.c_int32 * 3)(1, 2, 3), memoryview(b"0123456789")[::-3]]
    for number, thing in enumerate(things):
        wanted = memoryview(thing).tobytes()
        store.put(f"{number}", thing)
        assert fetched(store, f"{number}", len(wanted)) == wanted
    out = array.array("d", [0, 0])
    assert store.get_into("3", out) == 16
    assert list(out) == [1.5, 2.5]


def test_buffers_are_let_go(store):
    data = bytearray(b"data")
    store.put("key", data)
    store.get_into("key", data)
    store.put_batch([("other", data)])
    store.get_batch_into(["key"], [data])
    store.submit_get("key", data).result(10)
    with pytest.raises(cascade.InvalidError):
        store.put("", data)
    data.append(0)  # a BufferError while anybody holds it


def test_readonly_output_is_refused(store):
    store.put("key", b"data")
    with pytest.raises(ValueError, match="cannot be written"):
        store.get_into("key", b"....")
    with pytest.raises(ValueError):
        store.get_batch_into(["key"], [memoryview(b"....")])


def test_what_has_no_memory_is_a_type_error(store):
    for thing in ("text", 7, [1, 2], None):
        with pytest.raises(TypeError):
            store.put("key", thing)
    assert not store.exists("key")


def test_strided_output_of_a_memoryview(store):
    store.put("key", b"abc")
    out = bytearray(b"........")
    assert store.get_into("key", memoryview(out)[::2]) == 3
    assert out == b"a.b.c..."
    with pytest.raises(cascade.TooSmallError):
        store.get_into("key", memoryview(out)[::4])
    assert out == b"a.b.c..."


@needs_numpy
@pytest.mark.parametrize("dtype", [
    "f2", ">f4", "<f8", "i1", ">i8", "c16", "?", "S3", "M8[ns]", "V5",
    [("a", "u1"), ("b", ">f8")]])
def test_numpy_dtypes(store, dtype):
    generator = numpy.random.default_rng(1)
    shape = (3, 4, 5)
    size = numpy.dtype(dtype).itemsize
    raw = generator.integers(0, 2, 60 * size, dtype=numpy.uint8)
    values = raw.view(dtype).reshape(shape)
    store.put("plain", values)
    assert fetched(store, "plain", values.nbytes) == values.tobytes()
    store.put("turned", values.T)
    assert fetched(store, "turned", values.nbytes) == values.T.tobytes()
    out = numpy.zeros_like(values)
    assert store.get_into("turned", out.T) == values.nbytes
    assert out.tobytes() == values.tobytes()


@needs_numpy
def test_numpy_layouts_at_random(store):
    seed = 20240601
    print("seed", seed)
    choose = random.Random(seed)
    for number in range(300):
        rank = choose.randrange(0, 6)
        shape = [choose.randrange(1, 6) for _ in range(rank)]
        dtype = choose.choice(["u1", "u2", "u4", "u8", "c16", "V3", "V40"])
        size = numpy.dtype(dtype).itemsize
        count = 1
        for length in shape:
            count *= length
        base = numpy.frombuffer(choose.randbytes(count * size), dtype)
        values = base.reshape(shape)
        order = list(range(rank))
        choose.shuffle(order)
        steps = tuple(
            slice(None, None, choose.choice([1, 1, 2, -1, -2, 3]))
            for _ in range(rank)) + (...,)
        view = values.transpose(order)[steps]
        wanted = view.tobytes()
        key = f"layout {number}"
        store.put(key, view)
        assert fetched(store, key, len(wanted)) == wanted

        target = numpy.full(values.nbytes, 0xEE, "u1").view(dtype)
        out = target.reshape(shape).transpose(order)[steps]
        untouched = target.tobytes().count(0xEE) - out.nbytes
        assert store.get_into(key, out) == out.nbytes
        assert out.tobytes() == wanted
        rest = target.tobytes().count(0xEE) - wanted.count(0xEE)
        assert rest == untouched


@needs_numpy
def test_partly_filled_strided_output(store):
    block = bytes(range(1, 100))
    for size in (0, 1, 7, 8, 9, 23, 24, 25, 95, 96):
        store.put("key", block[:size])
        for dtype, turn in itertools.product(("u1", "u2", "u4", "V3"),
                                             (False, True)):
            shape = (4, 3, 8)
            out = numpy.full(96 * numpy.dtype(dtype).itemsize * 2, 0xEE, "u1")
            out = out.view(dtype).reshape(4, 3, 16)[:, :, ::2]
            assert out.shape == shape
            if turn:
                out = out.transpose(2, 0, 1)
            assert store.get_into("key", out) == size
            got = out.tobytes()
            assert got[:size] == block[:size]
            assert set(got[size:]) <= {0xEE}


@needs_numpy
def test_numpy_scalars_and_empty_arrays(store):
    store.put("scalar", numpy.array(7.5))
    out = numpy.array(0.0)
    assert store.get_into("scalar", out) == 8 and out == 7.5
    store.put("empty", numpy.zeros((3, 0, 2)))
    assert store.get_into("empty", numpy.zeros((0,))) == 0
    locked = numpy.zeros(8, "u1")
    locked.flags.writeable = False
    with pytest.raises(ValueError):
        store.get_into("scalar", locked)


@needs_numpy
def test_unaligned_memory(store):
    raw = numpy.arange(65, dtype="u1")
    store.put("key", raw[1:].view("f4"))
    out = numpy.zeros(67, "u1")
    assert store.get_into("key", out[3:].view("f4")) == 64
    assert (out[3:] == raw[1:]).all()


@needs_numpy
def test_pieces_that_are_not_copied(store):
    rows = numpy.frombuffer(random.Random(5).randbytes(64 * 4096), "u1")
    rows = rows.reshape(8, 8, 4096)
    for number, view in enumerate((
            rows[::2], rows[:, ::-1], rows.transpose(1, 0, 2),
            rows[1:7, 2:, :3000], rows[::-3, ::2, 8:3008])):
        store.put(f"{number}", view)
        assert fetched(store, f"{number}", view.nbytes) == view.tobytes()
        target = numpy.zeros_like(rows)
        out = numpy.lib.stride_tricks.as_strided(
            target, view.shape, [abs(n) for n in view.strides])
        assert store.get_into(f"{number}", out) == view.nbytes
        assert out.tobytes() == view.tobytes()
        assert target.sum(dtype="u8") == view.sum(dtype="u8")
        store.put("short", view.tobytes()[:5000])
        target[:] = 0
        assert store.get_into("short", out) == 5000
        assert out.tobytes() == view.tobytes()[:5000].ljust(view.nbytes, b"\0")
        with pytest.raises(cascade.TooSmallError):
            store.get_into(f"{number}", out[1:])


@needs_numpy
def test_output_whose_elements_share_memory_is_refused(store):
    stride = numpy.lib.stride_tricks.as_strided
    store.put("key", bytes(range(24)))
    base = numpy.zeros(100, "u2")
    for shape, strides in (((3, 4), (0, 2)), ((4, 3), (2, 2)),
                           ((3, 4), (6, 2)), ((12,), (1,)),
                           ((2, 6), (-4, 2))):
        out = stride(base[20:], shape, strides)
        with pytest.raises(ValueError, match="share memory"):
            store.get_into("key", out)
        assert store.put("other", out).stored
    assert not base.any()
    for shape, strides in (((3, 4), (8, 2)), ((4, 3), (2, 8)),
                           ((3, 4), (-8, 2)), ((2, 6), (30, -4))):
        out = stride(base[20:], shape, strides)
        assert store.get_into("key", out) == 24
        assert out.tobytes() == bytes(range(24))


class Tensor:
    """What this package needs of a torch tensor, over a numpy array."""

    def __init__(self, values, item_bytes=None, device="cpu", conj=False):
        self.values = values
        self.device = types.SimpleNamespace(type=device)
        self.layout = "torch.strided"
        self.shape = values.shape
        self._conj = conj

    def data_ptr(self):
        return self.values.__array_interface__["data"][0]

    def element_size(self):
        return self.values.itemsize

    def stride(self):
        return tuple(n // self.values.itemsize for n in self.values.strides)

    def is_conj(self):
        return self._conj

    def resolve_conj(self):
        return Tensor(self.values.conj())


@needs_numpy
def test_tensors(store):
    values = numpy.arange(24, dtype="u2").reshape(2, 3, 4)
    store.put("plain", Tensor(values))
    assert fetched(store, "plain", 48) == values.tobytes()
    store.put("turned", Tensor(values.T))
    assert fetched(store, "turned", 48) == values.T.tobytes()
    out = numpy.zeros((2, 3, 4), "u2")
    assert store.get_into("turned", Tensor(out.T)) == 48
    assert (out == values).all()
    with pytest.raises(cascade.UnsupportedError, match="device"):
        store.put("gpu", Tensor(values, device="cuda"))
    lazy = Tensor(numpy.array([1 + 2j]), conj=True)
    store.put("lazy", lazy)
    assert fetched(store, "lazy", 16) == numpy.array([1 - 2j]).tobytes()
    with pytest.raises(ValueError):
        store.get_into("lazy", lazy)


@needs_numpy
def test_array_interface(store):
    class Wrapped:
        def __init__(self, values):
            self.__array_interface__ = values.__array_interface__

    values = numpy.arange(6, dtype="i4").reshape(2, 3)
    store.put("key", Wrapped(values.T))
    assert fetched(store, "key", 24) == values.T.tobytes()
    out = numpy.zeros_like(values)
    assert store.get_into("key", Wrapped(out.T)) == 24
    assert (out == values).all()
    out.flags.writeable = False
    with pytest.raises(ValueError):
        store.get_into("key", Wrapped(out))
    for dtype in ("U3", "M8[ns]", ">f8", "S5"):
        values = numpy.zeros((2, 3), dtype)
        store.put("key", Wrapped(values))
        assert fetched(store, "key", values.nbytes) == values.tobytes()


@needs_numpy
def test_python_objects_are_refused(store):
    values = numpy.array([1, "two", None], dtype=object)
    named = numpy.zeros(2, [("a", object), ("O", "f4")])
    for thing in (values, named, memoryview(values),
                  (ctypes.py_object * 2)(1, 2)):
        with pytest.raises(ValueError, match="Python objects"):
            store.put("key", thing)
        with pytest.raises(ValueError, match="Python objects"):
            store.get_into("key", thing)
    store.put("key", memoryview(numpy.zeros(2, [("O", "f4")])))


def test_device_arrays_are_refused(store):
    class Cupy:
        __cuda_array_interface__ = {"data": (1, False), "shape": (1,),
                                    "typestr": "<f4", "version": 3}

    with pytest.raises(cascade.UnsupportedError):
        store.put("key", Cupy())
    with pytest.raises(cascade.UnsupportedError):
        store.get_into("key", Cupy())


@needs_numpy
def test_dlpack(store):
    class Pack:
        def __init__(self, values, device=(1, 0)):
            self.values, self.device = values, device

        def __dlpack__(self):
            return self.values.__dlpack__()

        def __dlpack_device__(self):
            return self.device

    values = numpy.arange(12, dtype="f4").reshape(3, 4)
    for number, view in enumerate((values, values.T, values[::2, 1:])):
        store.put(f"{number}", Pack(view))
        assert fetched(store, f"{number}", view.nbytes) == view.tobytes()
    with pytest.raises(ValueError, match="DLPack"):
        store.get_into("0", Pack(values))
    with pytest.raises(cascade.UnsupportedError):
        store.put("gpu", Pack(values, (2, 0)))


def test_torch(store):
    torch = pytest.importorskip("torch")
    values = torch.arange(24).reshape(2, 3, 4).to(torch.bfloat16)
    store.put("key", values.permute(2, 0, 1))
    out = torch.zeros(2, 3, 4, dtype=torch.bfloat16)
    assert store.get_into("key", out.permute(2, 0, 1)) == 48
    assert torch.equal(out, values)
    store.put("grad", torch.ones(3, requires_grad=True))
    assert fetched(store, "grad", 12) == b"\x00\x00\x80?" * 3


@needs_numpy
def test_bfloat16_of_ml_dtypes(store):
    types_ = pytest.importorskip("ml_dtypes")
    values = numpy.arange(6).astype(types_.bfloat16).reshape(2, 3)
    store.put("key", values.T)
    out = numpy.zeros_like(values)
    assert store.get_into("key", out.T) == 12
    assert (out == values).all()


def test_content_id_depends_on_bytes_only():
    assert cascade.content_id(b"abcd") == cascade.content_id(
        memoryview(b"dcba")[::-1])
    assert cascade.content_id(b"abcd") != cascade.content_id(b"abce")
    assert len(cascade.content_id(b"")) == 32
