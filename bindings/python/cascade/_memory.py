# SPDX-License-Identifier: Apache-2.0
"""From whatever the caller has to the bytes of it.

`memory_of` tries, in this order: the buffer protocol, tensors that show
`data_ptr` (torch, found by what they can do, so that torch is not needed),
`__array_interface__`, `__dlpack__`. Nothing here looks at the type of the
elements: bytes are bytes, in C order.
"""

from __future__ import annotations

import re
from typing import Any

from cascade._cascade import ffi, lib
from cascade._errors import InvalidError, UnsupportedError
from cascade._native import Memory, dlpack_layout, has_buffer

# dlpack.h: memory that a CPU can reach (plain, and pinned for CUDA or ROCm).
_DLPACK_HOST = (1, 3, 11)

# What numpy's typestr counts for text are characters.
_UNICODE_BYTES = 4

# Runs of at least so many bytes are passed as they lie; shorter ones are copied
# together first, because a span costs more than it saves.
_RUN_BYTES = 2048

_uncleared = ffi.new_allocator(should_clear_after_alloc=False)


def _device_memory(what: object) -> UnsupportedError:
    return UnsupportedError(
        f"{type(what).__name__} is in device memory, which this package does "
        "not read or write yet; copy it to host memory first")


def _has_references(thing: Any) -> bool:
    """Whether elements are Python objects: their bytes are addresses."""
    if isinstance(thing, (bytes, bytearray)):
        return False
    dtype = getattr(thing, "dtype", None)
    if dtype is not None:
        return bool(getattr(dtype, "hasobject", False))
    return "O" in re.sub(":[^:]*:", "", memoryview(thing).format)


def _of_tensor(tensor: Any, writable: bool) -> Memory:
    if tensor.device.type != "cpu":
        raise _device_memory(tensor)
    if str(getattr(tensor, "layout", "torch.strided")) != "torch.strided":
        raise InvalidError(
            f"a tensor with the layout {tensor.layout} is not one piece of "
            "memory; make it dense first")
    for pending, resolve in (("is_conj", "resolve_conj"),
                             ("is_neg", "resolve_neg")):
        if hasattr(tensor, pending) and getattr(tensor, pending)():
            if writable:
                raise InvalidError(
                    f"the tensor is a lazy view ({pending}); its memory does "
                    f"not hold its values; call {resolve}() first")
            tensor = getattr(tensor, resolve)()
    size = tensor.element_size()
    shape = tuple(int(n) for n in tensor.shape)
    strides = tuple(int(n) * size for n in tensor.stride())
    return Memory.from_layout(tensor, tensor.data_ptr(), shape, strides, size)


def _of_array_interface(array: Any, writable: bool) -> Memory:
    interface = array.__array_interface__
    data = interface.get("data")
    if not isinstance(data, tuple):
        raise InvalidError(
            f"{type(array).__name__} does not say where its memory is")
    address, readonly = data
    if writable and readonly:
        raise InvalidError(f"the output ({type(array).__name__}) is read-only")
    described = re.fullmatch(r"[<>|=](.)(\d+)(\[.*\])?", interface["typestr"])
    if described is None or described[1] in "Ot":
        raise InvalidError(
            f"elements of the type {interface['typestr']} are not plain bytes")
    item_bytes = int(described[2])
    if described[1] == "U":
        item_bytes *= _UNICODE_BYTES
    strides = interface.get("strides")
    return Memory.from_layout(
        (array, interface), address, tuple(interface["shape"]),
        None if strides is None else tuple(strides), item_bytes)


def _of_dlpack(array: Any, writable: bool) -> Memory:
    if writable:
        raise InvalidError(
            f"{type(array).__name__} offers only DLPack, which does not say "
            "whether it may be written; pass an output with the buffer "
            "protocol")
    if array.__dlpack_device__()[0] not in _DLPACK_HOST:
        raise _device_memory(array)
    capsule = array.__dlpack__()
    device, address, shape, strides, bits = dlpack_layout(capsule)
    if device not in _DLPACK_HOST:
        raise _device_memory(array)
    if bits % 8 != 0:
        raise InvalidError("elements smaller than a byte have no byte order")
    return Memory.from_layout(capsule, address, shape, strides, bits // 8)


def memory_of(thing: Any, writable: bool = False) -> Memory:
    """The memory of `thing`, to be closed by the caller.

    InvalidError (a ValueError): not writable, or not plain memory.
    UnsupportedError: device memory. TypeError: no memory that can be seen.
    """
    if has_buffer(thing):
        try:
            if _has_references(thing):
                raise BufferError("its elements are Python objects")
            return Memory(thing, writable)
        except (BufferError, ValueError) as reason:
            if writable:
                raise InvalidError(
                    f"the output ({type(thing).__name__}) cannot be written: "
                    f"{reason}") from reason
            raise InvalidError(
                f"the memory of {type(thing).__name__} cannot be read: "
                f"{reason}") from reason
    if (hasattr(thing, "data_ptr") and hasattr(thing, "element_size")
            and hasattr(thing, "stride")):
        return _of_tensor(thing, writable)
    if hasattr(thing, "__array_interface__"):
        return _of_array_interface(thing, writable)
    if hasattr(thing, "__cuda_array_interface__"):
        raise _device_memory(thing)
    if hasattr(thing, "__dlpack__"):
        return _of_dlpack(thing, writable)
    raise TypeError(
        f"{type(thing).__name__} shows no memory; pass bytes, an array, a "
        "tensor or another object with the buffer protocol")


class Pieces:
    """The memory of a caller as spans of the C interface, without a copy if
    it is in few pieces, else with one. To be closed; then nothing of it may
    be used.
    """

    __slots__ = ("_address", "_copy", "_memory", "count", "size", "spans")

    def __init__(self, thing: Any, writable: bool = False) -> None:
        memory = memory_of(thing, writable)
        if writable and memory.overlaps:
            memory.close()
            raise InvalidError(
                f"elements of the output ({type(thing).__name__}) share "
                "memory, so it cannot hold a block; pass one of its own")
        self._memory = memory
        self._copy = None
        self.size = memory.nbytes
        if not memory.contiguous and memory.run_bytes >= _RUN_BYTES:
            self.count = self.size // memory.run_bytes
            self.spans = ffi.new("struct cascade_span[]", self.count)
            memory.fill_spans(int(ffi.cast("uintptr_t", self.spans)),
                              self.count)
            return
        if memory.contiguous:
            self._address = memory.address
        else:
            self._copy = _uncleared("char[]", self.size)
            self._address = int(ffi.cast("uintptr_t", self._copy))
            if not writable:
                memory.gather(self._address, self.size)
        self.count = 1
        self.spans = ffi.new("struct cascade_span *")
        self.spans.data = ffi.cast("void *", self._address)
        self.spans.bytes = self.size
        self.spans.device = -1

    def filled(self, size: int) -> None:
        """The spans hold `size` new bytes: bring them to the caller."""
        if self._copy is not None:
            self._memory.scatter(self._address, size)

    def close(self) -> None:
        self._memory.close()
        self._copy = None


def content_id(data: Any) -> bytes:
    """The content id of the bytes of `data`. Needs no store."""
    memory = memory_of(data)
    try:
        copy = None
        address = memory.address
        if not memory.contiguous:
            copy = _uncleared("char[]", memory.nbytes)
            address = int(ffi.cast("uintptr_t", copy))
            memory.gather(address, memory.nbytes)
        identity = ffi.new("uint8_t[]", lib.CASCADE_ID_BYTES)
        lib.glue_content_id(address, memory.nbytes, identity)
        return bytes(identity)
    finally:
        memory.close()
