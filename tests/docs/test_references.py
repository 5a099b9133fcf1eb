# SPDX-License-Identifier: Apache-2.0
"""What the documents point at exists: relative links, and in FAILURES.md each
test, program and case.

A test there is written `program` › `case`, `case`: see the head of that page.
"""

import re
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["*.md", "docs/**/*.md", "src/*/README.md"]
FAILURES = ROOT / "docs/FAILURES.md"
PYTHON_TESTS = ["bindings/python/tests", "tests/tools", "tests/bench", "tests/docs",
                "tests/manners"]
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"```.*?```", re.DOTALL)
CLUSTER = ROOT / "tests/cluster/CMakeLists.txt"
TOKEN = re.compile(r"`([^`]+)`|(›)|(;)|(\(tools\))")


def broken_links(text, folder):
    for target in LINK.findall(CODE.sub("", text)):
        path = target.split("#")[0]
        if path and not re.match(r"[a-z]+:", path) and not (folder / path).exists():
            yield target


def sources_of(name):
    """The files that may hold the cases of a test program, or none."""
    if name.endswith(".py"):
        found = [ROOT / folder / name for folder in PYTHON_TESTS]
        return [path for path in found if path.is_file()]
    examples = [ROOT / f"examples/{name}{ending}" for ending in (".c", ".py")]
    if any(path.is_file() for path in examples):
        return [path for path in examples if path.is_file()]
    folder, _, rest = name.partition("_")
    if folder == "cluster":  # under a launcher, by the names of CMake
        added = re.compile(rf"cascade_add_\w+\({re.escape(rest)}[ )]")
        return [CLUSTER] if added.search(CLUSTER.read_text(encoding="utf-8")) else []
    source = ROOT / f"tests/{folder}/test_{rest}.c"
    if not rest or not source.is_file():
        return []
    helpers = source.parent.glob("*.c")
    return [source] + [h for h in helpers if not h.name.startswith("test_")]


def has_case(path, case):
    text = path.read_text(encoding="utf-8")
    name = re.escape(case)
    if path.suffix == ".py":
        return re.search(rf"^\s*def {name}\(", text, re.MULTILINE) is not None
    return re.search(rf'^{name}\(|"{name}"', text, re.MULTILINE) is not None


def missing_tests(cell):
    """What a cell of the column "test" names and is not there."""
    program, sources, cases = None, [], False
    tokens = list(TOKEN.finditer(cell))
    for at, match in enumerate(tokens):
        name, arrow, end, _ = match.groups()
        if arrow:
            cases = True
        elif end:
            cases = False
        elif name and cases and not sources_of(name):
            if not any(has_case(path, name) for path in sources):
                yield f"{program} › {name}"
        elif name:
            program, sources, cases = name, sources_of(name), False
            if at + 1 < len(tokens) and tokens[at + 1].group(4):
                sources = [p for p in sources if p.parent.name == "tools"]
            if not sources:
                yield name


def test_cells(text):
    for number, line in enumerate(text.splitlines(), 1):
        cells = line.strip().strip("|").split(" | ")
        if line.startswith("|") and len(cells) == 3 and "---" not in cells[0]:
            yield number, cells[2]


class References(unittest.TestCase):
    def test_links(self):
        pages = {page for pattern in PAGES for page in ROOT.glob(pattern)}
        self.assertGreater(len(pages), 10)
        broken = [
            f"{page.relative_to(ROOT)}: {target}"
            for page in sorted(pages)
            for target in broken_links(page.read_text(encoding="utf-8"), page.parent)
        ]
        self.assertEqual(broken, [])

    def test_failures_name_tests_that_exist(self):
        cells = list(test_cells(FAILURES.read_text(encoding="utf-8")))
        self.assertGreater(len(cells), 30)
        missing = [
            f"line {number}: {name}"
            for number, cell in cells
            for name in missing_tests(cell)
        ]
        self.assertEqual(missing, [])

    def test_what_is_missing_is_noticed(self):
        self.assertEqual(list(broken_links("[a](no/where.md)", ROOT)), ["no/where.md"])
        self.assertEqual(list(broken_links("[a](https://x/) [b](#c)", ROOT)), [])
        for cell, missing in (
            ("`base_extent` › `random_steps_agree_with_an_array`", 0),
            ("`base_extent` › `random_steps`", 1),
            ("`base_nothing` › `a`, `b`", 3),
            ("`test_store.py` (tools) › `test_rebind_refused_says_so`", 1),
            ("`test_store.py` › `test_rebind_refused_says_so`; `base_pool`", 0),
            ("`cluster_store`; `cluster_nothing`", 1),
        ):
            self.assertEqual(len(list(missing_tests(cell))), missing, cell)


if __name__ == "__main__":
    unittest.main()
