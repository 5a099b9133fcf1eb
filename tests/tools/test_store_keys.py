# SPDX-License-Identifier: Apache-2.0
"""Keys of any bytes, their order and their text; wrong usage of the store
commands."""

from store_case import StoreCase
from tool import USAGE, main


class KeyTest(StoreCase):
    def test_ls_is_sorted_and_escaped(self):
        keys = ["b", "a\nb", "Ä", "a\x1b[31m", "a"]
        for key in keys:
            self.put(key, key.encode() * 3)
        rows = self.run_tool("ls", "--json").objects
        wanted = sorted(key.encode() for key in keys)
        self.assertEqual([row["key"].encode() for row in rows], wanted)
        self.assertEqual([row["bytes"] for row in rows],
                         [3 * len(key) for key in wanted])
        self.assertTrue(all(row["on_segments"] for row in rows))
        text = self.run_tool("ls").text
        self.assertIn("a\\x0ab\n", text)
        self.assertNotIn("\x1b", text)
        self.assertEqual(len(text.splitlines()), len(keys))
        begins = self.run_tool("ls", "a", "-j").objects
        self.assertEqual(len(begins), 3)

    def test_keys_of_any_bytes(self):
        for digits in ("00", "c3a4", "ff" * 1024):
            self.put(digits, digits.encode(), "--hex-key")
            got = self.run_tool("get", "--hex-key", digits)
            self.assertEqual(got.bytes, digits.encode())
        rows = self.run_tool("ls", "-j").objects
        self.assertEqual(
            {row["key_hex"] for row in rows},
            {"00", "c3a4", "ff" * 1024},
        )
        self.assertEqual(self.run_tool("get", "ä").bytes, b"c3a4")

    def test_wrong_keys(self):
        for digits in ("0", "xx", "", "aa" * 1025):
            self.put(digits, b"", "--hex-key", expect=USAGE)
        for key in ("", "k" * 1025):
            self.put(key, b"", expect=USAGE)
            self.run_tool("find", key, expect=USAGE)
            self.run_tool("rm", key, expect=USAGE)

    def test_wrong_usage(self):
        bare = {"CASCADE_COLD_PATH": ""}
        result = self.run_tool("ls", expect=USAGE, **bare)
        self.assertIn("--store", result.errors)
        self.run_tool("put", expect=USAGE)
        self.run_tool("put", "k", expect=USAGE)
        self.run_tool("put", "k", "f", "g", expect=USAGE)
        self.run_tool("get", expect=USAGE)
        self.run_tool("rm", expect=USAGE)
        self.run_tool("find", expect=USAGE)
        self.run_tool("ls", "a", "b", expect=USAGE)
        self.put("k", b"", "--rebind", "perhaps", expect=USAGE)
        self.put("k", b"", "-o", "nothing", expect=USAGE)
        result = self.put("k", b"", "-o", "dram_capcity=1GiB", expect=USAGE)
        self.assertIn("dram_capacity", result.errors)


if __name__ == "__main__":
    main()
