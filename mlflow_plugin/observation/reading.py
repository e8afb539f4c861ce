"""Read the records that observed processes left into a `Recording`.

A record ends with a zero byte. It begins with a letter for its kind and a space. Times are nanoseconds since 1970.

    R size mtime ctime inode opened length path[real path]    opened for reading; m: renamed or linked instead
    W time path    opened for writing; G: a folder was made, S: a symbolic link
    L mtime time path    a folder was listed; i path: by the import system; D: forget those before it in the same file
    A time path    looked for and not found
    T path    a Python file read as text; M: imported
    J name    a module at top level; E path: a folder of installed packages that the process imports from
    V digest name    a variable; "-" instead of the digest of a secret, "!" where it is not set
    v id command    git was started; w: by code that is not the project's own
    Q run name    the project's own code asked MLflow's client for a run, "-" for no certain one; z run: it was made
    c path    code that copied the whole environment; Y: a Python was started that leaves out this observation
    F version uri    a reference of the tracking store
    P host port    a connection; B: a port that the tree itself serves; N address port name: where a name led
    H way path    a Python process, and whether something below Python sees its files
    I name    a native reader was imported where nothing sees it; C: a program was started likewise, U: may have been
    X why path    a program was started that cannot be observed
    Z    too much was opened
"""

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mlflow_plugin.observation.installed import installed_versions
from mlflow_plugin.observation.recording import Opening, Recording
from mlflow_plugin.project.vocabulary import Coverage

MOST_FILES = 200_000
"""The number of distinct files above which no more are recorded."""

_ABOUT_GIT_ITSELF = "version help config init remote add commit push gc maintenance"
# What git starts by itself when it copies a repository.
_HELPERS_OF_GIT = "index-pack upload-pack unpack-objects pack-objects fetch-pack receive-pack send-pack remote-https"
_GIT_READS_NOTHING = frozenset(["", *_ABOUT_GIT_ITSELF.split(), *_HELPERS_OF_GIT.split()])
ISOLATED = "variables that a Python started with -I, -E or -S read are not compared"

_THEY_READ_NO_DATA = "uname ldconfig nvidia-smi rocm-smi lscpu git hostname stty tput file gcc cc clang ld true"
_HARMLESS = frozenset(_THEY_READ_NO_DATA.split())
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
    listed: dict[str, dict[str, tuple[int, int]]] = field(default_factory=dict)
    variables: dict[str, dict[str, None]] = field(default_factory=dict)
    references: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    peers: set[tuple[str, str]] = field(default_factory=set)
    ports: set[str] = field(default_factory=set)
    words: dict[str, set[str]] = field(default_factory=dict)
    full: bool = False

    def add(self, file: str, record: str) -> None:
        """Take one record of a process's file; raises ValueError, IndexError or KeyError for one that is none."""
        kind, rest = record[0], record[2:]
        if kind in "Rm":
            self._add_opening(self.read if kind == "R" else self.moved, rest)
        elif kind in "WGSA":
            time, path = rest.split(" ", 1)
            times = {"W": self.written, "G": self.folders, "S": self.links, "A": self.absent}[kind]
            times[path] = min(int(time), times.get(path, int(time)))
        elif kind == "L":
            mtime, time, path = rest.split(" ", 2)
            self.listed.setdefault(file, {}).setdefault(path, (int(mtime), int(time)))
        elif kind == "D":
            self.listed.pop(file, None)
        elif kind == "V":
            value, name = rest.split(" ", 1)
            self.variables.setdefault(name, {})[value] = None
        elif kind == "F":
            value, name = rest.split(" ", 1)
            self.references.setdefault(name, value)
        elif kind in "PBN":
            self._add_address(kind, *rest.split(" ", 2))
        elif kind == "Z":
            self.full = True
        else:
            self.words.setdefault(kind, set()).add(rest)

    def _add_opening(self, into: dict[str, tuple[Opening, str]], rest: str) -> None:
        size, mtime, ctime, inode, opened, length, paths = rest.split(" ", 6)
        path, real = _split(paths, int(length))
        if path not in into and len(into) >= MOST_FILES:
            self.full = True
        elif path not in into or int(opened) < into[path][0].opened_ns:
            into[path] = (Opening(int(size), int(mtime), int(ctime), int(inode), int(opened)), real)

    def _add_address(self, kind: str, host: str, port: str, name: str) -> None:
        if kind == "P":
            self.peers.add((host, port))
        elif kind == "B":
            self.ports.add(port)
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
        return _recording(self._seen, settings)

    def _read_on(self) -> None:
        try:
            names = sorted(name for name in os.listdir(self._folder) if name.endswith((".shim", ".hook", ".notified")))
        except OSError:
            return
        for name in names:
            try:
                with open(self._folder / name, "rb") as file:
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
    read: dict[str, Opening] = {}
    also_written: set[str] = set()
    references = dict(seen.references)
    for path, (opening, real) in seen.read.items():
        if hub := _HUB.search(path):
            references[f"hub:{hub[1]}/{hub[2].replace('--', '/')}"] = hub[3]
        elif not _made_before(seen, path, real, opening.opened_ns):
            name = real if _is_below(seen.links, path, opening.opened_ns) else path
            read[name] = opening
            if real in seen.written:
                also_written.add(name)
    for path, (opening, real) in seen.moved.items():
        # A file that had been there before counts by what it held, under whatever name it is read later.
        known = path in read or opening.ctime_ns >= settings.began_ns
        if not known and not _made_before(seen, path, real, opening.opened_ns):
            read[path] = opening
    absent = {path for path, time in seen.absent.items() if not _was_made(seen, path) and path not in read and time}
    imported = seen.words.get("i", set())
    listed = {
        path: mtime
        for file, of_process in seen.listed.items()
        for path, (mtime, time) in of_process.items()
        if not _is_below(seen.folders, path, time) and not (file.endswith(".notified") and path in imported)
    }
    coverage = _coverage(seen, settings)
    modules = seen.words.get("M", set())
    return Recording(
        coverage=coverage,
        read=read,
        written=frozenset(seen.written) | also_written,
        listed=listed,
        absent=frozenset(absent),
        text=frozenset(seen.words.get("T", ())),
        modules=frozenset(modules),
        packages=installed_versions(seen.words.get("J", set()), seen.words.get("E", set()), modules),
        variables={name: _digest(next(iter(digests))) for name, digests in seen.variables.items()},
        references=references,
        peers=_peers(seen, settings),
        unseen=_unseen(seen, settings, coverage),
        values={name: frozenset(map(_digest, digests)) for name, digests in seen.variables.items()},
        copies=frozenset(seen.words.get("c", ())),
        asked=frozenset(_asked(seen)),
        partly=_remarks(seen),
    )


