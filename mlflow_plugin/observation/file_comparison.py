"""Compare the files and folders of a trace with the disk.

Usually nothing has changed since the last comparison. So all files are looked at once (`os.stat`), and one digest of
their sizes, times and inodes tells whether they are as they were when they were last found unchanged. Otherwise those
are compared that have another state than then.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.observation.files import GONE, ListedFolder, ObservedFile, join_name
from mlflow_plugin.observation.folder_comparison import FolderComparison, shown_folder
from mlflow_plugin.observation.look_comparison import compare_looks
from mlflow_plugin.observation.places import Place, Places
from mlflow_plugin.observation.policy import Filter, Policy
from mlflow_plugin.observation.reach import Reach
from mlflow_plugin.observation.readable import readable
from mlflow_plugin.observation.report import Report
from mlflow_plugin.observation.states import States
from mlflow_plugin.observation.trace import Trace
from mlflow_plugin.project.digests import file_digest, keep, recall, value_digest
from mlflow_plugin.project.file_code import file_code_digest
from mlflow_plugin.project.vocabulary import ReadKind

_DIGESTED_TO_TELL_STATES = 64_000_000
_Thing = TypeVar("_Thing", ObservedFile, ListedFolder)


@dataclass(frozen=True)
class _Group:
    """The files of one folder that are compared: the folder's name and path, position and bare name of each file."""

    name: str
    path: str
    positions: Iterable[int]
    bases: Iterable[str]


