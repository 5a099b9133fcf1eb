# SPDX-License-Identifier: Apache-2.0
"""cascade bench: every case in its tiny form, and the form of its lines."""

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tools"))
from tool import SOURCE, USAGE, ToolTest, main  # noqa: E402

FIELDS = ["case", "block_bytes", "threads", "rounds", "gbps", "latency_us",
          "limit", "limit_gbps", "ratio", "verified_bytes", "wrong_bytes",
          "misses"]
TIME_BARS = {"put_if_absent", "acquire", "exists", "exists_batch", "restart",
             "first_put", "restart_million"}


def case_names():
    for path in sorted((SOURCE / "bench/cases").glob("*.cases")):
        for line in path.read_text().splitlines():
            words = line.split("#")[0].split()
            if words:
                yield words[0]


class BenchTest(ToolTest):
    def check_line(self, line, name):
        self.assertEqual(list(line), FIELDS)
        self.assertEqual(line["case"], name)
        self.assertEqual((line["wrong_bytes"], line["misses"]), (0, 0))
        self.assertGreater(line["ratio"], 0)
        self.assertEqual(list(line["latency_us"]), ["p50", "p99", "p999"])
        if name != "arena_fill":
            self.assertGreater(line["latency_us"]["p50"], 0)
        speed = line["gbps"]
        self.assertEqual(list(speed), ["min", "median", "max"])
        if name in TIME_BARS:
            self.assertEqual(line["limit"], "time_bar")
            self.assertIsNone(speed["median"])
        elif name == "arena_fill":
            self.assertEqual(line["limit"], "arena")
            self.assertIsNone(speed["median"])
            self.assertLessEqual(line["ratio"], 1)
        else:
            self.assertLessEqual(speed["min"], speed["median"])
            self.assertLessEqual(speed["median"], speed["max"])
            self.assertGreater(speed["min"], 0)
            self.assertGreater(line["limit_gbps"], 0)
        if name not in ("exists", "exists_batch"):
            self.assertGreater(line["verified_bytes"], 0)

    def test_every_case(self):
        out = self.folder / "record"
        for name in case_names():
            with self.subTest(case=name):
                result = self.run_tool(
                    "bench", name, "--tiny", "--json", "--out", out,
                    "--dir", self.folder)
                self.assertTrue(result.objects)
                # Those for ranks run in tests/cluster/check_commands.
                if name.startswith("rank_"):
                    self.assertIn("mpirun", result.objects[0]["skipped"])
                    continue
                for line in result.objects:
                    self.check_line(line, name)
        self.assertEqual([p.name for p in self.folder.iterdir()
                          if p.name.startswith("cascade-bench")], [])
        for text in out.read_text().splitlines():
            record = json.loads(text)
            for field in ("commit", "compiler", "flags", "host", "cpu",
                          "options", "seed", "samples"):
                self.assertIn(field, record)
            self.assertEqual(len(record["samples"]), record["rounds"])
            # These two open no store.
            if record["case"] not in ("id", "get_remote_near"):
                self.assertIn("dram_capacity", record["options"])

    def test_sizes_threads_and_rounds_can_be_chosen(self):
        line, = self.run_tool(
            "bench", "get_dram", "--tiny", "--json", "--bytes", "12345",
            "--threads", "2").objects
        self.assertEqual((line["block_bytes"], line["threads"]), (12345, 2))

    def test_text(self):
        result = self.run_tool("bench", "get_dram", "--tiny")
        self.assertIn("0 wrong bytes", result.text)


    def test_what_does_not_fit_is_skipped_visibly(self):
        # No machine has room for two blocks of this size per thread.
        line, = self.run_tool("bench", "put_dram", "--json", "--threads", "64",
                              "--bytes", "16GiB").objects
        self.assertIn("memory", line["skipped"])

    def test_list(self):
        names = [line.split()[0]
                 for line in self.run_tool("bench", "--list").lines]
        self.assertEqual(sorted(names), sorted(case_names()))

    def test_usage(self):
        self.run_tool("bench", expect=USAGE)
        self.assertIn("nonsense", self.run_tool(
            "bench", "nonsense", expect=USAGE).errors)
        self.run_tool("bench", "get_dram", "--bytes", "x", expect=USAGE)
        self.run_tool("bench", "get_dram", "--rounds", "0", expect=USAGE)


if __name__ == "__main__":
    main()