def _digest(told: str) -> str | None:
    return {"-": None, "!": ""}.get(told, told)


def _asked(seen: _Seen) -> Iterator[tuple[str, str]]:
    """Yield the runs that MLflow's client was asked for, other than those that the tree made, and by which call."""
    for word in seen.words.get("Q", ()):
        run, _, name = word.partition(" ")
        if run not in seen.words.get("z", ()):
            yield run, name


def _remarks(seen: _Seen) -> tuple[str, ...]:
    """Return one sentence for each thing that is known to have been read and that nothing is recorded of."""
    remarks = [ISOLATED] if "Y" in seen.words else []
    started, by_others = (Counter(word.partition(" ")[2] for word in seen.words.get(kind, ())) for kind in "vw")
    if commands := sorted(set(started - by_others) - _GIT_READS_NOTHING):
        listed = ", ".join(f"git {command}" for command in commands)
        remarks.append(f"what {listed} read of a repository is not compared")
    return tuple(remarks)


def _made_before(seen: _Seen, path: str, real: str, time: int) -> bool:
    """Tell whether the tree itself had made a file, or the folder that holds it, before a moment."""
    if seen.written.get(real, time) < time or seen.written.get(path, time) < time:
        return True
    return _is_below(seen.folders, real, time)


def _is_below(times: dict[str, int], path: str, time: int) -> bool:
    """Tell whether a path, or a folder that it lies in, was made before a moment."""
    if not times:
        return False
    while len(path) > 1:
        if times.get(path, time) < time:
            return True
        path = path.rpartition("/")[0]
    return False


def _was_made(seen: _Seen, path: str) -> bool:
    """Tell whether the tree made a path at any time."""
    folder, _, name = path.rpartition("/")
    real = f"{os.path.realpath(folder)}/{name}"
    return any(p in made for p in (path, real) for made in (seen.written, seen.folders, seen.links))


def _coverage(seen: _Seen, settings: Settings) -> Coverage:
    """Tell how much the processes could see, by what each Python process said of itself."""
    said = {word.partition(" ")[0] for word in seen.words.get("H", ())}
    if settings.way == "shim":
        return "python" if "python" in said else "full"
    if "full" in said and "python" not in said:
        return "full"
    return "python" if said else "none"


def _peers(seen: _Seen, settings: Settings) -> frozenset[str]:
    """Return the peers by name, without the ports that the tree itself serves and what is skipped."""
    peers = set()
    for host, port in seen.peers:
        is_local = host in ("localhost", "::1") or host.startswith("127.")
        if port in seen.ports or (is_local and "0" in seen.ports):
            continue
        peer, plain = f"{seen.names.get(host, host)}:{port}", f"{host}:{port}"
        if peer not in settings.skip and plain not in settings.skip:
            peers.add(peer)
    return frozenset(peers)


def _unseen(seen: _Seen, settings: Settings, coverage: Coverage) -> tuple[str, ...]:
    """Return one sentence for each thing that could not be seen."""
    sentences = []
    for word in sorted(seen.words.get("X", ())):
        why, path = word.split(" ", 1)
        reason = "it is statically linked" if why == "static" else "it runs with the rights of another user"
        sentences.append(f"what {path} read was not seen: {reason}")
    readers = set(seen.words.get("U", ()))
    if coverage == "python":
        readers |= seen.words.get("I", set()) | (seen.words.get("C", set()) - _HARMLESS)
    reason = settings.reason or "it was started without the library that sees it"
    sentences += [f"what {name} read was not seen ({reason})" for name in sorted(readers)]
    if coverage == "none":
        sentences.append(f"what it read was not seen ({settings.reason or 'no process recorded anything'})")
    if seen.full:
        sentences.append(f"more than {MOST_FILES:,} files were opened; what was opened after them was not recorded")
    return tuple(sentences)
