# SPDX-License-Identifier: Apache-2.0
"""cascade put, get, rm, ls, find on a cold directory."""

import os

from store_case import StoreCase
from tool import NO, USAGE, main, pattern


class StoreTest(StoreCase):
    def test_what_was_put_is_got(self):
        for size in (0, 1, 4096, (3 << 20) + 17):
            data = pattern(size)
            self.put(f"key {size}", data)
            self.assertEqual(self.run_tool("get", f"key {size}").bytes, data)

    def test_a_block_larger_than_a_segment(self):
        data = pattern(10 << 20)
        self.put("large", data, "-o", "segment_size=4MiB")
        self.assertEqual(self.run_tool("get", "large").bytes, data)

    def test_files_and_formats(self):
        path = self.write("block", pattern(5000))
        done = self.run_tool("put", "--json", "k", path).objects[0]
        self.assertEqual((done["key"], done["bytes"]), ("k", 5000))
        self.assertTrue(done["stored"])
        wanted = self.run_tool("id", path).text.split()[0]
        self.assertEqual(done["id"], wanted)
        self.run_tool("get", "k", "out")
        self.assertEqual((self.folder / "out").read_bytes(), pattern(5000))
        self.assertEqual(
            sorted(p.name for p in self.folder.iterdir() if p.is_file()),
            ["block", "out"],
        )

    def test_get_replaces_a_file_whole_and_through_links(self):
        self.put("k", b"fresh")
        target = self.write("target", b"a longer text than that")
        os.symlink("target", self.folder / "link")
        self.run_tool("get", "k", "link")
        self.assertEqual(target.read_bytes(), b"fresh")
        self.assertTrue((self.folder / "link").is_symlink())
        self.run_tool("get", "k", "/dev/null")

    def test_a_failed_get_leaves_the_file_alone(self):
        out = self.write("out", b"before")
        self.put("k", b"x")
        result = self.run_tool("get", "other", "out", expect=NO)
        self.assertIn("other", result.errors)
        self.assertEqual(out.read_bytes(), b"before")
        self.run_tool("get", "k", self.folder / "no" / "out", expect=NO)
        self.run_tool("get", "k", self.folder, expect=USAGE)

    def test_a_key_moves_unless_told_otherwise(self):
        self.put("k", b"first")
        self.put("k", b"second")
        self.assertEqual(self.run_tool("get", "k").bytes, b"second")
        done = self.put("k", b"third", "--if-absent", "--json").objects[0]
        self.assertTrue(done["existed"])
        self.assertNotIn("id", done)
        self.assertEqual(self.run_tool("get", "k").bytes, b"second")

    def test_rebind_refused(self):
        self.put("k", b"first", "-n", "tokens", "--rebind", "refused")
        self.put(
            "k", b"second", "-n", "tokens", "--rebind", "refused", expect=NO
        )
        got = self.run_tool("get", "-n", "tokens", "--rebind", "refused", "k")
        self.assertEqual(got.bytes, b"first")

    def test_namespaces_do_not_mix(self):
        self.put("k", b"one", "--namespace", "one")
        self.put("k", b"two", "--namespace", "two")
        self.run_tool("get", "k", expect=NO)
        for name in ("one", "two"):
            got = self.run_tool("get", "-n", name, "k")
            self.assertEqual(got.bytes, name.encode())

    def test_rm(self):
        self.put("a", b"1")
        self.put("b", b"2")
        result = self.run_tool("rm", "a", "c", "b", expect=NO)
        self.assertIn("c is not there", result.errors)
        self.assertEqual(self.run_tool("ls").text, "")
        self.run_tool("get", "a", expect=NO)
        self.run_tool("rm", "--force", "a")

    def test_find(self):
        self.put("k", pattern(70000))
        result = self.run_tool("find", "k", "gone", "--json", expect=NO)
        found, missing = result.objects
        self.assertEqual(
            (found["found"], found["tier"], found["bytes"]), (True, 5, 70000)
        )
        self.assertEqual(missing, {"key": "gone", "key_hex": b"gone".hex(),
                                   "found": False})
        self.assertRegex(self.run_tool("find", "k").text, "^k: tier 5 ")

    def test_prefix_protects(self):
        self.put("p", pattern(100000), "--prefix")
        self.put("q", pattern(1))
        rows = {r["key"]: r for r in self.run_tool("ls", "-j").objects}
        self.assertTrue(rows["p"]["protected"])
        self.assertFalse(rows["q"]["protected"])
        self.put("r", b"r", "-p", "-o", "semantic_eviction=false", expect=NO)
        self.assertEqual(self.run_tool("get", "r").bytes, b"r")

    def test_many_large_blocks_stay_protected(self):
        for name in ("a", "b", "c"):
            self.put(name, name.encode() * (6 << 20), "--prefix")
        rows = self.run_tool("ls", "-j").objects
        self.assertEqual([row["protected"] for row in rows], [True] * 3)

    def test_same_content_is_kept_once(self):
        self.put("a", pattern(500000))
        done = self.put("b", pattern(500000), "--json").objects[0]
        self.assertTrue(done["deduplicated"])
        self.assertEqual(self.run_tool("get", "b").bytes, pattern(500000))

    def test_many_puts_do_not_leave_as_many_segments(self):
        for i in range(12):
            self.put(f"key {i}", pattern(10000 + i))
        files = list(self.store.rglob("*.seg"))
        self.assertLess(len(files), 12)
        for i in range(12):
            got = self.run_tool("get", f"key {i}")
            self.assertEqual(got.bytes, pattern(10000 + i))

    def test_looking_changes_nothing(self):
        self.put("k", b"x")

        def state():
            return sorted(
                (str(p), p.lstat().st_mtime_ns, p.lstat().st_size)
                for p in self.store.rglob("*")
            )

        before = state()
        self.run_tool("ls")
        self.run_tool("find", "k")
        self.run_tool("get", "k")
        self.assertEqual(state(), before)

    def test_looking_makes_no_directory(self):
        self.run_tool("ls", expect=NO)
        self.run_tool("get", "k", expect=NO)
        self.assertFalse(self.store.exists())

    def test_a_missing_file(self):
        self.run_tool("put", "k", "nothing", expect=NO)
        self.run_tool("put", "k", self.folder, expect=NO)


if __name__ == "__main__":
    main()
