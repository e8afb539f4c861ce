"""Tell if a process tree has read its standard input, where that is a file or a pipe: it cannot be compared later."""

import array
import fcntl
import os
import select
import stat
import termios
from pathlib import Path
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

    @classmethod
    def of_process(cls, pid: int) -> "StandardInput":
        """Return the state of the standard input of another process of this user, where the system shows it."""
        try:
            descriptor = os.open(f"/proc/{pid}/fd/0", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return cls()
        try:
            found = cls.now(descriptor)
            if found.kind == "file":
                # The position is that of the process, and not of this opening.
                text = Path(f"/proc/{pid}/fdinfo/0").read_text()
                found = found._replace(place=int(text.split()[1]))
            return found
        except (OSError, ValueError, IndexError):
            return cls()
        finally:
            os.close(descriptor)

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
