"""Digest files that a phase read, as long as they are what was read."""

import os
import stat
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.observation.files import GONE, ObservedFile
from mlflow_plugin.observation.policy import Filter, is_temporary
from mlflow_plugin.observation.recording import Opening
from mlflow_plugin.progress import report_periodically
from mlflow_plugin.project.digests import file_digest, known_digest
from mlflow_plugin.project.file_code import file_code_digest

_GRAIN = 10_000_000
"""Nanoseconds within which two changes of a file may have one time: a tick of the kernel's clock, 4 to 10 ms."""
_COARSE_GRAIN = 2_000_000_000
"""The same for file systems that keep whole seconds."""
_SECOND = 1_000_000_000
_WORTH_A_REPORT = 100_000_000


class Candidate(NamedTuple):
    """A file that counts, before it is digested."""

    name: str
    path: str
    opening: Opening | None
    python: bool
    rewritten: bool


class FileDigests:
    """Digests the files of one recording.

    Args:
        paths: Tells which files count.
        started_ns: The beginning of the run, in nanoseconds since 1970.

    Attributes:
        changed: Names of files that another process changed while the run used them.
        uncompared: Name of a file that has no digest -> the reason.
    """

    def __init__(self, paths: Filter, started_ns: int | None) -> None:
        self._filter, self._started_ns = paths, started_ns
        self.changed: set[str] = set()
        self.uncompared: dict[str, str] = {}

    def observed_files(self, candidates: Sequence[Candidate]) -> list[ObservedFile]:
        """Return the candidates that have a digest, and say how far it is where that takes a while."""
        total = sum(one.opening.size for one in candidates if one.opening)
        worth = total > _WORTH_A_REPORT or len(candidates) > 5_000
        done = 0

        def describe() -> str:
            return f"digesting what was read: {done:,} of {len(candidates):,} files, {total / 1e9:.1f} GB in all"

        files = []
        with report_periodically(describe) if worth else nullcontext():
            for candidate in candidates:
                if file := self.observed(candidate):
                    files.append(file)
                done += 1
        return files

    def observed(self, one: Candidate) -> ObservedFile | None:
        """Return one file with its digest, None where it has none: the attributes tell the reason."""
        try:
            before = os.stat(one.path)
        except (FileNotFoundError, NotADirectoryError):
            return self._gone(one)
        except (OSError, ValueError) as error:
            self.uncompared[one.name] = getattr(error, "strerror", None) or str(error)
            return None
        if not stat.S_ISREG(before.st_mode):
            if not stat.S_ISDIR(before.st_mode):
                self.uncompared[one.name] = "is not a regular file"
            return None
        # The memory of digests holds one state of a file: ask for the earlier one before the present one is digested.
        then = self._digest_then(one)
        try:
            digest = file_code_digest(one.path) if one.python else file_digest(Path(one.path))
            after = os.stat(one.path)
        except (PhaseError, OSError):
            self.uncompared[one.name] = "could not be read afterwards"
            return None
        if _state(after) != _state(before) or not self._is_what_was_read(one, before, digest, then):
            self.changed.add(one.name)
            return None
        rewritten = one.rewritten and one.opening is not None and _state(before) != one.opening[:4]
        return ObservedFile(one.name, before.st_size, digest, one.python, (then or digest,) if rewritten else ())

    def _is_what_was_read(self, one: Candidate, status: os.stat_result, digest: str, then: str | None) -> bool:
        """True when the file is certainly as it was when it was opened, or was changed by the run itself."""
        if one.rewritten:
            return True
        if one.opening is None:
            newest = max(status.st_mtime_ns, status.st_ctime_ns)
            return self._started_ns is None or newest < self._started_ns
        # Otherwise it was touched, or replaced by equal bytes.
        return not _is_racy(one.opening) if _state(status) == one.opening[:4] else then == digest

    def _gone(self, one: Candidate) -> ObservedFile | None:
        """A file that is not there any more: its absence is what the run left, or another process removed it."""
        temporary = is_temporary(one.path) and os.path.isabs(one.name)
        if one.rewritten and not temporary:
            then = self._digest_then(one)
            return ObservedFile(one.name, one.opening.size if one.opening else 0, GONE, also=(then or GONE,))
        archive = os.path.dirname(one.path)
        while archive != os.path.dirname(archive) and not os.path.exists(archive):
            archive = os.path.dirname(archive)
        if os.path.isfile(archive) and (name := self._filter.counted_name(archive)):
            # A module inside a zip archive.
            return self.observed(Candidate(name, archive, None, python=False, rewritten=one.rewritten))
        if not temporary:
            self.changed.add(one.name)
        return None

    def _digest_then(self, one: Candidate) -> str | None:
        """The digest that a file had at its opening, where the memory of digests knows it."""
        return None if one.python or not one.opening else known_digest(Path(one.path), *one.opening[:4])


def _state(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _is_racy(opening: Opening) -> bool:
    """True when the file was changed so shortly before its opening that a later change may have the same time."""
    grain = _COARSE_GRAIN if opening.ctime_ns % _SECOND == 0 else _GRAIN
    # A time of modification can be set at will, also in the future; then the time of change tells.
    modified = opening.mtime_ns if opening.mtime_ns <= time.time_ns() else 0
    return max(modified, opening.ctime_ns) > opening.opened_ns - grain
