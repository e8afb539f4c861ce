"""Turn a recording into a trace: leave out what does not count, and digest the rest while it is what was read."""

import heapq
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.observation.environment_files import environment_files
from mlflow_plugin.observation.files import GONE, Files, ObservedFile
from mlflow_plugin.observation.hub import HubFile, branch_of, hub_file, hub_reference, is_in_hub
from mlflow_plugin.observation.listings import Listings
from mlflow_plugin.observation.places import Places, plain_path
from mlflow_plugin.observation.policy import Filter, Policy, counts_as_variable, is_temporary
from mlflow_plugin.observation.recording import Opening, Recording
from mlflow_plugin.observation.trace import MOST_FILES, HubRevision, Trace
from mlflow_plugin.progress import report_periodically
from mlflow_plugin.project.digests import file_digest, known_digest
from mlflow_plugin.project.file_code import file_code_digest

__all__ = ["Policy", "trace_of"]

MOST_ABSENT = 2_000
MOST_WROTE = 10_000
_GRAIN = 10_000_000
"""Nanoseconds within which two changes of a file may have one time: a tick of the kernel's clock, 4 to 10 ms."""
_COARSE_GRAIN = 2_000_000_000
"""The same for file systems that keep whole seconds."""
_SECOND = 1_000_000_000
_WORTH_A_REPORT = 100_000_000
_PYC = re.compile(r"(.*?)(?:/__pycache__)?/([^/]+?)(?:\.[\w-]+-\d+(?:\.opt-\d)?)?\.py[co](?:\.\d+)?", re.DOTALL)


# `pkgutil.extend_path` looks for `NAME.pkg` in each folder of `sys.path`, GitPython and MLflow look for these others in
# the project when a model is logged, and torch for the last two, which it has made up.
_LOOKED_FOR_BY_PACKAGES = {"HEAD", "commondir", "gitdir", "uv.lock", "_ops.py", "_classes.py"}
# Libraries ask if a URI such as `runs:/...` or `s3://...` is a file.
_URI = re.compile(r"[\w+.-]+:/")


class _Candidate(NamedTuple):
    """A file that counts, before it is digested."""

    name: str
    path: str
    opening: Opening | None
    python: bool
    rewritten: bool


def trace_of(
    recording: Recording,
    policy: Policy,
    places: Places,
    *,
    run_started_ns: int | None = None,
    earlier: Trace | None = None,
) -> Trace:
    """Return the trace of a recording. Digests every file that counts, which for large files takes a while.

    Args:
        recording: What was seen.
        policy: What counts.
        places: The folders of the user.
        run_started_ns: The beginning of the run, in nanoseconds since 1970. Modules whose opening was not seen must be
            older.
        earlier: The trace of the segment that this run resumes. Files that it read and this run writes are kept as
            this run left them. The result still has to be `earlier.merged(...)`.
    """
    if policy.observe == "none" or recording.coverage == "none":
        return Trace("none", unseen=recording.unseen)
    return _Tracer(_without_dots(recording), policy, places, run_started_ns).trace(earlier)


