"""Turn a recording into a trace: leave out what does not count, and digest the rest while it is what was read."""

import heapq
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.observation.calls import calls_of, left_again
from mlflow_plugin.observation.environment_files import environment_files
from mlflow_plugin.observation.file_digests import Candidate, FileDigests
from mlflow_plugin.observation.files import Files, ObservedFile
from mlflow_plugin.observation.hub import HubFile, branch_of, hub_file, hub_reference, is_in_hub
from mlflow_plugin.observation.listings import Listings
from mlflow_plugin.observation.looks import Looks, target_name, target_of
from mlflow_plugin.observation.places import Places, plain_path
from mlflow_plugin.observation.policy import Filter, Policy, is_temporary
from mlflow_plugin.observation.recording import Opening, Recording
from mlflow_plugin.observation.trace import MOST_FILES, HubRevision, Trace
from mlflow_plugin.observation.variables import counts_as_variable
from mlflow_plugin.project.docstrings import read_everywhere
from mlflow_plugin.project.file_code import python_summary_of
from mlflow_plugin.project.own_code import is_below

__all__ = ["Policy", "trace_of"]

MOST_ABSENT = 20_000
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
    recording = _without_overwritten(_without_dots(recording))
    return _Tracer(recording, policy, places, run_started_ns).trace(earlier)


class _Tracer:
    def __init__(self, recording: Recording, policy: Policy, places: Places, started_ns: int | None) -> None:
        self._recording, self._policy, self._places = recording, policy, places
        self._filter = Filter(policy, places, seen=(*recording.read, *recording.modules))
        self._written = self._names(recording.written)
        self._listings = Listings(recording, self._filter)
        self._digests = FileDigests(self._filter, started_ns, recording.began_ns)
        self._appeared: set[str] = set()
        self._dangling: dict[str, str] = {}
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
        absent, not_kept = self._absent({file.name for file in files})
        known = {*candidates, *self._written, *self._names(map(plain_path, self._policy.code_files))}
        looks = Looks(recording, self._filter, self._places, known)
        return Trace(
            coverage=recording.coverage,
            files=Files.of(files),
            absent=absent,
            there=looks.there,
            sizes=looks.sizes,
            links={**self._dangling, **looks.links, **self._links()},
            folders=tuple(folders),
            gone_too=tuple(sorted(self._listings.gone_too)),
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
            looks_left_out=not_kept + looks.left_out,
            wrote=tuple(heapq.nsmallest(MOST_WROTE, self._lasting(), key=_nearness)),
            partly=tuple(dict.fromkeys(recording.partly)),
            calls=calls_of(recording.calls, self._places),
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
            if path.endswith("-shm") and path.removesuffix("-shm") in self._recording.read:
                continue  # SQLite's index of the log of a database, and its list of those who read it.
            as_text = name in text
            if name in code and not (as_text and path.endswith(".py")):
                continue
            before = found.get(name)
            python = path.endswith(".py") and not as_text and (before is None or before.python)
            opening = before.opening if before and before.opening else opening
            place = self._listings.place_now(path)
            rewritten = name in self._written or (place != path and place in self._recording.written)
            may_be_gone = place != path or path in self._recording.filled or path in self._recording.removed
            found[name] = Candidate(name, place, opening, python, rewritten, may_be_gone)
        return {**found, **self._documented(found)}

    def _documented(self, found: Mapping[str, Candidate]) -> dict[str, Candidate]:
        """The modules whose docstrings or comments are read, by themselves or by other code: they count by bytes."""
        modules = {name: _summary(one.path) for name, one in found.items() if one.python}
        if not modules:
            return {}
        code = [_summary(path) for path in self._policy.code_files if path.endswith(".py")]
        everywhere = read_everywhere([*code, *modules.values()])
        return {
            name: found[name]._replace(python=False)
            for name, summary in modules.items()
            if everywhere or summary.get("docs")
        }

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
        for path in self._recording.filled:
            # A folder is none of them; what is not there any more counts by its absence.
            if path not in self._recording.listed:
                yield path, None
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

    def _links(self) -> dict[str, str]:
        """The links behind which paths went on; one that leads to the project is another way to the same place."""
        links, project = self._recording.links, os.path.abspath(self._places.project)
        return {
            name: target_name(links[path], self._places)
            for path in sorted(links)
            if not is_below(project, path) and (name := self._filter.counted_name(path))
        }

    # --- paths that were not there ---

    def _absent(self, files: set[str]) -> tuple[tuple[str, ...], int]:
        """The paths that were not there, and how many of them are too many to be kept."""
        names = set()
        searched = _searched_for_programs()
        for path in self._recording.absent:
            if path.endswith(".pkg") or os.path.basename(path) in _LOOKED_FOR_BY_PACKAGES:
                continue
            name = None if is_in_hub(path) else self._filter.counted_name(path)
            if name is None or name in files or name in self._written or _URI.match(name):
                continue
            if os.path.isabs(name) and (is_temporary(path) or os.path.dirname(path) in searched):
                continue
            # A link that leads nowhere is not there, as it was then.
            if not os.path.exists(path):
                names.add(name)
                if (target := target_of(path, self._places)) is not None:
                    self._dangling[name] = target
            elif not self._listings.was_made(path):
                self._appeared.add(name)
        kept = sorted(heapq.nsmallest(MOST_ABSENT, names, key=_nearness))
        return tuple(kept), len(names) - len(kept)


def _searched_for_programs() -> set[str]:
    """Return the folders in which programs are looked for by name: those that are not there say nothing."""
    return {os.path.abspath(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder}


def _summary(path: str) -> Mapping[str, Any]:
    """Return the summary of a Python file; nothing where it cannot be read."""
    try:
        return python_summary_of(path)
    except PhaseError:
        return {}


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
        listed={plain_path(path): listing for path, listing in recording.listed.items()},
        written=frozenset(map(plain_path, recording.written)),
        filled=frozenset(map(plain_path, recording.filled)),
        folders=frozenset(map(plain_path, recording.folders)),
        moved={plain_path(path): plain_path(to) for path, to in recording.moved.items()},
        removed=frozenset(map(plain_path, recording.removed)),
        links={plain_path(path): to for path, to in recording.links.items()},
        asked_links={plain_path(path): to for path, to in recording.asked_links.items()},
        absent=frozenset(map(plain_path, recording.absent)),
        looked={plain_path(path): size for path, size in recording.looked.items()},
        kept=frozenset(map(plain_path, recording.kept)),
        text=frozenset(map(plain_path, recording.text)),
        modules=frozenset(map(plain_path, recording.modules)),
    )


def _without_overwritten(recording: Recording) -> Recording:
    """Leave out the files that one step after another left: the result of each of these steps counts in their place."""
    left = left_again(recording.calls)
    if not left:
        return recording
    own = {path for path, opening in recording.read.items() if path in left and opening.opened_ns >= left[path]}
    read = {path: opening for path, opening in recording.read.items() if path not in own}
    return replace(recording, read=read, absent=recording.absent - left.keys())


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
