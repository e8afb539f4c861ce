"""Keep account of the programs of a tree: those that were started, those that record, and those that failed to."""

import os
from dataclasses import dataclass, field
from typing import NamedTuple


class _Start(NamedTuple):
    """A program that began, or was to begin, at a time."""

    time: int
    program: str


class _Moment(NamedTuple):
    """When a process began a program that cannot say so."""

    time: int
    pid: int


_LAUNCHERS = frozenset(["uv", "uvx", "pixi", "mise", "rye", "tini", "dumb-init", "catatonit"])


@dataclass
class Processes:
    """The programs of a tree, as they told of themselves and of each other.

    A process is known by its number, and keeps it when another program takes its place. So each announcement of a
    program has to be followed by a word of that program before the next announcement for the same number.

    Attributes:
        heard: File of records -> the program that says it records there.
        failed: Files of the programs that could not record everything.
    """

    heard: dict[str, str] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    _parents: set[int] = field(default_factory=set)
    _unheard: dict[str, list[_Moment]] = field(default_factory=dict)
    _hellos: dict[int, list[int]] = field(default_factory=dict)
    _starts: dict[int, list[_Start]] = field(default_factory=dict)
    _failures: dict[int, list[int]] = field(default_factory=dict)

    def add(self, file: str, kind: str, rest: str) -> None:
        """Take one record of the kinds h, e, f and x; raises ValueError for one that is none."""
        if kind == "h":
            failed, pid, parent, time, program = rest.split(" ", 4)
            self._parents.add(int(parent))
            self.heard[file] = program
            self._hellos.setdefault(int(pid), []).append(int(time))
            if failed != "0":
                self.failed.add(file)
            return
        pid, time, program = rest.split(" ", 2)
        if kind == "x":
            self._unheard.setdefault(program, []).append(_Moment(int(time), int(pid)))
        elif kind == "e":
            self._starts.setdefault(int(pid), []).append(_Start(int(time), program))
        else:
            self._failures.setdefault(int(pid), []).append(int(time))

    def is_launcher(self, program: str) -> bool:
        """Tell whether a program that does not record gave way to one that does each time, or is known to start one."""
        known = os.path.basename(program) in _LAUNCHERS
        times = self._unheard.get(program, [])
        return bool(times) and all(
            any(one.time <= answer for answer in self._hellos.get(one.pid, ())) or (known and one.pid in self._parents)
            for one in times
        )

    def are_beginning(self) -> bool:
        """Tell whether a program was started that is there and has not said a word yet."""
        return any(os.path.exists(f"/proc/{pid}") for pid, _ in self._silent())

    def blind(self) -> list[str]:
        """Return one sentence for each program that did not record, or not everything."""
        silent = {program for _, program in self._silent()}
        partly = {os.path.basename(self.heard.get(file, "a program")) for file in self.failed}
        return [
            *(f"what {name} read was not seen: it did not load the library that records" for name in sorted(silent)),
            *(f"not everything that {name} read was seen: it could not write its records" for name in sorted(partly)),
        ]

    def _silent(self) -> list[tuple[int, str]]:
        """The number and the program of each process that was started and did not say a word."""
        found = []
        for pid, starts in self._starts.items():
            starts = sorted(starts)
            answers = [*self._hellos.get(pid, ()), *self._failures.get(pid, ())]
            for start, following in zip(starts, [*starts[1:], None], strict=True):
                if not any(start.time <= one and (following is None or one <= following.time) for one in answers):
                    found.append((pid, start.program))
        return found