class _Tracer:
    def __init__(self, recording: Recording, policy: Policy, places: Places, started_ns: int | None) -> None:
        self._recording, self._policy, self._places = recording, policy, places
        self._started_ns = started_ns
        self._filter = Filter(policy, places, seen=(*recording.read, *recording.modules))
        self._written = self._names(recording.written)
        self._listings = Listings(recording, self._filter)
        self._changed: set[str] = set()
        self._uncompared: dict[str, str] = {}
        self._hub: dict[str, HubRevision] = {}

    def trace(self, earlier: Trace | None) -> Trace:
        candidates = self._candidates()
        kept = heapq.nsmallest(MOST_FILES, candidates.values(), key=lambda one: (os.path.isabs(one.name), one.name))
        files = self._digested(kept)
        if earlier:
            files += self._continued(earlier, candidates)
        folders = self._listings.folders()
        references = self._references()
        recording = self._recording
        return Trace(
            coverage=recording.coverage,
            files=Files.of(files),
            absent=self._absent({file.name for file in files}),
            folders=tuple(folders),
            variables={
                name: digest
                for name, digest in sorted(recording.variables.items())
                if counts_as_variable(name, self._places)
            },
            packages=dict(sorted(recording.packages.items())),
            environment_files=environment_files(self._places.project),
            references=references,
            hub=dict(sorted(self._hub.items())),
            peers=tuple(sorted(recording.peers - self._policy.known_peers)),
            unseen=tuple(recording.unseen),
            changed_while_read=tuple(sorted(self._changed | self._listings.changed)),
            uncompared=dict(sorted(self._uncompared.items())),
            left_out=len(candidates) - len(kept),
            wrote=tuple(heapq.nsmallest(MOST_WROTE, self._lasting(), key=_nearness)),
        )

    # --- files ---

    def _candidates(self) -> dict[str, _Candidate]:
        """The files that count, by name. A file that was opened by several paths counts once."""
        found: dict[str, _Candidate] = {}
        text = self._names(self._recording.text)
        code = self._names(map(plain_path, self._policy.code_files))
        for path, opening in self._openings():
            if file := hub_file(path):
                self._take_in_hub(file)
            if is_in_hub(path) or (name := self._filter.counted_name(path)) is None:
                continue
            as_text = name in text
            if name in code and not (as_text and path.endswith(".py")):
                continue
            before = found.get(name)
            python = path.endswith(".py") and not as_text and (before is None or before.python)
            opening = before.opening if before and before.opening else opening
            found[name] = _Candidate(name, path, opening, python, name in self._written)
        return found

    def _names(self, paths: Iterable[str]) -> set[str]:
        return {name for path in paths if (name := self._filter.counted_name(path))}

    def _take_in_hub(self, file: HubFile) -> None:
        if self._policy.observe == "all" and file.repository not in self._hub:
            self._hub[file.repository] = HubRevision(file.revision, branch_of(file))

    def _references(self) -> dict[str, str]:
        """The references of the tracking store; those of a model hub go where they belong."""
        references = {}
        for uri, meant in sorted(self._recording.references.items()):
            if file := hub_reference(uri, meant):
                self._take_in_hub(file)
            else:
                references[uri] = meant
        return references

    def _openings(self) -> Iterable[tuple[str, Opening | None]]:
        for path, opening in self._recording.read.items():
            source = _source_of(path)
            yield (path, opening) if source is None else (source, self._recording.read.get(source))
        for path in self._recording.modules:
            path = _source_of(path) or path
            # Some packages give made-up files to modules that they build in memory.
            if path not in self._recording.read and _is_there(path):
                yield path, None

    def _digested(self, candidates: list[_Candidate]) -> list[ObservedFile]:
        total = sum(one.opening.size for one in candidates if one.opening)
        worth = total > _WORTH_A_REPORT or len(candidates) > 5_000
        done = 0

        def describe() -> str:
            return f"digesting what was read: {done:,} of {len(candidates):,} files, {total / 1e9:.1f} GB in all"

        files = []
        with report_periodically(describe) if worth else nullcontext():
            for candidate in candidates:
                if file := self._observed(candidate):
                    files.append(file)
                done += 1
        return files

    def _continued(self, earlier: Trace, candidates: Mapping[str, _Candidate]) -> Iterator[ObservedFile]:
        """Files that an earlier segment read, and that this one changed without reading them."""
        for file in earlier.files:
            path = self._places.place_of(file.name).path
            if path and file.name in self._written and file.name not in candidates:
                now = self._observed(_Candidate(file.name, path, None, file.python, rewritten=True))
                if now and now.digest != file.digest:
                    yield now._replace(also=tuple(sorted(file.accepted)))

    def _observed(self, one: _Candidate) -> ObservedFile | None:
        """One file with its digest, None where it has none: the reason is in the other columns."""
        try:
            before = os.stat(one.path)
        except (FileNotFoundError, NotADirectoryError):
            return self._gone(one)
        except (OSError, ValueError) as error:
            self._uncompared[one.name] = getattr(error, "strerror", None) or str(error)
            return None
        if not stat.S_ISREG(before.st_mode):
            if not stat.S_ISDIR(before.st_mode):
                self._uncompared[one.name] = "is not a regular file"
            return None
        # The memory of digests holds one state of a file: ask for the earlier one before the present one is digested.
        then = self._digest_then(one)
        try:
            digest = file_code_digest(one.path) if one.python else file_digest(Path(one.path))
            after = os.stat(one.path)
        except (PhaseError, OSError):
            self._uncompared[one.name] = "could not be read afterwards"
            return None
        if _state(after) != _state(before) or not self._is_what_was_read(one, before, digest, then):
            self._changed.add(one.name)
            return None
        rewritten = one.rewritten and one.opening is not None and _state(before) != one.opening[:4]
        return ObservedFile(one.name, before.st_size, digest, one.python, (then or digest,) if rewritten else ())

    def _is_what_was_read(self, one: _Candidate, status: os.stat_result, digest: str, then: str | None) -> bool:
        """True when the file is certainly as it was when it was opened, or was changed by the run itself."""
        if one.rewritten:
            return True
        if one.opening is None:
            newest = max(status.st_mtime_ns, status.st_ctime_ns)
            return self._started_ns is None or newest < self._started_ns
        # Otherwise it was touched, or replaced by equal bytes.
        return not _is_racy(one.opening) if _state(status) == one.opening[:4] else then == digest

    def _gone(self, one: _Candidate) -> ObservedFile | None:
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
            return self._observed(_Candidate(name, archive, None, python=False, rewritten=one.rewritten))
        if not temporary:
            self._changed.add(one.name)
        return None

    def _digest_then(self, one: _Candidate) -> str | None:
        """The digest that a file had at its opening, where the memory of digests knows it."""
        return None if one.python or not one.opening else known_digest(Path(one.path), *one.opening[:4])

    def _lasting(self) -> list[str]:
        """The names of files that the run made, without temporary ones: no later segment reads these."""
        return [name for name in self._written if not (os.path.isabs(name) and is_temporary(name))]

    # --- paths that were not there ---

    def _absent(self, files: set[str]) -> tuple[str, ...]:
        names = set()
        for path in self._recording.absent:
            if path.endswith(".pkg") or os.path.basename(path) in _LOOKED_FOR_BY_PACKAGES:
                continue
            name = None if is_in_hub(path) else self._filter.counted_name(path)
            if name is None or name in files or name in self._written or _URI.match(name):
                continue
            if os.path.isabs(name) and is_temporary(path):
                continue
            if not os.path.lexists(path):
                names.add(name)
            elif not self._listings.was_made(path):
                self._changed.add(name)
        return tuple(sorted(heapq.nsmallest(MOST_ABSENT, names, key=_nearness)))


