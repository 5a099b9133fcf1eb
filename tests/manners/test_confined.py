# SPDX-License-Identifier: Apache-2.0
"""Bare environments, other users, name spaces, and limits of memory."""

import json
import os
import pathlib
import subprocess
import time

from manners import HOLD, MannersTest, ROUND_TRIP
from tool import PROGRAM, main

SPACES = ("unshare", "--user", "--map-root-user", "--mount", "--pid", "--ipc",
          "--net", "--uts", "--fork")
MEMORY = pathlib.Path("/sys/fs/cgroup/memory")
UNIFIED = pathlib.Path("/sys/fs/cgroup")


class ConfinedTest(MannersTest):
    def test_empty_environment(self):
        self.works("env", "-i", f"CASCADE_COLD_PATH={self.store}", "sh", "-c",
                   ROUND_TRIP)

    def test_no_home_and_no_folder_for_pages(self):
        self.round_trip(HOME="/nowhere", TMPDIR="/nowhere",
                        CASCADE_RUNTIME_DIR="/nowhere/at/all")

    def test_name_spaces_of_its_own(self):
        self.need(*SPACES, "true")
        self.round_trip(*SPACES)

    def test_no_proc(self):
        self.need(*SPACES, "sh", "-c", "mount -t tmpfs none /proc")
        self.round_trip(*SPACES, before="mount -t tmpfs none /proc\n")
        done = self.works(*SPACES, "sh", "-c",
                          f"mount -t tmpfs none /proc; {PROGRAM} info --json")
        # Sized from the machine, not from nothing.
        memory = json.loads(done.stdout)["memory_bytes"]
        self.assertLess(memory, 1 << 50)
        self.assertGreater(memory, 64 << 20)

    def test_no_shm_and_temporary_folders_that_cannot_be_written(self):
        before = ("mount -t tmpfs -o size=4k,ro none /dev/shm\n"
                  f"cd {self.folder}\n"
                  "mkdir empty\nmount --bind -o ro empty /var/tmp\n")
        self.need(*SPACES, "mount", "-t", "tmpfs", "none", "/dev/shm")
        del self.environment["CASCADE_RUNTIME_DIR"]
        self.round_trip(*SPACES, before=before)

    def test_tiny_shm(self):
        """A page that does not fit is not a page that kills."""
        self.need(*SPACES, "mount", "-t", "tmpfs", "none", "/dev/shm")
        del self.environment["CASCADE_RUNTIME_DIR"]
        self.round_trip(
            *SPACES, before="mount -t tmpfs -o size=4k none /dev/shm\n")

    def test_another_user(self):
        self.need_root()
        self.need("setpriv", "--reuid=65534", "--clear-groups", "true")
        nobody = ("setpriv", "--reuid=65534", "--regid=65534",
                  "--clear-groups", "--inh-caps=-all")
        done = self.run_in(*nobody, PROGRAM, "put", "k", "/etc/hostname")
        self.assertEqual(done.returncode, 1)
        self.assertIn(str(self.folder), done.stderr)
        os.chmod(self.folder, 0o777)
        self.round_trip(*nobody)
        # What root then finds there is theirs, and root may look.
        self.assertEqual(self.run_tool("get", "b").bytes, bytes(300000))

    def limited(self, limits):
        return ("sh", "-c", f"{limits}; exec \"$@\"", "sh")

    def test_no_locked_memory(self):
        self.round_trip(*self.limited("ulimit -l 0"))

    def test_little_address_space(self):
        """The automatic size is a part of what there is."""
        self.round_trip(*self.limited("ulimit -v 1500000"))

    def test_few_files(self):
        self.round_trip(*self.limited("ulimit -n 40"))

    def test_small_files_only(self):
        done = self.run_in(*self.limited("ulimit -f 1000"), HOLD)
        self.assertEqual(done.returncode, 1)
        self.assertIn("ulimit -f", done.stderr)


class GroupTest(MannersTest):
    """A control group of 256 MiB, of either version."""

    LIMIT = 256 << 20

    def make_group(self):
        if (UNIFIED / "cgroup.controllers").exists():
            base, file = UNIFIED, "memory.max"
        elif MEMORY.is_dir():
            own = next((line.split(":", 2)[2] for line in
                        pathlib.Path("/proc/self/cgroup").read_text().split()
                        if ":memory:" in line), "/")
            base, file = MEMORY / own.lstrip("/"), "memory.limit_in_bytes"
        else:
            self.skipTest("there are no control groups for memory here")
        group = base / f"cascade-test-{os.getpid()}"
        try:
            group.mkdir()
            self.addCleanup(self.remove_group, group)
            (group / file).write_text(str(self.LIMIT))
        except OSError as error:
            self.skipTest(f"no control group may be made here: {error}")
        return group

    @staticmethod
    def remove_group(group):
        for _ in range(100):
            try:
                group.rmdir()
                return
            except OSError:
                time.sleep(0.02)

    def enter(self, group):
        return ("sh", "-c", f"echo $$ > {group}/cgroup.procs; exec \"$@\"",
                "sh")

    def test_it_sizes_itself_and_lives(self):
        group = self.make_group()
        # A whole store with everything by default, filled several times over.
        process = subprocess.Popen(
            [*self.enter(group), HOLD], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=self.environment, cwd=self.folder)
        self.assertEqual(process.stdout.readline(), b"ready\n")
        row = self.run_tool("stats", "--json").objects[0]
        self.assertEqual(row["capacity_bytes"]["local_dram"], 64 << 20)
        ready = self.wait_until_populated(process)
        process.stdin.close()
        self.assertEqual(process.wait(timeout=60), 0, process.stderr.read())
        process.stdout.close()
        process.stderr.close()
        self.assertTrue(ready)
        # As on a machine of many processors, whose threads all read at once.
        self.works(*self.enter(group), "sh", "-c",
                   "head -c 40000000 /dev/zero > big\n"
                   f"for k in a b c d e f g h; do {PROGRAM} put $k big "
                   "|| exit 1; done\n"
                   f"{PROGRAM} get h | cmp - big", CASCADE_THREADS="16")
        self.assertEqual(self.limit_met(group), 0)

    @staticmethod
    def limit_met(group):
        """How often the group had to look for memory at its limit."""
        if (group / "memory.failcnt").exists():
            return int((group / "memory.failcnt").read_text())
        events = (group / "memory.events").read_text().split()
        return int(events[events.index("max") + 1])

    def wait_until_populated(self, process):
        """The arena is touched in the background; nobody is killed for it."""
        status = pathlib.Path(f"/proc/{process.pid}/status")
        for _ in range(500):
            if process.poll() is not None:
                return False
            for line in status.read_text().splitlines():
                if line.startswith("RssShmem:") and int(
                        line.split()[1]) >= 63 << 10:
                    return True
            time.sleep(0.02)
        return False

    def test_more_than_there_is_is_refused(self):
        group = self.make_group()
        done = self.run_in(*self.enter(group), HOLD,
                           CASCADE_DRAM_CAPACITY="1GiB")
        self.assertEqual(done.returncode, 1)
        self.assertIn("the cgroup limit", done.stderr)


if __name__ == "__main__":
    main()
