"""Turn a recording into a trace: leave out what does not count, and digest the rest while it is what was read."""

import heapq
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from mlflow_plugin.observation.environment_files import environment_files
from mlflow_plugin.observation.file_digests import Candidate, FileDigests
from mlflow_plugin.observation.files import Files, ObservedFile
from mlflow_plugin.observation.hub import HubFile, branch_of, hub_file, hub_reference, is_in_hub
from mlflow_plugin.observation.listings import Listings
from mlflow_plugin.observation.places import Places, plain_path
from mlflow_plugin.observation.policy import Filter, Policy, is_temporary
from mlflow_plugin.observation.recording import Opening, Recording
from mlflow_plugin.observation.trace import MOST_FILES, HubRevision, Trace
from mlflow_plugin.observation.variables import counts_as_variable

__all__ = ["Policy", "trace_of"]

MOST_ABSENT = 2_000
MOST_WROTE = 10_000
_PYC = re.compile(r"(.*?)(?:/__pycache__)?/([^/]+?)(?:\.[\w-]+-\d+(?:\.opt-\d)?)?\.py[co](?:\.\d+)?", re.DOTALL)

_LOOKED_FOR_BY_PACKAGES = {"HEAD", "commondir", "gitdir", "uv.lock", "_ops.py", "_classes.py"}
"""Names that packages look for in the project on their own account: no result depends on them.

GitPython and MLflow look for the first four when a model is logged; torch gives the last two to modules in memory.
`pkgutil.extend_path` looks for `NAME.pkg` besides. The caller cannot tell them from look-ups that count: python-dotenv,
hydra and transformers look for optional files of the user. Nor is the caller known for nothing: `os.stat` raises no
audit event, and a wrapper around it in Python adds a tenth to every call.
"""
_URI = re.compile(r"[\w+.-]+:/")
"""Libraries ask if a URI such as `runs:/...` or `s3://...` is a file."""


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
        self._filter = Filter(policy, places, seen=(*recording.read, *recording.modules))
        self._written = self._names(recording.written)
        self._listings = Listings(recording, self._filter)
        self._digests = FileDigests(self._filter, started_ns)
        self._appeared: set[str] = set()
        self._hub: dict[str, HubRevision] = {}

    def trace(self, earlier: Trace | None) -> Trace:
        candidates = self._candidates()
        kept = heapq.nsmallest(MOST_FILES, candidates.values(), key=lambda one: (os.path.isabs(one.name), one.name))
        files = self._digests.observed_files(kept)
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
            changed_while_read=tuple(sorted(self._appeared | self._digests.changed | self._listings.changed)),
            uncompared=dict(sorted(self._digests.uncompared.items())),
            left_out=len(candidates) - len(kept),
            wrote=tuple(heapq.nsmallest(MOST_WROTE, self._lasting(), key=_nearness)),
        )

    # --- files ---

    def _candidates(self) -> dict[str, Candidate]:
        """The files that count, by name. A file that was opened by several paths counts once."""
        found: dict[str, Candidate] = {}
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
            found[name] = Candidate(name, path, opening, python, name in self._written)
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

    def _continued(self, earlier: Trace, candidates: Mapping[str, Candidate]) -> Iterator[ObservedFile]:
        """Files that an earlier segment read, and that this one changed without reading them."""
        for file in earlier.files:
            path = self._places.place_of(file.name).path
            if path and file.name in self._written and file.name not in candidates:
                now = self._digests.observed(Candidate(file.name, path, None, file.python, rewritten=True))
                if now and now.digest != file.digest:
                    yield now._replace(also=tuple(sorted(file.accepted)))

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
                self._appeared.add(name)
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


def _nearness(name: str) -> tuple[bool, int, str]:
    """Sorts names from the project's folder outwards."""
    return os.path.isabs(name), name.count("/"), name
