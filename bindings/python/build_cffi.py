# SPDX-License-Identifier: Apache-2.0
"""Writes the C source of cascade._cascade from the public headers.

    build_cffi.py INCLUDE_DIRECTORY OUTPUT.c

The declarations are read from the headers themselves, so that the binding
cannot drift from the contract; the compiler then checks every size and type.
cascade._cascade is the raw C interface; its users are the other modules here.
"""

import pathlib
import re
import sys

import cffi

HEADERS = ("cascade/status.h", "cascade/cascade.h")
HERE = pathlib.Path(__file__).resolve().parent


def declarations(text: str) -> str:
    """What is left of a header when the preprocessor's part is taken out."""
    text = re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.DOTALL)
    text = re.sub(r"#ifdef __cplusplus.*?#endif", "", text, flags=re.DOTALL)
    text = text.replace("\\\n", " ")
    lines = []
    for line in text.splitlines():
        if not line.lstrip().startswith("#"):
            lines.append(line)
            continue
        number = re.fullmatch(r"#define (CASCADE_\w+) (\d+)\s*", line)
        expression = re.fullmatch(r"#define (CASCADE_\w+_MAX) (.+)", line)
        if number:
            lines.append(f"#define {number[1]} {number[2]}")
        elif expression:
            lines.append(f"#define {expression[1]} ...")
    return re.sub(r"\bCASCADE_(API|MUST_USE)\b", "", "\n".join(lines))


def builder(include: pathlib.Path) -> cffi.FFI:
    ffi = cffi.FFI()
    for header in HEADERS:
        ffi.cdef(declarations((include / header).read_text("utf-8")))
    glue = (HERE / "native" / "glue.c").read_text("utf-8")
    ffi.cdef(re.search(r"// CDEF BEGIN\n(.*?)// CDEF END", glue, re.DOTALL)[1])
    ffi.set_source("cascade._cascade", glue, py_limited_api=True)
    return ffi


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    builder(pathlib.Path(sys.argv[1])).emit_c_code(sys.argv[2])
