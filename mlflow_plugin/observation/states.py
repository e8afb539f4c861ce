"""The states of many files, from one `os.stat` each, and which of them are as they were at an earlier comparison."""

import hashlib
import marshal
import os
import time
from array import array
from contextlib import suppress
from functools import cached_property
from operator import attrgetter

_CLEAN_NANOSECONDS = 2_000_000_000
_FIELDS = attrgetter("st_mtime_ns", "st_ctime_ns", "st_size", "st_ino", "st_dev")
_UNKNOWN = 0


class States:
    """The states of files or folders, None for one that cannot be looked at.

    Attributes:
        signature: A digest of all states; empty when one is missing.
    """

    def __init__(self, fields: list[tuple[int, ...] | None]) -> None:
        self._fields = fields
        # `marshal` is the fastest of the standard library; its version 2 writes equal numbers in equal bytes.
        self.signature = "" if None in fields else hashlib.sha256(marshal.dumps(fields, 2)).hexdigest()

    @classmethod
    def of(cls, paths: list[str]) -> "States":
        """Return the states of the files at some paths."""
        try:
            return cls(list(map(_FIELDS, map(os.stat, paths))))
        except (OSError, ValueError):
            return cls([_state(path) for path in paths])

    def unchanged_since(self, value: str) -> list[bool]:
        """Return for each file, True when it was unchanged then and has the same state now.

        Args:
            value: From `remembered_as` of the same paths, or anything else.
        """
        earlier = array("q")
        with suppress(ValueError):
            earlier.frombytes(bytes.fromhex(value))
        if len(earlier) != len(self._fields):
            return [False] * len(self._fields)
        return [one == other != _UNKNOWN for one, other in zip(earlier, self._hashes, strict=True)]

    def remembered_as(self, unchanged: list[bool]) -> tuple[str, str]:
        """Return what to remember: the signature if all files are unchanged, and the states of those that are.

        A file that was changed within the last two seconds is left out: a further change could have the same time.
        """
        newest = time.time_ns() - _CLEAN_NANOSECONDS
        clean = [
            same and field is not None and max(field[0], field[1]) < newest
            for same, field in zip(unchanged, self._fields, strict=True)
        ]
        kept = array("q", [one if same else _UNKNOWN for one, same in zip(self._hashes, clean, strict=True)])
        return self.signature if all(clean) else "", kept.tobytes().hex()

    @cached_property
    def _hashes(self) -> list[int]:
        # The hash of a tuple of numbers is the same in every process.
        return [_UNKNOWN if field is None else hash(field) for field in self._fields]


def _state(path: str) -> tuple[int, ...] | None:
    try:
        return _FIELDS(os.stat(path))
    except (OSError, ValueError):
        return None
