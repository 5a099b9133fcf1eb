# SPDX-License-Identifier: Apache-2.0
"""The exceptions: one class for each status that is not an answer."""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn

from cascade._cascade import ffi, lib


class Error(Exception):
    """Anything that the store refuses or cannot do.

    `status` is the number of the C interface, `status_name` its name. The text
    names the thing and says what to do.
    """

    status: ClassVar[int] = -1
    #: Set by a batch: what each item came to, errors included.
    results: list[Any] | None = None

    @property
    def status_name(self) -> str:
        if self.status < 0:
            return "ERROR"
        name: bytes = ffi.string(lib.cascade_status_name(self.status))
        return name.decode()


class NotFoundError(Error, LookupError):
    """Something that had to be there is not (a cold path, for example)."""

    status = lib.CASCADE_NOT_FOUND


class ExistsError(Error):
    status = lib.CASCADE_EXISTS


class NoSpaceError(Error):
    """No tier has room now."""

    status = lib.CASCADE_NO_SPACE


class BusyError(Error):
    """In use: views are out, or the queue is full."""

    status = lib.CASCADE_BUSY


class TimeoutError_(Error, TimeoutError):
    """The deadline passed first. After a get the output is unspecified."""

    status = lib.CASCADE_TIMEOUT


class CancelledError(Error):
    status = lib.CASCADE_CANCELLED


class NoMemoryError(Error, MemoryError):
    """The system gave no memory."""

    status = lib.CASCADE_NO_MEMORY


class InvalidError(Error, ValueError):
    """An argument or option is out of its range."""

    status = lib.CASCADE_INVALID


class TooSmallError(Error, ValueError):
    """The output does not hold the block; it is untouched.

    `needed` is the size of the block where it is known.
    """

    status = lib.CASCADE_TOO_SMALL
    needed: int | None = None


class TooLargeError(Error, ValueError):
    """No tier could ever hold the block."""

    status = lib.CASCADE_TOO_LARGE


class UnsupportedError(Error):
    """This build or machine cannot do that."""

    status = lib.CASCADE_UNSUPPORTED


class ForkedError(Error):
    """The store belongs to the parent process; open another one here."""

    status = lib.CASCADE_FORKED


class ClosedError(Error, ValueError):
    """The store is closed."""

    status = lib.CASCADE_CLOSED


class CorruptError(Error):
    """The only copies were damaged; they are forgotten now."""

    status = lib.CASCADE_CORRUPT


class StaleError(Error):
    status = lib.CASCADE_STALE


class IoError(Error):
    """A file or device failed."""

    status = lib.CASCADE_IO


class LockedError(Error):
    """Another live store owns the directory."""

    status = lib.CASCADE_LOCKED


class PermissionError_(Error, PermissionError):
    status = lib.CASCADE_PERMISSION


class VersionError(Error):
    """Written by a newer release."""

    status = lib.CASCADE_VERSION


CLASSES: dict[int, type[Error]] = {
    each.status: each for each in Error.__subclasses__()
}


def sentence(status: int) -> str:
    text: bytes = ffi.string(lib.cascade_status_sentence(status))
    return text.decode("utf-8", "replace")


def error(status: int, text: str | None = None) -> Error:
    """The exception of a status, with `text` or the status' own sentence."""
    return CLASSES.get(status, Error)(text or sentence(status))


def last_error(status: int) -> Error:
    """The exception of the call that failed last on this thread."""
    text: bytes = ffi.string(lib.cascade_error_message())
    return error(status, text.decode("utf-8", "replace"))


def refuse(status: int) -> NoReturn:
    if status == lib.CASCADE_FORKED:
        raise error(status, "the store was opened by the parent process; "
                            "open another one in this process")
    raise error(status, "the store is closed")
