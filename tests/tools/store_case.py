# SPDX-License-Identifier: Apache-2.0
"""What the tests of the store commands share: a cold directory."""

from tool import ToolTest


class StoreCase(ToolTest):
    def setUp(self):
        super().setUp()
        self.store = self.folder / "store"
        self.environment["CASCADE_COLD_PATH"] = str(self.store)

    def put(self, key, data, *options, **more):
        return self.run_tool("put", *options, key, "-", stdin=data, **more)
