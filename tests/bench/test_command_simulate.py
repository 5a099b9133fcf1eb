# SPDX-License-Identifier: Apache-2.0
"""cascade simulate: its lines, its arguments, and what it refuses."""

import json
import pathlib
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tools"))
from tool import NO, SOURCE, USAGE, ToolTest, main  # noqa: E402

TRACE = SOURCE / "data/conversation_trace.jsonl.gz"
FIELDS = ["trace", "policy", "capacity_pct", "capacity_blocks", "requests",
          "block_refs", "prefix_hit_pct", "block_hit_pct"]


class SimulateTest(ToolTest):
    def small(self):
        ids = [[1, 2, 3], [1, 2, 5], [1, 2, 9, 5], [8]]
        return self.write("small.v1.jsonl", "".join(
            json.dumps({"timestamp": 0, "input_length": 512 * len(list_),
                        "output_length": 1, "hash_ids": list_}) + "\n"
            for list_ in ids).encode())

    def test_a_line_is_what_was_promised(self):
        done = self.run_tool("simulate", TRACE, "--policy", "lru",
                             "--capacity", "5%")
        self.assertEqual(len(done.lines), 1)
        line = json.loads(done.lines[0])
        self.assertEqual(list(line), FIELDS)
        self.assertEqual(line["trace"], "conversation_trace")
        self.assertEqual(line["policy"], "lru")
        self.assertEqual(line["capacity_pct"], 5)
        self.assertEqual(line["capacity_blocks"], 9140)
        self.assertEqual(line["requests"], 12031)
        self.assertEqual(line["block_refs"], 288500)
        self.assertAlmostEqual(line["prefix_hit_pct"], 19.6, delta=0.1)
        self.assertAlmostEqual(line["block_hit_pct"], 19.6, delta=0.1)

    def test_speed_is_at_the_end(self):
        line = self.run_tool("simulate", self.small(), "--json", "--policy",
                             "sieve").objects[0]
        self.assertEqual(list(line), FIELDS + ["refs_per_s"])

    def test_lines_come_in_order(self):
        lines = self.run_tool("simulate", self.small(), "--policy",
                              "opt,lru,arc", "--capacity", "100%,3,0.5%",
                              "--threads", "3").objects
        self.assertEqual([(line["policy"], line["capacity_blocks"])
                          for line in lines],
                         [(policy, blocks) for policy in ("opt", "lru", "arc")
                          for blocks in (6, 3, 1)])
        self.assertEqual([line["capacity_pct"] for line in lines[:3]],
                         [100, 50, 0.5])
        # Everything fits: two hits, then two leading ones and one behind.
        self.assertAlmostEqual(lines[3]["prefix_hit_pct"], 36.36, places=2)
        self.assertAlmostEqual(lines[3]["block_hit_pct"], 45.45, places=2)

    def test_all_are_those_of_the_store_and_the_optimum(self):
        lines = self.run_tool("simulate", self.small(), "--capacity",
                              "50%").objects
        names = [line["policy"] for line in lines]
        for name in ("fifo lru lfu lfu-da arc s3fifo s3fifo-50 sieve slru "
                     "wtinylfu opt").split():
            self.assertIn(name, names)
        self.assertEqual(len(names), len(set(names)))

    def test_equal_arguments_give_equal_lines(self):
        arguments = ("simulate", "--made", "zipf", "--scale", "0.1", "--hints",
                     "0.8", "--capacity", "5%,25%")
        once = self.run_tool(*arguments, "--threads", "1").text
        self.assertEqual(once, self.run_tool(*arguments).text)
        self.assertIn('"trace":"zipf"', once)
        self.assertNotEqual(once, self.run_tool(*arguments, "--seed", "2").text)

    def test_other_formats(self):
        trace = self.write("w.bin", b"".join(
            struct.pack("<IQIq", i, i % 3, 1, -1) for i in range(9)))
        for options in ([], ["--format", "oracle"]):
            line = self.run_tool("simulate", trace, "--policy", "lru",
                                 "--capacity", "100%", *options).objects[0]
            self.assertEqual(line["block_refs"], 9)
            self.assertAlmostEqual(line["prefix_hit_pct"], 66.67)
        self.run_tool("simulate", trace, "--format", "twitter", expect=NO)

    def test_wrong_usage(self):
        trace = self.small()
        for arguments, says in (
                (["--policy", "lfu_da"], "did you mean lfu-da?"),
                (["--policy", "lru,,fifo"], "--policy"),
                (["--capacity", "0%"], "--capacity"),
                (["--capacity", "101%"], "--capacity"),
                (["--capacity", "nan%"], "--capacity"),
                (["--capacity", ""], "--capacity"),
                (["--hints", "1.5"], "--hints"),
                (["--format", "vscsi"], "--format"),
                (["--made", "zipf"], "give one TRACE"),
                (["--seed", "x"], "--seed")):
            done = self.run_tool("simulate", trace, *arguments, expect=USAGE)
            self.assertIn(says, done.errors)
        self.run_tool("simulate", expect=USAGE)
        self.run_tool("simulate", "--made", "nothing", expect=NO)

    def test_bad_lines_are_named(self):
        trace = self.write("bad.jsonl", self.small().read_bytes() + b"{}\n")
        done = self.run_tool("simulate", trace, expect=NO)
        self.assertIn("bad.jsonl:5:", done.errors)


if __name__ == "__main__":
    main()
