"""Mathematical expressions compared by math-verify, in a process of its own.

math-verify guards itself by SIGALRM, which works in a main thread only and interrupts no long operation in C, such as
9^9^9^9. A process can be ended from any thread, whatever it does.
"""

import atexit
import multiprocessing
import threading
from fractions import Fraction
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

_SECONDS = 5
_START_SECONDS = 60
_TOLERANCE = 6
"""Decimal places in which a decimal may differ from a fraction, as math-verify rounds."""


def equal_numbers(gold: Fraction, given: Fraction) -> bool:
    """Whether two exact values are one number: 0.333333 stands for 1/3, 0.333 does not."""
    return abs(gold - given) < Fraction(1, 2 * 10**_TOLERANCE)


def equal(gold: str, given: str) -> bool | None:
    """Whether two expressions in LaTeX or plain text have one value, by math-verify. None when `gold` has none; what
    takes longer than a few seconds to compare is not equal.
    """
    return _worker.compare(gold, given)


class _Worker:
    """The process, started when first needed and again after it had to be ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None

    def compare(self, gold: str, given: str) -> bool | None:
        with self._lock:
            connection = self._ready()
            try:
                connection.send((gold, given))
                if connection.poll(_SECONDS):
                    answer: bool | None = connection.recv()
                    return answer
            except (EOFError, OSError):
                pass  # It was killed, or ran out of memory: as with one that takes too long.
            self.end()
            return False

    def _ready(self) -> Connection:
        if self._connection is None or self._process is None or not self._process.is_alive():
            # spawn: a fork would take over the locks of whatever threads torch has in this process.
            context = multiprocessing.get_context("spawn")
            self._connection, theirs = context.Pipe()
            self._process = context.Process(target=_serve, args=(theirs,), name="math-verify", daemon=True)
            self._process.start()
            theirs.close()
            atexit.register(self.end)
            if self._connection.poll(_START_SECONDS):
                self._connection.recv()
        return self._connection

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
        if self._connection is not None:
            self._connection.close()
        self._process = self._connection = None


_worker = _Worker()


def _serve(connection: Connection) -> None:
    import resource
    import signal
    from contextlib import suppress

    from math_verify import parse, verify

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process.
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (2 * 2**30, resource.getrlimit(resource.RLIMIT_AS)[1]))
    connection.send("ready")
    with suppress(EOFError, OSError):
        while True:
            gold, given = (parse(f"\\boxed{{{text}}}", parsing_timeout=_SECONDS) for text in connection.recv())
            connection.send(verify(gold, given, timeout_seconds=_SECONDS) if gold else None)
