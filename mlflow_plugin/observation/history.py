"""What a process tree had done to a path by some moment: made it, moved it, or found that it was not there."""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from mlflow_plugin.observation.recording import Opening
from mlflow_plugin.project.own_code import is_below

Times = Mapping[str, int]
"""Path -> the earliest moment of something, in nanoseconds since 1970."""


class _Move(NamedTuple):
    time: int
    source: str
    destination: str
    own: bool
    """The tree had made the folder itself."""


@dataclass
class Reads:
    """The files that count as read: path -> the state in which they were found.

    Attributes:
        also_written: Those among them that the tree wrote to.
        filled: Files that were read after the tree had made them because they were not there.
    """

    read: dict[str, Opening] = field(default_factory=dict)
    also_written: set[str] = field(default_factory=set)
    filled: set[str] = field(default_factory=set)


class History:
    """What the tree did, in the order of time.

    Args:
        written: Files that it opened for writing.
        folders: Folders that it made.
        links: Symbolic links that it made.
        absent: Paths that it looked for and did not find.
        kept: Path of a file of which it kept a part when it first wrote to it -> the state then.
        moved_folders: (time, source, destination) of each folder that it renamed.
        moved_files: The same of files.
    """

    def __init__(
        self,
        written: Times,
        folders: Times,
        links: Times,
        absent: Times,
        kept: Mapping[str, Opening],
        moved_folders: Iterable[tuple[int, str, str]],
        moved_files: Iterable[tuple[int, str, str]],
    ) -> None:
        self._written, self._folders, self._links, self._kept = written, dict(folders), links, kept
        self._moves: list[_Move] = []
        for time, source, destination in sorted(moved_folders):
            own = _is_below(self._folders, source, time)
            if own:
                self._folders[destination] = min(time, self._folders.get(destination, time))
            self._moves.append(_Move(time, source, destination, own))
        self._all_moves = sorted([*self._moves, *(_Move(*move, own=False) for move in moved_files)])
        self._moves_from: dict[str, list[_Move]] = {}
        for move in self._all_moves:
            self._moves_from.setdefault(move.source, []).append(move)
        self._destinations = {move.destination: move.time for move in reversed(self._moves)}
        self._filled: dict[str, int] = {}
        self.absent = {path for path, time in absent.items() if not self._is_filled(path, time)}

    @property
    def folders(self) -> frozenset[str]:
        """Folders that the tree made, or put there by a rename."""
        return frozenset(self._folders) | frozenset(self._destinations)

    def made_before(self, path: str, real: str, time: int) -> bool:
        """Return True for a file that the tree had made, or whose folder it had made, before a moment."""
        if self._written.get(real, time) < time or self._written.get(path, time) < time:
            return True
        return _is_below(self._folders, real, time)

    def was_there_before(self, path: str, time: int) -> bool:
        """Return True for a path that was there at a moment, which is not the doing of the tree."""
        return not _is_below(self._folders, path, time) and not any(self._made(_names(path)))

    def is_behind_own_link(self, path: str, time: int) -> bool:
        """Return True for a path that led through a link that the tree had made before a moment."""
        return _is_below(self._links, path, time)

    def reads(self, opened: Mapping[str, tuple[Opening, str]], moved: Mapping[str, Opening], began_ns: int) -> "Reads":
        """Return the files that count as read.

        Args:
            opened: Path of each file that was opened for reading -> its state then, and where it led.
            moved: Path of each file that was renamed or linked -> its state before.
            began_ns: The beginning of the recording.
        """
        reads = Reads()
        for path, (opening, real) in opened.items():
            time = opening.opened_ns
            name = real if self.is_behind_own_link(path, time) else path
            if not self.made_before(path, real, time):
                name = self.origin(name, time)
                reads.read[name] = opening
                if real in self._written:
                    reads.also_written.add(name)
            elif found := self._found(path, real, time):
                reads.read[name] = found
                reads.also_written.add(name)
            elif self._was_filled_before(path, real, time):
                reads.filled.add(name)
        # SQLite makes an empty one as soon as it opens a database, and removes it in the end.
        reads.filled |= {path for path in self._filled if path.endswith("-wal")}
        for path, opening in moved.items():
            # A file that had been there before counts by what it held, under whatever name it is read later.
            name = self.origin(path, opening.opened_ns)
            known = name in reads.read or opening.ctime_ns >= began_ns
            if not known and not self.made_before(path, path, opening.opened_ns):
                reads.read[name] = opening
        return reads

    def listed(self, path: str, real: str, time: int) -> str:
        """Return the path by which a listed folder counts, empty where it does not since the tree had made it."""
        if not self.made_before(path, real, time):
            return self.origin(real if self.is_behind_own_link(path, time) else path, time)
        return path if self._was_filled_before(path, real, time) else ""

    def _found(self, path: str, real: str, time: int) -> Opening | None:
        """Return the state in which the tree found a file that it wrote to, and read afterwards.

        None where it made the file, or threw away what that had held.
        """
        opening = self._kept.get(real) or self._kept.get(path)
        if opening is None or opening.opened_ns > time or self.made_before(path, real, opening.opened_ns):
            return None
        return opening

    def _was_filled_before(self, path: str, real: str, time: int) -> bool:
        """Return True for a path that the tree had made, or had made the folder of, after it had not found it."""
        if not self._filled:
            return False
        return any(
            name in self._filled and self._filled[name] < time for one in {path, real} for name in _and_above(one)
        )

    def origin(self, path: str, time: int) -> str:
        """Return the path that a file or folder had before the tree moved the folder that it lay in."""
        if not any(folder in self._destinations for folder in _and_above(path)):
            return path
        for move in reversed(self._moves):
            if move.time < time and is_below(path, move.destination):
                if move.own:
                    break
                before = move.source + path[len(move.destination) :]
                if self.made_before(before, before, move.time):
                    break
                path, time = before, move.time
        return path

    def moved(self) -> dict[str, str]:
        """Return where the files and folders that the tree moved lay in the end."""
        places = {}
        for move in self._all_moves:
            if not move.own:
                first, last = self.origin(move.source, move.time), self._end_of(move)
                if last != first:
                    places[first] = last
        return places

    def _end_of(self, move: _Move) -> str:
        """Return the last place of what was moved, by the moves that followed."""
        path, time = move.destination, move.time
        while True:
            later = [
                (one.time, one)
                for folder in _and_above(path)
                for one in self._moves_from.get(folder, ())
                if one.time > time
            ]
            if not later:
                return path
            time, one = min(later)
            path = one.destination + path[len(one.source) :]

    def _is_filled(self, path: str, time: int) -> bool:
        """Take in a path that was missed. True where the tree made it at any time."""
        names = _names(path)
        made = list(self._made(names))
        if made and time < min(made):
            self._filled.update(dict.fromkeys(names, min(made)))
        return bool(made)

    def _made(self, names: Iterable[str]) -> Iterator[int]:
        """Yield the moments at which the tree made a path, of which these are names."""
        for times in (self._written, self._folders, self._links, self._destinations):
            yield from (times[name] for name in names if name in times)


def _names(path: str) -> tuple[str, str]:
    """Return a path as it was asked for, and with the links on the way to it resolved."""
    folder, _, name = path.rpartition("/")
    return path, f"{os.path.realpath(folder)}/{name}"


def _is_below(times: Times, path: str, time: int) -> bool:
    """Tell whether a path, or a folder that it lies in, was made before a moment."""
    return bool(times) and any(times.get(one, time) < time for one in _and_above(path))


def _and_above(path: str) -> Iterator[str]:
    """Yield a path and the folders above it."""
    while len(path) > 1:
        yield path
        path = path.rpartition("/")[0]
