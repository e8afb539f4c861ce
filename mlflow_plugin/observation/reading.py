"""Read the records that observed processes left into a `Recording`.

A record ends with a zero byte. It begins with a letter for its kind and a space. Times are nanoseconds since 1970.

    R size mtime ctime inode opened length path[real path]    opened for reading; K: for writing, a part of it stays;
        m: renamed or linked, with the new path instead of the real one
    W time path    opened for writing; G: a folder was made, S: a symbolic link; d: a file was removed
    g time length path new path    a folder was renamed
    l time length path[target]    a symbolic link behind which a path went on; r: one whose target was asked for
    L mtime time sum length path[real path]    a folder was listed, with the sum of its names, 0 where that is unknown;
        i path: by the import system; D: forget those before it in the same file
    A time path    looked for and not found; y: a folder that was to be made and was there
    k size time path    looked for and found, -1 where nothing but that was asked for
    T path    a Python file read as text; M: imported
    J name    a module at top level; E path: a folder of installed packages that the process imports from
    V digest name    a variable; "-" instead of the digest of a secret, "!" where it is not set
    v id command    git was started; w: by code that is not the project's own
    Q run name    the project's own code asked MLflow's client for a run, "-" for no certain one; z run: it was made
    c path    code that copied the whole environment; Y: a Python was started that leaves out this observation
    F version uri    a reference of the tracking store
    P host port    a connection; B: a port that the tree itself serves; N address port name: where a name led
    u path    a connection to a socket in the file system; b: one that the tree itself serves
    H way path    a Python process, and whether something below Python sees its files
    I name    a native reader was imported where nothing sees it; C: a program was started likewise, U: may have been
    X why path    a program was started that cannot be observed
    Z    too much was opened; q before: the script did something before it was observed
    h failed pid parent time path    the first record of a program that records; `failed` is 1 where records were lost
    e pid time path    a program was started that is to say so, too; f: it was not after all; x: it cannot say so
"""

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mlflow_plugin.observation.coverage import coverage_of, not_compared, partly_seen, unseen_by
from mlflow_plugin.observation.history import History
from mlflow_plugin.observation.installed import installed_versions
from mlflow_plugin.observation.peers import local_peers, network_peers
from mlflow_plugin.observation.processes import Processes
from mlflow_plugin.observation.recording import Listing, Opening, Recording

MOST_FILES = 200_000
"""The number of distinct files above which no more are recorded."""

_SECONDS_TO_BEGIN = 1.0
_HUB = re.compile(r"/(models|datasets|spaces)--([^/]+)/snapshots/([0-9a-f]{7,64})/")


@dataclass(frozen=True)
class Settings:
    """What the recorder told the processes."""

    own: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    way: str = "hook"
    reason: str = ""
    began_ns: int = 0


