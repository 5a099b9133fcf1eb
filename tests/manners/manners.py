# SPDX-License-Identifier: Apache-2.0
"""What the tests of manners share: running things in confinement."""

import os
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tools"))

from tool import BUILD, PROGRAM, ToolTest  # noqa: E402

HOLD = BUILD / "tests/hold_store"
DENY = BUILD / "tests/deny"
SKIPPED = 77
SPACE = ("unshare", "--mount", "sh", "-c")

# What a script does in a confined place: a block in, and back, whole.
ROUND_TRIP = f"""
set -e
head -c 300000 /dev/zero > big
{PROGRAM} put --prefix b big
{PROGRAM} get b | cmp - big
"""


class MannersTest(ToolTest):
    def setUp(self):
        super().setUp()
        self.store = self.folder / "store"
        self.environment["CASCADE_COLD_PATH"] = str(self.store)

    def run_in(self, *command, timeout=60, **environment):
        """Runs a command; its status, output and errors as text."""
        done = subprocess.run(
            [*map(os.fspath, command)], capture_output=True, cwd=self.folder,
            env={**self.environment, **environment}, timeout=timeout,
            check=False, text=True, stdin=subprocess.DEVNULL)
        return done

    def works(self, *command, **environment):
        done = self.run_in(*command, **environment)
        self.assertEqual(done.returncode, 0, f"{command}: {done.stderr}")
        return done

    def round_trip(self, *prefix, before="", **environment):
        return self.works(*prefix, "sh", "-c", before + ROUND_TRIP,
                          **environment)

    def need(self, *command):
        """Skips the test where a command cannot be run."""
        try:
            done = subprocess.run(command, capture_output=True, timeout=20,
                                  check=False)
            refused = done.returncode != 0
        except (OSError, subprocess.TimeoutExpired):
            refused = True
        if refused:
            self.skipTest("this machine refuses: " + " ".join(command))

    def need_root(self):
        if os.geteuid() != 0:
            self.skipTest("needs root")

    def fill(self, mount):
        """What a store does on a small disk of that kind."""
        script = (f"{mount}\n"
                  "cat > fill.sh <<'END'\n"
                  "head -c 3000000 /dev/urandom > big\n"
                  "full=0\n"
                  "for k in 1 2 3 4 5 6 7 8 9; do\n"
                  "    cp big $k && echo $k >> $k\n"
                  "    $CASCADE put $k $k 2> err || { full=1; cat err >&2; }\n"
                  "done\n"
                  "test $full = 1 || exit 3\n"
                  "$CASCADE get 1 | cmp - 1 || exit 4\n"
                  "$CASCADE segment verify --quiet $CASCADE_COLD_PATH || exit 5\n"
                  "$CASCADE rm 1 2 || true\n"
                  "END\n"
                  "sh fill.sh\n")
        return self.run_in(
            *SPACE, script, CASCADE=str(PROGRAM),
            CASCADE_COLD_PATH=str(self.folder / "disk/store"),
            CASCADE_COLD_CAPACITY="1GiB", CASCADE_DRAM_CAPACITY="16MiB")
