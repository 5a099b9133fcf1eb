# SPDX-License-Identifier: Apache-2.0
"""cascade replay: small traces, restarts, protection, and damage."""

import gzip
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tools"))
from tool import NO, SOURCE, USAGE, ToolTest, main  # noqa: E402

TRACE = SOURCE / "data/conversation_trace.jsonl.gz"


def request(ids, timestamp=0):
    return json.dumps({"timestamp": timestamp, "input_length": 512 * len(ids),
                       "output_length": 1, "hash_ids": ids}) + "\n"


class ReplayTest(ToolTest):
    def trace(self, *requests):
        return self.write("trace.jsonl",
                          "".join(map(request, requests)).encode())

    def replay(self, trace, *options, **more):
        return self.run_tool("replay", trace, "--json", "--block-bytes",
                             "4KiB", *options, **more).objects[0]

    def test_hits_are_counted_as_defined(self):
        # The third request: 1 and 2 lead, 9 is a miss, 5 is behind it.
        trace = self.trace([1, 2, 3], [1, 2, 5], [1, 2, 9, 5], [8])
        done = self.replay(trace, "--dram", "16MiB")
        self.assertEqual(done["requests"], 4)
        self.assertEqual(done["block_refs"], 11)
        self.assertEqual(done["distinct_blocks"], 6)
        self.assertEqual(done["hits_local_dram"], 4)
        self.assertAlmostEqual(done["prefix_hit_pct"], 400 / 11, places=3)
        self.assertAlmostEqual(done["block_hit_pct"], 500 / 11, places=3)
        self.assertEqual(done["verified_bytes"], 4 * 4096)
        self.assertEqual(done["puts"], 6)
        self.assertEqual(done["wrong_bytes"], 0)

    def test_text_ends_with_what_was_compared(self):
        trace = self.trace([1, 2], [1, 2])
        result = self.run_tool("replay", trace, "--dram", "16MiB",
                               "--block-bytes", "4KiB", "--protect", "1")
        self.assertEqual(result.lines[-1], f"0 wrong bytes in {3 * 4096} "
                                           "compared")
        self.assertIn("protected prompts retained 1/1 = 100 %", result.text)
        self.assertEqual(result.errors, "")

    def pressure(self, *options):
        """A thousand requests through far too little memory."""
        return self.replay(
            TRACE, "--requests", "400", "--dram", "8MiB", "--cold", "64MiB",
            "--cold-path", self.folder / "cold", "-o", "segment_size=4MiB",
            "--protect", "20", *options)

    def check_pressure(self, done):
        self.assertEqual(done["wrong_bytes"], 0)
        self.assertEqual(done["failed_calls"], 0)
        self.assertEqual(done["requests"], 400)
        self.assertGreater(done["evictions_local_dram"], 0)
        self.assertGreater(done["hits_segments"], 0)
        self.assertEqual(done["protected"], 20)
        self.assertGreater(done["protected_checks"], 20)
        self.assertEqual(done["protected_lost"], 0)

    def test_under_pressure(self):
        self.check_pressure(self.pressure())

    def test_over_a_close(self):
        done = self.pressure("--restart-at", "0.5")
        self.check_pressure(done)
        self.assertEqual(done["restarts"], 1)
        self.assertGreater(done["restart_expected"], 100)
        self.assertEqual(done["restart_served"], done["restart_expected"])

    def test_over_a_kill(self):
        samples = self.folder / "samples"
        done = self.pressure("--restart-at", "0.5", "--kill", "--samples",
                             samples)
        self.check_pressure(done)
        self.assertGreater(done["restart_expected"], 100)
        self.assertEqual(done["restart_served"], done["restart_expected"])
        lines = [json.loads(line) for line in samples.read_text().splitlines()]
        self.assertEqual(lines[-1]["requests"], 400)
        self.assertEqual({line["restarts"] for line in lines}, {0, 1})
        self.assertEqual(
            sum(line["hits_memory"] + line["hits_segments"] for line in lines),
            done["hits_local_dram"] + done["hits_segments"])

    def test_wrong_bytes_are_noticed(self):
        # The same keys in the same namespace, but bound to other contents:
        # the run of seed 1 is made to meet blocks of seed 2.
        trace = self.trace([1, 2, 3], [1, 2, 3])
        cold = self.folder / "cold"
        self.replay(trace, "--dram", "16MiB", "--cold-path", cold, "--seed",
                    "2", "-o", "namespace=shared")
        result = self.run_tool(
            "replay", trace, "--json", "--block-bytes", "4KiB", "--dram",
            "16MiB", "--cold-path", cold, "-o", "namespace=shared", expect=NO)
        done = result.objects[0]
        self.assertGreater(done["wrong_bytes"], 0)
        self.assertIn("wrong bytes", result.errors)

    def test_traces_may_be_compressed(self):
        packed = self.write("trace.jsonl.gz", gzip.compress(
            self.trace([1, 2], [1]).read_bytes()))
        self.assertEqual(self.replay(packed, "--dram", "16MiB")["requests"], 2)

    def test_bad_traces(self):
        bad = self.write("bad.jsonl", (request([1]) + "{}\n").encode())
        result = self.run_tool("replay", bad, "--dram", "16MiB", expect=NO)
        self.assertIn("bad.jsonl:2: ", result.errors)
        result = self.run_tool("replay", "absent", expect=NO)
        self.assertIn("absent", result.errors)

    def test_usage(self):
        trace = self.trace([1])
        self.run_tool("replay", expect=USAGE)
        self.run_tool("replay", trace, "--restart-at", "0.5", expect=USAGE)
        self.run_tool("replay", trace, "--restart-at", "2", expect=USAGE)
        self.run_tool("replay", trace, "--cold", "1GiB", expect=USAGE)
        self.run_tool("replay", trace, "--dram", "many", expect=USAGE)
        self.run_tool("replay", trace, "--kill", expect=USAGE)
        self.run_tool("replay", trace, "-o", "no_such=1", expect=USAGE)


if __name__ == "__main__":
    main()