@dataclass
class _Seen:
    """Everything told so far, by kind; of a path the earliest."""

    read: dict[str, tuple[Opening, str]] = field(default_factory=dict)
    moved: dict[str, tuple[Opening, str]] = field(default_factory=dict)
    written: dict[str, int] = field(default_factory=dict)
    folders: dict[str, int] = field(default_factory=dict)
    links: dict[str, int] = field(default_factory=dict)
    absent: dict[str, int] = field(default_factory=dict)
    removed: dict[str, int] = field(default_factory=dict)
    to_make: dict[str, int] = field(default_factory=dict)
    found: dict[str, tuple[Opening, str]] = field(default_factory=dict)
    moved_folders: list[tuple[int, str, str]] = field(default_factory=list)
    looked: dict[str, tuple[bool, int, int]] = field(default_factory=dict)
    followed: dict[str, tuple[int, str]] = field(default_factory=dict)
    asked: dict[str, tuple[int, str]] = field(default_factory=dict)
    listed: dict[str, dict[str, tuple[Listing, int, str]]] = field(default_factory=dict)
    variables: dict[str, dict[str, None]] = field(default_factory=dict)
    references: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    peers: set[tuple[str, str]] = field(default_factory=set)
    ports: set[tuple[str, str]] = field(default_factory=set)
    words: dict[str, set[str]] = field(default_factory=dict)
    processes: Processes = field(default_factory=Processes)
    full: bool = False

    def add(self, file: str, record: str) -> None:
        """Take one record of a process's file; raises ValueError, IndexError or KeyError for one that is none."""
        kind, rest = record[0], record[2:]
        if kind in "RmK":
            self._add_opening({"R": self.read, "m": self.moved, "K": self.found}[kind], rest)
        elif kind in "WGSAdy":
            time, path = rest.split(" ", 1)
            times = self._times(kind)
            times[path] = min(int(time), times.get(path, int(time)))
        elif kind == "L":
            mtime, time, names, length, paths = rest.split(" ", 4)
            path, real = _split(paths, int(length))
            self.listed.setdefault(file, {}).setdefault(path, (Listing(int(mtime), int(names)), int(time), real))
        elif kind == "g":
            time, length, paths = rest.split(" ", 2)
            self.moved_folders.append((int(time), *_split(paths, int(length))))
        elif kind in "lr":
            time, length, paths = rest.split(" ", 2)
            path, target = _split(paths, int(length))
            links = self.followed if kind == "l" else self.asked
            links[path] = min((int(time), target), links.get(path, (int(time), target)))
        elif kind == "D":
            self.listed.pop(file, None)
        elif kind == "k":
            size, time, path = rest.split(" ", 2)
            # The earliest look counts, and a size more than none.
            look = (int(size) < 0, int(time), int(size))
            self.looked[path] = min(look, self.looked.get(path, look))
        elif kind in "VF":
            self._add_value(kind, *rest.split(" ", 1))
        elif kind in "PBN":
            self._add_address(kind, *rest.split(" ", 2))
        elif kind == "Z":
            self.full = True
        elif kind in "hefx":
            self.processes.add(file, kind, rest)
        else:
            self.words.setdefault(kind, set()).add(rest)

    def _times(self, kind: str) -> dict[str, int]:
        return {
            "W": self.written,
            "G": self.folders,
            "S": self.links,
            "A": self.absent,
            "d": self.removed,
            "y": self.to_make,
        }[kind]

    def _add_opening(self, into: dict[str, tuple[Opening, str]], rest: str) -> None:
        size, mtime, ctime, inode, opened, length, paths = rest.split(" ", 6)
        path, real = _split(paths, int(length))
        if path not in into and len(into) >= MOST_FILES:
            self.full = True
        elif path not in into or int(opened) < into[path][0].opened_ns:
            into[path] = (Opening(int(size), int(mtime), int(ctime), int(inode), int(opened)), real)

    def _add_value(self, kind: str, value: str, name: str) -> None:
        if kind == "V":
            self.variables.setdefault(name, {})[value] = None
        else:
            self.references.setdefault(name, value)

    def _add_address(self, kind: str, host: str, port: str, name: str) -> None:
        if kind == "P":
            self.peers.add((host, port))
        elif kind == "B":
            self.ports.add((host, port))
        elif name != host:
            self.names[host] = name


def _split(paths: str, length: int) -> tuple[str, str]:
    """Split the path as it was opened, of so many bytes, from where it leads."""
    if len(paths) == length:
        return paths, paths
    if paths.isascii():
        return paths[:length], paths[length:]
    data = os.fsencode(paths)
    path = os.fsdecode(data[:length])
    return path, os.fsdecode(data[length:]) or path


