"""Stores that fail while a checkpoint is saved, for a while or for good."""

import resource
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from tests.nightly.faults.points import Fault, Point
from tests.nightly.faults.training import Execution, Training
from tests.servers.process import wait_until
from tests.servers.proxy import Proxy

_HELD, _SAVED = 5, 4
_MEGABYTE = 1 << 20
WIDE = 16384
"""Of a model whose checkpoint takes 8 MB."""


def held(training: Training, *, ordinary: bool = False) -> Execution:
    """An execution that waits in mid-training, what it saved so far announced."""
    execution = training.start(hold_at=_HELD, ordinary=ordinary)
    execution.wait_held(_HELD, _SAVED)
    return execution


def went_on(training: Training) -> str:
    """See a disturbed execution to its end and, where it did not get through, has it done by another; how it was.

    Raises AssertionError when a promise was broken or the end came without a plain message.
    """
    disturbed = training.last
    code = disturbed.wait()
    training.judge()
    if disturbed.finished:
        return "went on by itself"
    assert code == 1, f"it ended with {code}: {disturbed.text[-3000:]}"
    # A database that fails is logged by MLflow with a traceback; the last word is the message.
    _, message, last_word = disturbed.text.rpartition("mlflow-phases: ")
    assert message, f"it ended without a message: {disturbed.text[-3000:]}"
    assert "Traceback" not in last_word, disturbed.text[-3000:]
    return f"ended with a message; started again, it went on from step {min(training.finish().steps)}"


def no_file_may_grow(training: Training) -> str:
    """Every write beyond 3 MB fails from now on, in the middle of a file."""
    execution = held(training)
    limit = 3 * _MEGABYTE
    resource.prlimit(execution.process.pid or 0, resource.RLIMIT_FSIZE, (limit, limit))
    execution.release()
    return went_on(training)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[bool]:
    """Mount a disk of that size at a folder, where this process may; False where it may not."""
    folder.mkdir(parents=True, exist_ok=True)
    words = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    mounted = subprocess.run(words, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def full_disk(training: Training, disk: Path, room: int) -> str:
    """Something else fills the disk but for so many bytes; later there is room again."""
    execution, filler = held(training), disk / "filler"
    with filler.open("wb") as file:
        try:
            while True:
                file.write(bytes(_MEGABYTE))
                file.flush()
        except OSError:
            file.truncate(max(0, file.tell() - room))
    execution.release()
    execution.wait()
    filler.unlink()
    return went_on(training)


def permission_lost(training: Training) -> str:
    """Nothing can be created in the folder of checkpoints any more; later it can again."""
    execution = held(training, ordinary=True)
    folder = Path(str(training.store.files(execution.run_id).folder)) / "checkpoints"
    folders = [folder, *(path for path in folder.iterdir() if path.is_dir())]
    for path in folders:
        path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    execution.release()
    execution.wait()
    for path in folders:
        path.chmod(stat.S_IRWXU)
    return went_on(training)


def server_killed(training: Training, rng: Random) -> str:
    """The server dies when it is asked for the n-th time, and is started again at once."""
    server, reference = training.store.server, training.reference
    assert server is not None
    assert reference is not None
    told = training.folder / "told"
    asked = reference.points["requests:Session.send"]
    training.start(Fault(Point("requests:Session.send", rng.randint(asked // 3, asked)), tell=str(told)))
    wait_until(lambda: told.exists() or training.last.process.exitcode is not None, "the server is asked")
    server.stop()
    server.start()
    return went_on(training)


def unreachable(training: Training, proxy: Proxy, seconds: float) -> str:
    """Nothing gets through to the store for so many seconds."""
    execution = held(training)
    proxy.cut()
    execution.release()
    time.sleep(seconds)
    proxy.restore()
    return went_on(training)
