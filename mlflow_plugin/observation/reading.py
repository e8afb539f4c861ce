"""Read the records that observed processes left into a `Recording`."""

import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mlflow_plugin.observation.calls import RecordedCall
from mlflow_plugin.observation.coverage import coverage_of, not_compared, partly_seen, unseen_by
from mlflow_plugin.observation.history import History
from mlflow_plugin.observation.installed import installed_versions
from mlflow_plugin.observation.peers import local_peers, network_peers
from mlflow_plugin.observation.recording import Opening, Recording
from mlflow_plugin.observation.seen import MOST_FILES, Seen

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


class Records:
    """The records in a folder, read on from where they were read before."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen = Seen()
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


def _recording(seen: Seen, settings: Settings) -> Recording:
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
        calls=tuple(_calls(seen)),
    )


def _calls(seen: Seen) -> Iterator[RecordedCall]:
    for text in seen.words.get("n", ()):
        with suppress(ValueError, TypeError, KeyError, AttributeError):  # A record that a full disk cut short.
            yield RecordedCall.told(text)


def _digest(told: str) -> str | None:
    return {"-": None, "!": ""}.get(told, told)


def _asked(seen: Seen) -> Iterator[tuple[str, str]]:
    """Yield the runs that MLflow's client was asked for, other than those that the tree made, and by which call."""
    for word in seen.words.get("Q", ()):
        run, _, name = word.partition(" ")
        if run not in seen.words.get("z", ()):
            yield run, name


def _history(seen: Seen) -> History:
    kept: dict[str, Opening] = {}
    for opening, real in sorted(seen.found.values(), reverse=True, key=lambda one: one[0].opened_ns):
        kept[real] = opening
    moved_files = [(opening.opened_ns, path, to) for path, (opening, to) in seen.moved.items() if to != path]
    return History(seen.written, seen.folders, seen.links, seen.absent, kept, seen.moved_folders, moved_files)