class FileComparison:
    """Compares files, folders and paths that were not there.

    Args:
        trace: What the run read.
        policy: What counts.
        places: The folders of the user.
        report: Takes in what is found.
        trusted: Files outside the user's folders may be read.
        looked: The states of files at which the caller has looked a moment ago, by their paths; filled here.
    """

    def __init__(
        self,
        trace: Trace,
        policy: Policy,
        places: Places,
        report: Report,
        *,
        trusted: bool,
        looked: dict[tuple[str, ...], States] | None = None,
    ) -> None:
        self._looked = {} if looked is None else looked
        self._trace, self._policy, self._places, self._report = trace, policy, places, report
        self._reach = Reach(trace, places, report, trusted=trusted)
        self._folders = FolderComparison(Filter(policy, places), self._reach, report, trace.gone_too)
        self.compared = 0

    def run(self) -> None:
        """Compare everything, and report what differs."""
        groups = self._groups()
        folders = [(folder, place) for folder in self._trace.folders if (place := self._usable_folder(folder))]
        self._files_and_folders(groups, folders)
        self._absent()
        compare_looks(self._trace, self._places, self._reach, self._report, self._ignores)
        self._remarks()

    # --- what is compared ---

    def _groups(self) -> list[_Group]:
        groups, position = [], 0
        for name, bases in self._trace.files.folders.items():
            first, position = position, position + len(bases)
            place = self._places.place_of(name)
            if self._policy.observe == "project" and not place.own:
                continue
            if not (place.own and place.path) and not self._is_reached(place, name, bases):
                continue
            group = _Group(name, str(place.path), range(first, position), bases)
            groups.append(self._without_ignored(group) if self._policy.ignores_files else group)
        return groups

    def _is_reached(self, place: Place, folder: str, bases: Sequence[str]) -> bool:
        names = [join_name(folder, base) for base in bases]
        if self._reach.may_read(place, names, len(names)):
            return True
        for name in names:
            self._report.row("file", name, "not compared")
        return False

    def _without_ignored(self, group: _Group) -> _Group:
        kept = [
            (position, base)
            for position, base in zip(group.positions, group.bases, strict=True)
            if not self._policy.ignores(join_name(group.name, base), os.path.join(group.path, base))
        ]
        return _Group(group.name, group.path, [position for position, _ in kept], [base for _, base in kept])

    def _usable_folder(self, folder: ListedFolder) -> str | None:
        place = self._places.place_of(folder.name)
        if self._policy.observe == "project" and not place.own:
            return None
        if place.path is not None and self._policy.ignores(folder.name, place.path):
            return None
        if self._reach.may_read(place, [folder.name], 0):
            return place.path
        self._report.row("folder", folder.name, "not compared")
        return None

    # --- files and folders ---

    def _files_and_folders(self, groups: list[_Group], folders: list[tuple[ListedFolder, str]]) -> None:
        paths = [path for group in groups for path in _paths(group)]
        self.compared = len(paths)

        def files() -> Iterator[tuple[ReadKind, ObservedFile]]:
            for group in groups:
                for position, base in zip(group.positions, group.bases, strict=True):
                    file = self._trace.files.file(position, group.name, base)
                    yield "module" if file.python else "file", file

        self._compare("files", paths, files, self._file_is_same)
        listed_folders = [folder for folder, _ in folders]
        self._compare(
            "folders",
            [path for _, path in folders],
            lambda: (("folder", folder) for folder in listed_folders),
            self._folders.is_same,
        )

    def _compare(
        self,
        part: str,
        paths: list[str],
        things: Callable[[], Iterable[tuple[ReadKind, _Thing]]],
        is_same: Callable[[_Thing, str], bool],
    ) -> None:
        """Compare the things at some paths, except those that are as when they were last found unchanged."""
        if not paths:
            return
        states = self._looked.get(tuple(paths)) or States.of(paths)
        self._looked[tuple(paths)] = states
        name = self._memory_name(part)
        memory = recall(name)
        if memory and states.signature and memory[0] == states.signature and not self._report.want_rows:
            return
        known = states.unchanged_since(memory[1] if memory else "")
        clean = []
        for position, ((kind, thing), path) in enumerate(zip(things(), paths, strict=True)):
            if known[position]:
                self._report.row(kind, thing.name, "same", size=getattr(thing, "size", None))
            clean.append(known[position] or is_same(thing, path))
        signature, value = states.remembered_as(clean)
        if memory != (signature, value):
            keep(name, signature, value)

    def _memory_name(self, part: str) -> str:
        """The name under which an unchanged state is remembered: this trace, compared in these places."""
        places = self._places
        roots = [[name, str(folder)] for name, folder in places.roots.items()]
        where = [str(places.project), str(places.repository), roots, self._reach.trusted]
        policy = self._policy
        counted = [policy.observe, policy.ignore_reads, *([policy.outputs] if policy.outputs else [])]
        return value_digest([part, self._trace.digest, where, *counted])

    def _file_is_same(self, file: ObservedFile, path: str) -> bool:
        kind: ReadKind = "module" if file.python else "file"
        try:
            status = os.stat(path)
        except (OSError, ValueError) as error:
            return self._unreachable(file, kind, path, error)
        if not stat.S_ISREG(status.st_mode):
            what = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
            self._changed(file, kind, f"which is {what} now", what)
            return False
        if not status.st_size and GONE in file.accepted and file.name.endswith("-wal"):
            return True  # SQLite makes an empty one for every connection.
        if not file.python and not file.also and file.digest and status.st_size != file.size:
            now = f"{status.st_size} {status.st_mtime_ns}"
            if status.st_size <= _DIGESTED_TO_TELL_STATES:
                # So that an answer to a question holds when only the file's times change.
                now = self._digest(file, path) or now
            self._changed(file, kind, "which has changed since", now)
            return False
        digest = self._digest(file, path)
        if digest is None:
            self._report.unclear(f"{readable(file.name)} cannot be read here", ["unreadable", file.name])
            self._report.row(kind, file.name, "not compared", size=file.size, remark="cannot be read")
            return False
        if digest not in file.accepted:
            self._changed(file, kind, "which has changed since", digest)
            return False
        self._report.row(kind, file.name, "same", size=file.size)
        return True

    @staticmethod
    def _digest(file: ObservedFile, path: str) -> str | None:
        try:
            return file_code_digest(path) if file.python else file_digest(Path(path))
        except PhaseError:
            return None

    def _unreachable(self, file: ObservedFile, kind: ReadKind, path: str, error: Exception) -> bool:
        """Report a file that cannot be looked at. True when its absence is as it should be."""
        number = getattr(error, "errno", None)
        if number in (errno.ENOENT, errno.ENOTDIR):
            if GONE in file.accepted:
                self._report.row(kind, file.name, "same", remark="gone, as the run left it")
                return True
            folder = os.path.dirname(path)
            if number == errno.ENOTDIR or self._reach.is_folder(folder):
                self._changed(file, kind, "which is gone", "gone", missing=True)
            else:
                self._reach.miss(folder, 1)
                self._report.row(kind, file.name, "not compared", size=file.size, remark="its folder is not here")
            return False
        if number == errno.ELOOP:
            self._changed(file, kind, "which is a loop of links now", "loop")
            return False
        why = getattr(error, "strerror", None) or "its name is not possible here"
        self._report.unclear(f"{readable(file.name)} cannot be read here: {why}", ["unreadable", file.name])
        self._report.row(kind, file.name, "not compared", size=file.size, remark=why)
        return False

    def _changed(self, file: ObservedFile, kind: ReadKind, how: str, now: str, *, missing: bool = False) -> None:
        self._report.changed(kind, file.name, f"{readable(file.name)}, {how}", now, missing=missing)

    # --- the rest ---

    def _absent(self) -> None:
        for name in self._trace.absent:
            place = self._places.place_of(name)
            if place.path is None or (self._policy.observe == "project" and not place.own):
                continue
            if not place.own and not self._reach.trusted:
                # Nothing is looked for outside the project on behalf of another user; so not everything is the same.
                self._report.incomplete()
                self._report.row("absent", name, "not compared")
                continue
            is_there = _is_there(place.path, name) or (name not in self._trace.links and os.path.islink(place.path))
            if is_there and not self._policy.ignores(name, place.path):
                phrase = f"{readable(name)}, which was not there then"
                self._report.changed("absent", name, phrase, "there", remark="it is there now")
            else:
                self._report.row("absent", name, "same", remark="not there, as then")

    def _remarks(self) -> None:
        report = self._report
        for name in self._trace.changed_while_read:
            if not self._ignores(name):
                report.changed("file", name, f"{shown_folder(name)}, which changed while it was read", "while read")
        for name, why in self._trace.uncompared.items():
            if not self._ignores(name):
                report.unclear(f"{readable(name)} {readable(why)}, so it cannot be compared", ["uncompared", name])
                report.row("file", name, "not compared", remark=readable(why))
        self._reach.report()
        if self._trace.left_out:
            report.unclear(
                f"it read {self._trace.file_count:,} files, of which only {len(self._trace.files):,} are compared",
                ["left out", self._trace.digest],
            )

        if self._trace.looks_left_out:
            more = self._trace.looks_left_out
            report.unclear(
                f"it looked for {more:,} path{'s' if more != 1 else ''} more than are compared",
                ["looks left out", self._trace.digest],
            )

    def _ignores(self, name: str) -> bool:
        place = self._places.place_of(name)
        if self._policy.observe == "project" and not place.own:
            return True
        return self._policy.ignores(name, place.path or name)


def _is_there(path: str, name: str) -> bool:
    try:
        if name.endswith("-wal"):
            return os.path.exists(path) and os.path.getsize(path) > 0
        return os.access(path, os.F_OK)
    except ValueError:  # A name that no file can have.
        return False


def _paths(group: _Group) -> list[str]:
    start = group.path if group.path.endswith(os.sep) else group.path + os.sep
    return [start + base for base in group.bases]
