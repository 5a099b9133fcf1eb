# SPDX-License-Identifier: Apache-2.0
"""cascade id: ids of known contents, names of any kind, checking of lists."""

import os
import subprocess
import threading

from tool import NO, PROGRAM, ToolTest, main, pattern

# docs/SEGMENT_FORMAT.md: byte i is i mod 251.
VECTORS = {
    0: "6c14e97338aa189287e471ade096ac743183ca71ed6c5322550dd8b7b30518b9",
    1: "5ff76aeef5a0dd43dcd98e9e1632a73943b08a29f6ece34a3e76506f5a13c604",
    4096: "caa2f265d195d58ebc6c9743c709d053cdf5364a473d964b26f35a80aaea8ee4",
    4097: "62edee9f3b163ca293a014b832d8bfe3088d4c668c6f9bac3d5e8fd0223f126e",
    524289: "2eac4659c40e367026b392808d59e0bb847e833d09134b6ecade0a0aad328057",
    20000003: "9ba0afbd25743a3f155764bb1823f086a7b9d272cc5c5908cfe34866c9a2d0a4",
}


class IdTest(ToolTest):
    def test_vectors_from_file_and_standard_input(self):
        for size, wanted in VECTORS.items():
            self.write("block", pattern(size))
            self.assertEqual(
                self.run_tool("id", "block").text, f"{wanted}  block\n"
            )
            self.assertEqual(
                self.run_tool("id", stdin=pattern(size)).text, f"{wanted}  -\n"
            )

    def test_dash_among_files(self):
        self.write("block", pattern(1))
        result = self.run_tool("id", "block", "-", stdin=pattern(4096))
        self.assertEqual(
            result.lines, [f"{VECTORS[1]}  block", f"{VECTORS[4096]}  -"]
        )

    def test_a_pipe_that_comes_in_small_pieces(self):
        reader, writer = os.pipe()
        data = pattern(524289)

        def feed():
            with os.fdopen(writer, "wb", buffering=0) as pipe:
                for start in range(0, len(data), 4093):
                    pipe.write(data[start : start + 4093])

        thread = threading.Thread(target=feed)
        thread.start()
        with os.fdopen(reader, "rb") as pipe:
            done = subprocess.run(
                [PROGRAM, "id"], stdin=pipe, capture_output=True, check=True
            )
        thread.join()
        self.assertEqual(done.stdout.decode(), f"{VECTORS[524289]}  -\n")

    def test_a_missing_file_does_not_hide_the_others(self):
        self.write("block", pattern(1))
        result = self.run_tool("id", "nothing", "block", expect=NO)
        self.assertEqual(result.text, f"{VECTORS[1]}  block\n")
        self.assertIn("nothing", result.errors)

    def test_json(self):
        self.write("block", pattern(4097))
        self.assertEqual(
            self.run_tool("id", "--json", "block").objects,
            [{"name": "block", "id": VECTORS[4097], "bytes": 4097}],
        )

    def test_check_good_list_with_odd_names(self):
        names = ["plain", "two words", "back\\slash", "line\nend", "ümlaut"]
        for name in names:
            self.write(name, name.encode())
        listed = self.run_tool("id", *names)
        self.assertEqual(len(listed.lines), len(names))
        self.write("list", listed.bytes)
        self.run_tool("id", "--check", "list")
        self.assertEqual(
            self.run_tool("id", "--check", "list", "--quiet").text, ""
        )
        self.run_tool("id", "--check", "-", stdin=listed.bytes)

    def test_check_finds_one_changed_byte(self):
        for name in ("a", "b"):
            self.write(name, pattern(9000))
        self.write("list", self.run_tool("id", "a", "b").bytes)
        self.write("b", pattern(8999) + b"!")
        result = self.run_tool("id", "--check", "list", expect=NO)
        self.assertEqual(result.lines, ["a: OK", "b: FAILED"])
        verdicts = self.run_tool("id", "-c", "list", "-j", expect=NO).objects
        self.assertEqual([v["result"] for v in verdicts], ["ok", "wrong"])

    def test_check_of_what_is_no_list(self):
        self.write("a", b"a")
        self.run_tool("id", "--check", "a", expect=NO)
        self.run_tool("id", "--check", "nothing", expect=NO)
        good = self.run_tool("id", "a").bytes
        self.write("list", good + b"zz" + good[2:])
        self.run_tool("id", "--check", "list", expect=NO)
        self.write("list", good.replace(b"  a", b"  gone"))
        self.run_tool("id", "--check", "list", expect=NO)


if __name__ == "__main__":
    main()
