#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a call from Python costs beyond the store's own time, and whether
threads of Python copy at the same time.

    PYTHONPATH=build/python bench/python_overhead.py

The store's own time is the one that it counts itself, in the same calls. What
is printed is the median over many short stretches of calls: on a machine with
other work most of them are not disturbed. Every block is compared.
"""

from __future__ import annotations

import re
import statistics
import threading
import time
from collections.abc import Callable

import cascade

SMALL_BYTES = 256
LARGE_BYTES = 16 << 20
KEYS = 300
STRETCHES = 60
LARGE_BLOCKS = 16
ROUNDS = 7


def own_seconds(store: cascade.Store, operation: str) -> float:
    """All time that the store spent in an operation so far; 0 if it does not
    count it."""
    pattern = rf"^cascade_{operation}_seconds_sum\S* (\S+)$"
    found = re.search(pattern, store.metrics(), re.MULTILINE)
    return float(found[1]) if found else 0.0


def measure(store: cascade.Store, name: str, operation: str,
            call: Callable[[bytes], object]) -> None:
    keys = [b"small %d" % i for i in range(KEYS)]
    calls = []
    beyond = []
    for _ in range(STRETCHES):
        own = own_seconds(store, operation)
        begin = time.perf_counter()
        for key in keys:
            call(key)
        each = (time.perf_counter() - begin) / KEYS
        own = (own_seconds(store, operation) - own) / KEYS
        calls.append(each)
        beyond.append(each - own)
    print(f"{name:14s} {statistics.median(calls) * 1e6:6.2f} us a call, "
          f"{statistics.median(beyond) * 1e6:5.2f} us beyond the store's own")


def read_large(store: cascade.Store, numbers: range,
               outputs: list[bytearray]) -> None:
    for number in numbers:
        store.get_into(b"large %d" % number, outputs[number])


def measure_threads(store: cascade.Store) -> None:
    blocks = [bytes([i]) * LARGE_BYTES for i in range(LARGE_BLOCKS)]
    outputs = [bytearray(LARGE_BYTES) for _ in blocks]
    for number, block in enumerate(blocks):
        store.put(b"large %d" % number, block)
    speeds: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(ROUNDS):
        for count, speed in speeds.items():
            part = LARGE_BLOCKS // count
            threads = [
                threading.Thread(target=read_large,
                                 args=(store, range(i * part, (i + 1) * part),
                                       outputs)) for i in range(count)
            ]
            begin = time.perf_counter()
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            elapsed = time.perf_counter() - begin
            speed.append(LARGE_BLOCKS * LARGE_BYTES / elapsed / 1e9)
    if any(output != block for output, block in zip(outputs, blocks)):
        raise SystemExit("a block came back with wrong bytes")
    one, two = (statistics.median(speed) for speed in speeds.values())
    print(f"get_into of 16 MiB: one thread {one:.1f} GB/s, "
          f"two threads {two:.1f} GB/s")


def main() -> None:
    block = b"x" * SMALL_BYTES
    output = bytearray(SMALL_BYTES)
    with cascade.Store(dram_capacity="512MiB", threads=1) as store:
        for number in range(KEYS):
            store.put(b"small %d" % number, block)
        measure(store, "exists", "exists", store.exists)
        measure(store, "get_into", "get",
                lambda key: store.get_into(key, output))
        measure(store, "get", "acquire", store.get)
        measure(store, "put if_absent", "put",
                lambda key: store.put(key, block, if_absent=True))
        if output != block:
            raise SystemExit("a block came back with wrong bytes")
        measure_threads(store)


if __name__ == "__main__":
    main()