class Records:
    """The records in a folder, read on from where they were read before."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen = _Seen()
        self._offsets: dict[str, int] = {}

    def settings(self) -> Settings | None:
        """Return what the recorder told the processes, None where nothing is to be recorded."""
        try:
            parts = [os.fsdecode(part) for part in (self._folder / "settings").read_bytes().split(b"\0") if part]
        except OSError:
            return None
        values = {kind: tuple(part[1:] for part in parts if part[0] == kind) for kind in "OSWYB"}
        began = values["B"][0] if values["B"] else "0"
        return Settings(
            own=values["O"],
            skip=values["S"],
            way=values["W"][0] if values["W"] else "hook",
            reason=values["Y"][0] if values["Y"] else "",
            began_ns=int(began) if began.isdigit() else 0,
        )

    def recording(self) -> Recording:
        """Return what all processes have told so far."""
        settings = self.settings()
        if settings is None:
            return Recording("none", unseen=(f"what it read was not seen: {self._folder} cannot be read",))
        self._read_on()
        latest = time.monotonic() + _SECONDS_TO_BEGIN
        while self._seen.processes.are_beginning() and time.monotonic() < latest:
            time.sleep(0.02)
            self._read_on()
        return _recording(self._seen, settings)

    def _read_on(self) -> None:
        try:
            entries = sorted(os.listdir(self._folder))
        except OSError:
            return
        self._seen.processes.failed.update(name[:-7] for name in entries if name.endswith(".failed"))
        names = [name for name in entries if name.endswith((".shim", ".hook", ".notified"))]
        for name in names:
            try:
                with open(self._folder / name, "rb") as file:
                    if file.read(3) == b"h 1":
                        self._seen.processes.failed.add(name)
                    file.seek(self._offsets.get(name, 0))
                    data = file.read()
            except OSError:
                continue
            whole, _, torn = data.rpartition(b"\0")
            self._offsets[name] = self._offsets.get(name, 0) + len(data) - len(torn)
            for record in os.fsdecode(whole).split("\0"):
                try:
                    self._seen.add(name, record)
                except (ValueError, IndexError, KeyError, TypeError):  # A record that a full disk cut short.
                    continue


def _recording(seen: _Seen, settings: Settings) -> Recording:
    """Put together what the processes told one by one."""
    history = _history(seen)
    references, opened = dict(seen.references), {}
    for path, (opening, real) in seen.read.items():
        if hub := _HUB.search(path):
            references[f"hub:{hub[1]}/{hub[2].replace('--', '/')}"] = hub[3]
        else:
            opened[path] = (opening, real)
    moved = {path: opening for path, (opening, _) in seen.moved.items()}
    reads = history.reads(opened, moved, settings.began_ns)
    imported = seen.words.get("i", set())
    listed = {
        name: listing
        for file, of_process in seen.listed.items()
        for path, (listing, time, real) in of_process.items()
        if not (file.endswith(".notified") and path in imported) and (name := history.listed(path, real, time))
    }

    def was_there(path: str, time: int) -> bool:
        return path not in seen.to_make and history.was_there_before(path, time)

    coverage = coverage_of(settings.way, seen.words, seen.processes)
    modules = seen.words.get("M", set())
    limit = f"more than {MOST_FILES:,} files were opened; what was opened after them was not recorded"
    too_many = (limit,) if seen.full else ()
    return Recording(
        coverage=coverage,
        began_ns=settings.began_ns,
        read=reads.read,
        written=frozenset(seen.written) | reads.also_written,
        filled=frozenset(reads.filled),
        folders=history.folders,
        moved=history.moved(),
        removed=frozenset(seen.removed),
        links={path: to for path, (time, to) in seen.followed.items() if not history.is_behind_own_link(path, time)},
        listed=listed,
        absent=frozenset(history.absent - reads.read.keys()),
        looked={path: size for path, (_, time, size) in seen.looked.items() if was_there(path, time)},
        asked_links={path: to for path, (time, to) in seen.asked.items() if was_there(path, time)},
        kept=frozenset(seen.to_make),
        text=frozenset(seen.words.get("T", ())),
        modules=frozenset(modules),
        packages=installed_versions(seen.words.get("J", set()), seen.words.get("E", set()), modules),
        variables={name: _digest(next(iter(digests))) for name, digests in seen.variables.items()},
        references=references,
        peers=network_peers(seen.peers, seen.ports, seen.names, settings.skip)
        | local_peers(seen.words.get("u", set()) - seen.words.get("b", set())),
        unseen=unseen_by(coverage, settings.reason, seen.words, seen.processes) + too_many,
        values={name: frozenset(map(_digest, digests)) for name, digests in seen.variables.items()},
        copies=frozenset(seen.words.get("c", ())),
        asked=frozenset(_asked(seen)),
        partly=partly_seen(coverage, settings.way, seen.words, seen.processes) + not_compared(seen.words),
    )


def _digest(told: str) -> str | None:
    return {"-": None, "!": ""}.get(told, told)


def _asked(seen: _Seen) -> Iterator[tuple[str, str]]:
    """Yield the runs that MLflow's client was asked for, other than those that the tree made, and by which call."""
    for word in seen.words.get("Q", ()):
        run, _, name = word.partition(" ")
        if run not in seen.words.get("z", ()):
            yield run, name


def _history(seen: _Seen) -> History:
    kept: dict[str, Opening] = {}
    for opening, real in sorted(seen.found.values(), reverse=True, key=lambda one: one[0].opened_ns):
        kept[real] = opening
    moved_files = [(opening.opened_ns, path, to) for path, (opening, to) in seen.moved.items() if to != path]
    return History(seen.written, seen.folders, seen.links, seen.absent, kept, seen.moved_folders, moved_files)
