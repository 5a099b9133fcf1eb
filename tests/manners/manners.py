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
