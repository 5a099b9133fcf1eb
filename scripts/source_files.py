# SPDX-License-Identifier: Apache-2.0
"""The files of the project, and C text without comments, for the checks."""

import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent

_COMMENT_OR_STRING = re.compile(
    r"""//(?:\\\n|[^\n])*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""",
    re.DOTALL,
)


def project_files():
    """Paths relative to the root: what git tracks or would track."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout
    return sorted(
        name for name in set(listed.split("\0")) if name and (ROOT / name).is_file()
    )


def code_only(text):
    """C text with comments and literals blanked; lines keep their numbers."""

    def blank(match):
        found = match.group(0)
        kept = "".join("\n" if char == "\n" else " " for char in found)
        return '""' + kept[2:] if found[0] == '"' else kept

    return _COMMENT_OR_STRING.sub(blank, text)


def listed(path, fields):
    """Rows of a list file: `fields` words each, then a reason; # comments."""
    rows = []
    for line in (ROOT / path).read_text().splitlines():
        words = line.split(None, fields)
        if words and not line.startswith("#"):
            if len(words) <= fields:
                raise SystemExit(f"{path}: a row needs a reason: {line}")
            rows.append(words)
    return rows
