"""Tell if a process tree has read its standard input, where that is a file or a pipe: it cannot be compared later."""

import array
import fcntl
import os
import select
import stat
import termios
from typing import NamedTuple

READ = "standard input was read, and cannot be compared"


class StandardInput(NamedTuple):
    """The state of standard input at one moment.

    Attributes:
        kind: `file`, `pipe` (a socket too), or empty for a terminal, a device, and where there is none.
        identity: Device and inode.
        place: The position in a file, or the number of bytes that wait in a pipe.
        ended: True for a pipe into which nobody writes any more.
        full: True for a pipe that may have been filled again after it was read.
    """

    kind: str = ""
    identity: str = ""
    place: int = 0
    ended: bool = False
    full: bool = False

    @classmethod
    def now(cls, descriptor: int = 0) -> "StandardInput":
        """Return the state of a descriptor, by default of this process's standard input. Reads nothing from it."""
        try:
            state = os.fstat(descriptor)
            identity = f"{state.st_dev}:{state.st_ino}"
            if stat.S_ISREG(state.st_mode):
                return cls("file", identity, os.lseek(descriptor, 0, os.SEEK_CUR), full=False)
            if not (stat.S_ISFIFO(state.st_mode) or stat.S_ISSOCK(state.st_mode)):
                return cls()
            waiting = array.array("i", [0])
            fcntl.ioctl(descriptor, termios.FIONREAD, waiting)
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            events = dict(poll.poll(0)).get(descriptor, 0)
            # The other end of a socket that has ended leaves it readable, with nothing in it.
            ended = bool(events & select.POLLHUP) or (stat.S_ISSOCK(state.st_mode) and bool(events) and not waiting[0])
            return cls("pipe", identity, waiting[0], ended, full=waiting[0] >= _LARGEST)
        except OSError:
            return cls()

    def was_read(self, now: "StandardInput") -> bool:
        """Return True when something was read since this state, or when that cannot be excluded.

        Args:
            now: The state of the same descriptor at a later moment. Another file or pipe says nothing.
        """
        if not self.kind or now.identity != self.identity:
            return False
        if self.kind == "file":
            return now.place != self.place
        if self.place:
            return now.place < self.place or self.full
        # Nothing had come when it began. Where the other end is gone by now, something may have been there meanwhile.
        return now.ended and not self.ended and not now.place


_LARGEST = 4096
