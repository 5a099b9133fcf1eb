#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The package cascade: put, get, the view without a copy, batches, futures.

    PYTHONPATH=build/python python3 examples/06_python.py

Needs nothing but the package; arrays and tensors work like the bytes here.
"""

import asyncio
import os
import tempfile

import cascade

BLOCK_BYTES = 1 << 20


async def read_together(store, keys):
    """Several gets at once, in a coroutine."""
    outs = [bytearray(BLOCK_BYTES) for _ in keys]
    await asyncio.gather(*(
        asyncio.wrap_future(store.submit_get(key, out))
        for key, out in zip(keys, outs, strict=True)))
    return outs


def main():
    prompt = os.urandom(BLOCK_BYTES)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "kv")
        with cascade.Store(dram_capacity="64MiB", cold_path=path) as store:
            result = store.put("sys_prompt_v1", prompt, prefix=True)
            print(f"put: stored {result.stored}, protected {result.protected}")

            again = store.put("the same bytes", prompt)
            print(f"put of the same bytes: deduplicated {again.deduplicated}")

            out = bytearray(BLOCK_BYTES)
            size = store.get_into("sys_prompt_v1", out)
            assert size == BLOCK_BYTES and out == prompt
            assert store.get_into("never put", out) is None

            with store.get("sys_prompt_v1") as block:
                view = memoryview(block)  # no copy; read-only
                assert view == prompt
                view.release()

            turns = [f"turn {number}" for number in range(8)]
            blocks = [os.urandom(BLOCK_BYTES) for _ in turns]
            store.put_batch(zip(turns, blocks, strict=True))
            matched = store.prefix_match([*turns, "turn 8"])
            print(f"prefix_match: {matched} of {len(turns) + 1}")
            assert asyncio.run(read_together(store, turns)) == blocks
            store.flush()

        # Another process, or this one later: what was flushed is there.
        with cascade.Store(dram_capacity="64MiB", cold_path=path) as store:
            assert store.get_into("turn 3", out) == BLOCK_BYTES
            assert out == blocks[3]
            hits = store.stats().hits
            print(f"after opening again: {hits[cascade.Tier.SEGMENTS]} hit "
                  "from segments")


if __name__ == "__main__":
    main()
