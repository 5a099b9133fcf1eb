# SPDX-License-Identifier: Apache-2.0
"""What is left over under a cold_path: listing and removing it."""

import os
import subprocess
import time

from store_case import StoreCase
from tool import BUILD, NO, USAGE, main

HOLD = BUILD / "tests/hold_store"


class GcTest(StoreCase):
    def gc(self, *arguments, **more):
        return self.run_tool("gc", self.store, "--json", *arguments,
                             **more).objects

    def find(self, kind, *arguments):
        return [row for row in self.gc(*arguments) if row["kind"] == kind]

    def tree(self):
        return sorted(str(path.relative_to(self.store))
                      for path in self.store.rglob("*"))

    def hold(self, *arguments, **environment):
        process = subprocess.Popen(
            [HOLD, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**self.environment, "CASCADE_DRAM_CAPACITY": "64MiB",
                 **environment},
        )
        self.addCleanup(self.end, process)
        self.assertEqual(process.stdout.readline(), b"ready\n")
        return process

    @staticmethod
    def end(process):
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()

    def make_old(self, days):
        """Everything there is as old as that."""
        then = time.time() - days * 86400
        for path in [self.store, *self.store.rglob("*")]:
            os.utime(path, (then, then))

    def test_listing_changes_nothing(self):
        self.put("k", b"some bytes")
        before = self.tree()
        rows = self.find("namespace")
        self.assertEqual(self.tree(), before)
        self.assertEqual([row["namespace"] for row in rows], ["default"])
        self.assertEqual(rows[0]["state"], "ended")
        self.assertTrue(rows[0]["removable"])
        self.assertGreater(rows[0]["bytes"], 4096)
        self.run_tool("gc", self.store)
        self.assertEqual(self.run_tool("get", "k").bytes, b"some bytes")

    def test_old_namespace_goes_and_others_stay(self):
        self.put("k", b"old", CASCADE_NAMESPACE="model v1")
        self.make_old(10)
        self.put("k", b"new", CASCADE_NAMESPACE="model v2")
        rows = self.find("namespace", "--older", "7d")
        self.assertEqual([row["namespace"] for row in rows], ["model v1"])
        rows = self.gc("--older", "7d", "--kind", "namespace", "--remove")
        self.assertEqual([row["removed"] for row in rows], [True])
        rows = self.find("namespace")
        self.assertEqual([row["namespace"] for row in rows], ["model v2"])
        # Without an age a day is meant: what is fresh stays.
        rows = self.gc("--kind", "namespace", "--remove")
        self.assertEqual(rows, [])
        self.run_tool("get", "k", expect=NO, CASCADE_NAMESPACE="model v1")
        result = self.run_tool("get", "k", CASCADE_NAMESPACE="model v2")
        self.assertEqual(result.bytes, b"new")
        names = {path.split("/")[0] for path in self.tree()}
        self.assertFalse(any("v1" in name for name in names))
        self.assertFalse(any(name.startswith(".new-") for name in names))

    def test_live_namespace_stays(self):
        process = self.hold()
        self.make_old(10)
        rows = self.find("namespace")
        self.assertEqual([row["state"] for row in rows], ["live"])
        before = self.tree()
        rows = self.gc("--kind", "namespace", "--kind", "writer", "--remove",
                       "--older", "0s")
        self.assertEqual([row["removed"] for row in rows], [False, False])
        self.assertEqual(self.tree(), before)
        self.assertIsNone(process.poll())

    def test_killed_writer_where_keys_never_move(self):
        process = self.hold(CASCADE_REBIND="refused")
        process.kill()
        process.wait()
        self.hold(CASCADE_REBIND="refused", CASCADE_COLD_PATH=str(self.store),
                  CASCADE_COLD_MODE="own")
        rows = self.find("writer")
        states = sorted(row["state"] for row in rows)
        # The second has adopted what the first left: that is in use.
        self.assertEqual(states, ["live", "live"])

    def test_writer_that_ended_goes_alone(self):
        process = self.hold("die", CASCADE_REBIND="refused")
        process.stdin.close()
        process.wait()
        rows = self.find("writer")
        self.assertEqual([row["state"] for row in rows], ["ended"])
        rows = self.gc("--kind", "writer", "--remove", "--older", "0s")
        self.assertEqual([row["removed"] for row in rows], [True])
        self.assertEqual(self.find("writer"), [])
        self.run_tool("get", "held", expect=NO, CASCADE_REBIND="refused")
        process = self.hold(CASCADE_REBIND="refused")

    def test_writer_stays_where_keys_move(self):
        process = self.hold("die")
        process.stdin.close()
        process.wait()
        rows = self.gc("--kind", "writer", "--remove", "--older", "0s")
        self.assertEqual([row["removed"] for row in rows], [False])
        self.assertIn("outrank", rows[0]["why_not"])
        self.assertEqual(self.run_tool("get", "held").bytes, b"held")

    def test_litter(self):
        self.put("k", b"1")
        litter = self.store / "default" / ".new-0123-something"
        litter.mkdir()
        (litter / "lease.0").write_bytes(b"")
        (self.store / ".new-77-file").write_bytes(b"x" * 10)
        self.assertEqual(len(self.find("litter")), 2)
        self.assertEqual(self.find("litter", "--older", "1h"), [])
        rows = self.gc("--kind", "litter", "--remove", "--older", "0s")
        self.assertEqual([row["removed"] for row in rows], [True, True])
        self.assertEqual(self.find("litter"), [])

    def test_file_without_a_record(self):
        process = self.hold("die")
        process.stdin.close()
        process.wait()
        segments = [path for path in self.store.rglob("*.seg")]
        header = segments[0].read_bytes()[:4096]
        empty = segments[0].with_name("00000002.seg")
        empty.write_bytes(header)
        segments[0].with_name("00000003.seg").write_bytes(b"")
        rows = self.find("empty")
        self.assertEqual(sorted(row["bytes"] for row in rows), [0, 4096])
        rows = self.gc("--kind", "empty", "--remove", "--older", "0s")
        self.assertEqual([row["removed"] for row in rows], [True, True])
        self.assertFalse(empty.exists())
        self.assertEqual(self.run_tool("get", "held").bytes, b"held")

    def test_files_that_are_not_ours_stay(self):
        self.put("k", b"1")
        ours = self.tree()
        (self.store / "notes.txt").write_bytes(b"mine")
        writer = next(self.store.glob("default/w*"))
        (writer / "also mine").write_bytes(b"mine")
        result = self.run_tool("gc", self.store)
        self.assertIn("2 files or folders", result.errors)
        self.make_old(10)
        rows = self.gc("--kind", "namespace", "--kind", "writer", "--kind",
                       "litter", "--kind", "empty", "--remove")
        self.assertNotIn(True, [row["removed"] for row in rows])
        self.assertLess(set(ours), set(self.tree()))

    def test_refusals(self):
        other = self.folder / "other"
        other.mkdir()
        (other / "file").write_bytes(b"1")
        self.run_tool("gc", other, expect=NO)
        self.run_tool("gc", self.folder / "nothing", expect=NO)
        self.run_tool("gc", expect=USAGE)
        self.run_tool("gc", other, "--remove", expect=USAGE)
        self.run_tool("gc", other, "--kind", "all", expect=USAGE)
        self.run_tool("gc", other, "--older", "soon", expect=USAGE)


if __name__ == "__main__":
    main()
