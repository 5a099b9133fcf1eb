# SPDX-License-Identifier: Apache-2.0
"""Help, usage errors and manual pages agree with the program."""

import re
import shutil
import subprocess

from tool import PROGRAM, SOURCE, USAGE, ToolTest, main

MAN = SOURCE / "man"


def spoken(page):
    """The page's text with the escapes and macros of long options resolved."""
    text = page.read_text(encoding="utf-8")
    return re.sub(r"Fl Fl ", "--", text)


class HelpTest(ToolTest):
    def commands(self):
        return self.run_tool("--commands").text.split()

    def test_every_command_has_help_and_a_page(self):
        overview = self.run_tool("--help").text
        about = spoken(MAN / "cascade.1")
        for command in self.commands():
            with self.subTest(command=command):
                self.assertRegex(overview, rf"(?m)^  {command} ")
                self.assertRegex(about, rf"(?m)^\.It Cm .*\b{command}\b")
                self.assertIn(f"cascade-{command} 1", about)
                text = self.run_tool(command, "--help").text
                self.assertEqual(text, self.run_tool("help", command).text)
                self.assertTrue(text.startswith(f"Usage: cascade {command} "))

    def test_every_option_is_in_the_page(self):
        for command in self.commands():
            page = spoken(MAN / f"cascade-{command}.1")
            text = self.run_tool(command, "--help").text
            options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text))
            self.assertIn("--help", options)
            for option in options:
                with self.subTest(command=command, option=option):
                    self.assertRegex(page, rf"(?m)^\.It .*{option}(?![a-z-])")

    def test_every_option_in_a_page_is_in_the_help(self):
        for command in self.commands():
            page = spoken(MAN / f"cascade-{command}.1")
            text = self.run_tool(command, "--help").text
            for option in re.findall(r"(?m)^\.It .*(--[a-z][a-z-]*)", page):
                with self.subTest(command=command, option=option):
                    self.assertRegex(text, rf"{option}(?![a-z-])")

    def test_usage_errors(self):
        self.run_tool(expect=USAGE)
        self.run_tool("nothing", expect=USAGE)
        self.run_tool("help", "nothing", expect=USAGE)
        for command in self.commands():
            result = self.run_tool(command, "--nothing", expect=USAGE)
            self.assertIn(f"cascade {command}", result.errors)
            self.assertEqual(result.text, "")

    def test_a_full_device_is_noticed(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                [PROGRAM, "--help"], stdout=full,
                stderr=subprocess.PIPE, check=False,
            )
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"standard output", done.stderr)


class PagesTest(ToolTest):
    def test_every_public_function_has_a_page(self):
        names = set()
        for page in MAN.glob("*.3"):
            names |= set(re.findall(r"(?m)^\.Nm (\w+)", page.read_text()))
        declared = set()
        for header in (SOURCE / "include/cascade").glob("*.h"):
            text = re.sub(r"//[^\n]*", "", header.read_text())
            declared |= set(
                re.findall(r"CASCADE_API[^;{#]*?\b(cascade_\w+)\(", text)
            )
        self.assertGreater(len(declared), 30)
        self.assertEqual(names, declared)

    def test_references_lead_somewhere(self):
        ours = {page.name for page in MAN.iterdir()}
        # A page is found by each name that it describes.
        for page in MAN.glob("*.3"):
            names = re.findall(r"(?m)^\.Nm (\w+)", page.read_text())
            ours |= {f"{name}.3" for name in names}
        for page in MAN.iterdir():
            for name, section in re.findall(r"(?m)^\.Xr (\S+) (\d)",
                                            page.read_text()):
                if name.startswith("cascade"):
                    self.assertIn(f"{name}.{section}", ours, page.name)

    def test_the_formatter_has_no_complaint(self):
        groff = shutil.which("groff")
        if groff is None:
            self.skipTest("groff is not installed")
        pages = sorted(MAN.iterdir())
        for page in pages:
            done = subprocess.run(
                [groff, "-mandoc", "-Tutf8", "-ww", "-z", page],
                capture_output=True, check=False,
            )
            self.assertEqual((page.name, done.returncode, done.stderr),
                             (page.name, 0, b""))


if __name__ == "__main__":
    main()
