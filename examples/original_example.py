#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The example of the original Cascade, as it was written, between two lines.

    PYTHONPATH=build/python python3 examples/original_example.py

Before it: `np` and `data_tensor`, which it takes for granted. After it: the
proof that it did what it says. Needs numpy; uses torch if that is there.
"""

import sys

try:
    import numpy as np
except ImportError:
    print("skipped: numpy is not there")
    sys.exit(77)

try:
    import torch

    data_tensor = torch.randn(2, 8, 128, 64)
except ImportError:

    class Tensor:
        """As much of a torch tensor as the example uses."""

        def __init__(self, values):
            self._values = values

        def numpy(self):
            return self._values

        def __array__(self, dtype=None, copy=None):
            return self._values

    data_tensor = Tensor(
        np.random.default_rng(6).standard_normal((2, 8, 128, 64), np.float32))

# ---------------------------------------------------------------------------
from cascade_cpp import DistributedStore, CascadeConfig

# 1. Initialize with V6 Features Enabled
cfg = CascadeConfig()
cfg.dedup_enabled = True
cfg.semantic_eviction = True
cfg.locality_aware = True
store = DistributedStore(cfg)

# 2. Put Data (Auto-Tiering + Dedup)
# 'is_prefix=True' marks this as a protected block
store.put("sys_prompt_v1", data_tensor.numpy(), is_prefix=True)

# 3. Get Data (Transparent Retrieval from any Tier)
result = np.empty_like(data_tensor)
store.get("sys_prompt_v1", result)
# ---------------------------------------------------------------------------

assert np.array_equal(result, data_tensor.numpy())
where = store.locate("sys_prompt_v1")
print(f"{result.nbytes} bytes came back as they were put, from tier "
      f"{where.tier}; protected: {where.is_prefix}")
store.close()
