# SPDX-License-Identifier: Apache-2.0
"""Options by name: from Python values to the option table and back."""

from __future__ import annotations

import os
from typing import Any, Union
from collections.abc import Mapping

from cascade._cascade import ffi, lib
from cascade._errors import InvalidError, last_error
from cascade._results import OptionInfo

OptionValue = Union[str, int, float, bool, "os.PathLike[str]", None]

# In the order of enum cascade_option_type.
_OPTION_TYPES = ("bytes", "count", "real", "flag", "word", "text", "time")


def _option_text(name: str, value: Any) -> bytes:
    if isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, float) and value.is_integer():
        text = str(int(value))
    elif isinstance(value, (int, float)):
        text = repr(value)
    elif isinstance(value, (str, os.PathLike)):
        text = os.fspath(value)
    elif hasattr(value, "__index__"):
        text = str(value.__index__())
    else:
        raise TypeError(
            f"option {name}: text or a number, not {type(value).__name__}")
    encoded = os.fsencode(text)
    if b"\0" in encoded:
        raise InvalidError(f"option {name}: the value has a NUL character")
    return encoded


def options_of(values: Mapping[str, Any]) -> Any:
    """Options with the environment and then `values` in them."""
    options = ffi.gc(lib.cascade_options_create(),
                     lib.cascade_options_destroy)
    if options == ffi.NULL:
        raise MemoryError("no memory for the options of a store")
    status = lib.cascade_options_load_environment(options)
    if status != lib.CASCADE_OK:
        raise last_error(status)
    for name, value in values.items():
        if value is None:
            continue
        status = lib.cascade_options_set(options, name.encode(),
                                         _option_text(name, value))
        if status != lib.CASCADE_OK:
            raise last_error(status)
    return options


def options() -> list[OptionInfo]:
    """The option table: what Store() accepts."""
    rows: list[OptionInfo] = []
    while True:
        row = lib.cascade_options_describe(len(rows))
        if row == ffi.NULL:
            return rows
        texts = [
            "" if text == ffi.NULL else ffi.string(text).decode()
            for text in (row.name, row.unit, row.default_text, row.range,
                         row.sentence)
        ]
        rows.append(OptionInfo(texts[0], _OPTION_TYPES[row.type], *texts[1:]))