def _is_there(path: str) -> bool:
    """Return whether a module's file exists, be it in an archive."""
    while path and not os.path.exists(path):
        path = os.path.dirname(path)
        if os.path.isdir(path):
            return False
    return bool(path)


def _without_dots(recording: Recording) -> Recording:
    """The recording with every path in its plain form: `/project/./data/../rows.csv` is `/project/rows.csv`."""
    return replace(
        recording,
        read={plain_path(path): opening for path, opening in recording.read.items()},
        listed={plain_path(path): mtime_ns for path, mtime_ns in recording.listed.items()},
        written=frozenset(map(plain_path, recording.written)),
        absent=frozenset(map(plain_path, recording.absent)),
        text=frozenset(map(plain_path, recording.text)),
        modules=frozenset(map(plain_path, recording.modules)),
    )


def _source_of(path: str) -> str | None:
    """The source of a compiled module, None for any other file and for one without source."""
    if not path.endswith((".pyc", ".pyo")) and ".pyc." not in path[-40:]:
        return None
    match = _PYC.fullmatch(path)
    source = f"{match[1]}/{match[2]}.py" if match else ""
    return source if os.path.isfile(source) else None


def _state(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _is_racy(opening: Opening) -> bool:
    """True when the file was changed so shortly before its opening that a later change may have the same time."""
    grain = _COARSE_GRAIN if opening.ctime_ns % _SECOND == 0 else _GRAIN
    # A time of modification can be set at will, also in the future; then the time of change tells.
    modified = opening.mtime_ns if opening.mtime_ns <= time.time_ns() else 0
    return max(modified, opening.ctime_ns) > opening.opened_ns - grain


def _nearness(name: str) -> tuple[bool, int, str]:
    """Sorts names from the project's folder outwards."""
    return os.path.isabs(name), name.count("/"), name
