# SPDX-License-Identifier: Apache-2.0
"""The command beside a live store: statistics, looking, and ownership."""

import signal
import subprocess

from tool import BUILD, NO, USAGE, ToolTest, main

HOLD = BUILD / "tests/hold_store"


class LiveTest(ToolTest):
    def setUp(self):
        super().setUp()
        self.store = self.folder / "store"
        self.environment["CASCADE_COLD_PATH"] = str(self.store)

    def hold(self, *arguments, **environment):
        """Starts a live store and returns once it is ready."""
        process = subprocess.Popen(
            [HOLD, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**self.environment, "CASCADE_DRAM_CAPACITY": "64MiB",
                 **environment},
        )
        self.addCleanup(self.let_go, process)
        self.assertEqual(process.stdout.readline(), b"ready\n")
        return process

    @staticmethod
    def let_go(process):
        if not process.stdin.closed:
            process.stdin.close()
        process.wait(timeout=60)
        process.stdout.close()
        return process.returncode

    def test_stats(self):
        process = self.hold()
        rows = self.run_tool("stats", "--json").objects
        self.assertEqual([row["pid"] for row in rows], [process.pid])
        row = rows[0]
        self.assertEqual(row["puts"], 2)
        self.assertEqual(row["keys"], 2)
        self.assertEqual(row["dirty_bytes"], 0)
        self.assertEqual(row["cold_path"], str(self.store))
        self.assertEqual(row["capacity_bytes"]["local_dram"], 64 << 20)
        self.assertRegex(self.run_tool("stats").text,
                         f"^process {process.pid}, namespace default, ")
        self.run_tool("stats", "--pid", str(process.pid))
        self.run_tool("stats", "--pid", str(process.pid + 1), expect=NO)
        self.run_tool("stats", "--store", self.store)
        self.run_tool("stats", "--store", self.folder, expect=NO)
        text = self.run_tool("stats", "--prometheus").text
        self.assertRegex(text, "(?m)^cascade_puts_total 2$")
        self.assertEqual(self.let_go(process), 0)
        self.run_tool("stats", expect=NO)

    def test_stats_of_two(self):
        self.hold()
        other = str(self.folder / "other")
        self.hold(CASCADE_COLD_PATH=other)
        self.assertEqual(len(self.run_tool("stats", "-j").objects), 2)
        self.run_tool("stats", "--prometheus", expect=USAGE)
        rows = self.run_tool("stats", "-j", "-s", other).objects
        self.assertEqual([row["cold_path"] for row in rows], [other])

    def put_late(self, process):
        process.stdin.write(b".")
        process.stdin.flush()
        self.assertEqual(process.stdout.readline(), b"put\n")

    def test_drain(self):
        process = self.hold()
        self.put_late(process)
        rows = self.run_tool("drain", "-j", "--deadline", "10").objects
        self.assertEqual(rows[0]["pid"], process.pid)
        self.assertEqual(rows[0]["status"], "OK")
        self.assertEqual(rows[0]["blocks_written"], 1)
        self.assertEqual(rows[0]["bytes_written"], 4)
        self.assertEqual(rows[0]["blocks_left"], 0)
        # Again, of a store with nothing to write; then what a crash leaves.
        self.assertRegex(self.run_tool("drain", "-s", self.store).text,
                         "wrote 0 blocks .* 0 blocks .* are left")
        process.kill()
        process.wait()
        self.assertEqual(self.run_tool("get", "late").bytes, b"late")

    def test_drain_of_a_store_that_takes_no_requests(self):
        process = self.hold(CASCADE_DRAIN_REQUESTS="false")
        result = self.run_tool("drain", expect=NO)
        self.assertIn("takes no requests", result.errors)
        self.run_tool("drain", "--pid", str(process.pid + 1), expect=NO)
        self.run_tool("drain", "--deadline", "never", expect=USAGE)

    def test_drain_of_one_of_two(self):
        process = self.hold()
        self.hold(CASCADE_COLD_PATH=str(self.folder / "other"))
        self.run_tool("drain", expect=USAGE)
        self.run_tool("drain", "--pid", str(process.pid))

    def test_term_drains_and_then_ends(self):
        process = self.hold(CASCADE_DRAIN_SIGNALS="term")
        self.put_late(process)
        process.terminate()
        self.assertEqual(process.wait(timeout=60), -signal.SIGTERM)
        self.assertEqual(self.run_tool("get", "late").bytes, b"late")

    def test_usr1_drains_and_the_program_goes_on(self):
        process = self.hold(CASCADE_DRAIN_SIGNALS="both")
        def written():
            row = self.run_tool("stats", "-j").objects[0]
            return row["cold_bytes_written"]

        before = written()
        self.put_late(process)
        process.send_signal(signal.SIGUSR1)
        while written() < before + len("late"):
            self.assertIsNone(process.poll())
        process.kill()
        process.wait()
        self.assertEqual(self.run_tool("get", "late").bytes, b"late")

    def test_looking_beside_a_live_store(self):
        process = self.hold()
        self.assertEqual(self.run_tool("get", "held").bytes, b"held")
        self.run_tool("find", "held", "also")
        keys = [row["key"] for row in self.run_tool("ls", "-j").objects]
        self.assertEqual(keys, ["also", "held"])
        self.run_tool("segment", "verify", self.store)
        self.assertEqual(self.let_go(process), 0)
        self.assertEqual(self.run_tool("get", "also").bytes, b"also")

    def test_a_second_owner_is_told_who_has_it(self):
        process = self.hold()
        for arguments in (("put", "k", "-"), ("rm", "held")):
            result = self.run_tool(*arguments, expect=NO)
            self.assertIn(str(process.pid), result.errors)
        self.assertEqual(self.let_go(process), 0)
        self.run_tool("put", "k", "-", stdin=b"now")
        self.assertEqual(self.run_tool("get", "held").bytes, b"held")

    def test_what_a_killed_store_had_flushed(self):
        process = self.hold("die")
        self.let_go(process)
        self.assertEqual(self.run_tool("get", "held").bytes, b"held")
        rows = self.run_tool("segment", "list", "-j", self.store).objects
        self.assertEqual([row["state"] for row in rows], ["open"])
        self.run_tool("segment", "verify", self.store)
        self.run_tool("put", "k", "-", stdin=b"next")
        keys = [row["key"] for row in self.run_tool("ls", "-j").objects]
        self.assertEqual(keys, ["also", "held", "k"])


if __name__ == "__main__":
    main()
