"""Keep everything that observed processes told, by its kind.

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
    n call    a step that was started by `mlflow.run`, as JSON
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
from dataclasses import dataclass, field

from mlflow_plugin.observation.processes import Processes
from mlflow_plugin.observation.recording import Listing, Opening

MOST_FILES = 200_000
"""The number of distinct files above which no more are recorded."""


@dataclass
class Seen:
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
