# SPDX-License-Identifier: Apache-2.0
"""cascade segment list, verify, dump: every kind of damage is found."""

from tool import NO, USAGE, ToolTest, main, pattern

TRAILER_BYTES = 256
RECORD_HEADER_BYTES = 80
LARGE = 1200000  # a block record of its own
SMALL = 5000     # packed with others


class SegmentTest(ToolTest):
    made = None  # a good segment file, made once

    def setUp(self):
        super().setUp()
        if SegmentTest.made is None:
            SegmentTest.made = self.make_file()
        self.file = self.folder / "files" / "00000001.seg"
        self.file.parent.mkdir()
        self.file.write_bytes(SegmentTest.made)

    def make_file(self):
        """The bytes of the file that holds the large block."""
        store = self.folder / "store"
        self.environment["CASCADE_COLD_PATH"] = str(store)
        for key, size in (("large", LARGE), ("small", SMALL)):
            self.run_tool("put", key, "-", stdin=pattern(size))
        for path in store.rglob("*.seg"):
            if path.stat().st_size > LARGE:
                return path.read_bytes()
        return self.fail("no segment file holds the block")

    def dump(self):
        return self.run_tool("segment", "dump", "--json", self.file).objects

    def entry(self):
        return next(e for e in self.dump() if e["bytes"] == LARGE)

    def flip(self, offset):
        with open(self.file, "r+b") as file:
            file.seek(offset)
            byte = file.read(1)[0]
            file.seek(offset)
            file.write(bytes([byte ^ 0x10]))

    def verify(self, expect=0):
        return self.run_tool(
            "segment", "verify", "-j", self.file, expect=expect
        ).objects

    def cut_footer(self):
        """Leaves the file as a writer that was killed would."""
        alignment = self.listed()["alignment_bytes"]
        end = max(e["payload_offset"] + e["bytes"] for e in self.dump())
        with open(self.file, "r+b") as file:
            file.truncate(-(-end // alignment) * alignment)

    def listed(self):
        return self.run_tool("segment", "list", "-j", self.file).objects[0]

    def test_list(self):
        facts = self.listed()
        self.assertEqual(facts["state"], "sealed")
        self.assertEqual(facts["bytes"], self.file.stat().st_size)
        self.assertEqual(facts["entries"], len(self.dump()))
        self.assertIn(facts["uuid"],
                      self.run_tool("segment", "list", self.file).text)

    def test_dump_names_blocks_and_keys(self):
        entry = self.entry()
        self.assertEqual((entry["entry"], entry["key"]), ("block", "large"))
        self.assertEqual(
            entry["id"],
            self.run_tool("id", stdin=pattern(LARGE)).text.split()[0],
        )
        text = self.run_tool("segment", "dump", self.file).text
        self.assertRegex(text, f"block .*{entry['id']}  large")
        with open(self.file, "rb") as file:
            file.seek(entry["payload_offset"])
            self.assertEqual(file.read(LARGE), pattern(LARGE))

    def test_good_files(self):
        verdict = self.verify()[-1]
        self.assertEqual((verdict["result"], verdict["damaged"]), ("ok", 0))
        self.assertGreaterEqual(verdict["payload_bytes"], LARGE)
        folder = self.file.parent
        self.run_tool("segment", "verify", folder)
        self.assertEqual(
            self.run_tool("segment", "verify", "-q", folder).text, ""
        )

    def test_a_damaged_payload_names_the_block(self):
        for sealed in (True, False):
            if not sealed:
                self.cut_footer()
            entry = self.entry()
            self.flip(entry["payload_offset"] + LARGE // 2)
            damage, verdict = self.verify(NO)
            self.assertEqual(
                (damage["id"], damage["key"], damage["offset"]),
                (entry["id"], "large", entry["payload_offset"]),
            )
            self.assertEqual(verdict["state"], "sealed" if sealed else "open")
            self.assertEqual(verdict["damaged"], 1)
            text = self.run_tool("segment", "verify", self.file, expect=NO).text
            self.assertIn(entry["id"], text)
            self.assertIn("key large", text)
            self.flip(entry["payload_offset"] + LARGE // 2)
            self.verify()

    def test_every_byte_of_a_record_header(self):
        for sealed in (True, False):
            if not sealed:
                self.cut_footer()
            start = self.entry()["header_offset"]
            for at in range(0, RECORD_HEADER_BYTES, 11):
                with self.subTest(sealed=sealed, at=at):
                    self.flip(start + at)
                    self.verify(NO)
                    self.flip(start + at)

    def test_header_footer_and_trailer(self):
        end = self.file.stat().st_size
        alignment = self.listed()["alignment_bytes"]
        for offset in (0, 9, 40, 500, 1023, end - 1, end - 100,
                       end - TRAILER_BYTES, end - 2 * alignment + 5):
            with self.subTest(offset=offset):
                self.flip(offset)
                self.verify_fails()
                self.flip(offset)
        self.verify()

    def verify_fails(self):
        """A file that is not recognised at all is told on standard error."""
        self.run_tool("segment", "verify", self.file, expect=NO)

    def test_an_unfinished_end_is_no_damage(self):
        self.cut_footer()
        self.assertEqual(self.listed()["state"], "open")
        self.assertEqual(self.verify()[-1]["state"], "open")
        entry = self.entry()
        with open(self.file, "r+b") as file:
            file.truncate(entry["payload_offset"] + LARGE // 2)
        self.assertEqual(self.verify()[-1]["unfinished"], 1)
        with open(self.file, "r+b") as file:
            file.truncate(100)
        self.assertEqual(self.verify(), [{"file": str(self.file),
                                          "state": "empty"}])

    def test_folders(self):
        (self.file.parent / "notes").write_text("not ours")
        rows = self.run_tool("segment", "list", "-j", self.file.parent).objects
        self.assertEqual([row["file"] for row in rows], [str(self.file)])
        (self.folder / "none").mkdir()
        self.run_tool("segment", "list", self.folder / "none")

    def test_what_is_no_segment(self):
        other = self.write("other", b"text" * 1000)
        self.run_tool("segment", "list", other, expect=NO)
        self.run_tool("segment", "verify", self.folder / "gone", expect=NO)

    def test_nothing_is_changed(self):
        before = self.file.read_bytes(), self.file.stat().st_mtime_ns
        for action in ("list", "verify", "dump"):
            self.run_tool("segment", action, self.file)
        self.assertEqual(
            before, (self.file.read_bytes(), self.file.stat().st_mtime_ns)
        )

    def test_usage(self):
        self.run_tool("segment", expect=USAGE)
        self.run_tool("segment", "verify", expect=USAGE)
        self.run_tool("segment", "mend", self.file, expect=USAGE)


if __name__ == "__main__":
    main()
