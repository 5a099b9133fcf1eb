# SPDX-License-Identifier: Apache-2.0
"""Runs the command as a user would, in a clean environment and folder."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

SOURCE = pathlib.Path(
    os.environ.get("CASCADE_SOURCE_DIR", pathlib.Path(__file__).parents[2])
)
BUILD = pathlib.Path(os.environ.get("CASCADE_BUILD_DIR", SOURCE / "build"))
PROGRAM = pathlib.Path(os.environ.get("CASCADE_PROGRAM", BUILD / "bin/cascade"))

NO = 1
USAGE = 2


def pattern(count):
    """Bytes that are easy to tell apart: byte i is i mod 251."""
    cycle = bytes(range(251))
    return (cycle * (count // 251 + 1))[:count]


class Result:
    def __init__(self, done):
        self.status = done.returncode
        self.bytes = done.stdout
        self.errors = done.stderr.decode("utf-8", "replace")

    @property
    def text(self):
        return self.bytes.decode("utf-8")

    @property
    def lines(self):
        return self.text.splitlines()

    @property
    def objects(self):
        return [json.loads(line) for line in self.lines]


class ToolTest(unittest.TestCase):
    """A folder of its own for each test, which is also the working folder."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="cascade-tools-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("CASCADE_", "OMPI_", "PMI_", "SLURM_"))
        }
        self.environment["CASCADE_RUNTIME_DIR"] = str(self.folder / "run")
        self.environment["LC_ALL"] = "C.UTF-8"

    def run_tool(self, *arguments, stdin=b"", expect=0, **environment):
        done = subprocess.run(
            [PROGRAM, *map(os.fspath, arguments)],
            input=stdin,
            capture_output=True,
            cwd=self.folder,
            env={**self.environment, **environment},
            timeout=60,
            check=False,
        )
        result = Result(done)
        self.assertEqual(
            result.status, expect, f"cascade {arguments}: {result.errors}"
        )
        if expect == NO and not result.bytes:
            self.assertRegex(result.errors, "(?m)^cascade: ")
        return result

    def write(self, name, data):
        path = self.folder / name
        path.write_bytes(data)
        return path


def main():
    """Runs the tests of the file; where none can run, it says why and is
    skipped itself."""
    result = unittest.main(verbosity=1, exit=False).result
    if result.testsRun == 0 or not result.wasSuccessful():
        sys.exit(1)
    if len(result.skipped) == result.testsRun:
        print(result.skipped[-1][1], file=sys.stderr)
        sys.exit(77)
