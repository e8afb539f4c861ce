"""Several processes that compute one phase, as torchrun and accelerate start them: which one this is, and starting
them. `python -m mlflow_plugin.machine.ranks` is torchrun, with plain exit codes.
"""

import os
import signal
import sys
from typing import Any, NoReturn

OF_A_LAUNCHER = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
"""Environment variables that a launcher tells each process its place by."""


def rank() -> int:
    """The number of this process; 0 is the one that is the phase, and the only one where nothing started several."""
    return _placed()[0]


def process_count() -> int:
    """How many processes compute together."""
    return _placed()[1]


def local_rank() -> int:
    """The number of this process among those of its machine: that of its GPU."""
    return _number("LOCAL_RANK", rank())


def _placed() -> tuple[int, int]:
    """Number and count. A launcher sets both; one alone, or two that do not fit, say nothing about this process."""
    number, count = _number("RANK", -1), _number("WORLD_SIZE", 0)
    return (number, count) if 0 <= number < count else (0, 1)


def _number(name: str, default: int) -> int:
    try:
        return int(os.environ.get(name, default))
    except ValueError:
        return default


def start_again(count: int, variables: dict[str, str]) -> NoReturn:
    """Replaces this process by torchrun, which starts its script so many times with the same arguments. The process id
    stays.
    """
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    script = ["-m", spec.name] if spec else [sys.argv[0]]
    sys.stdout.flush()
    sys.stderr.flush()
    launcher = [sys.executable, "-m", __name__, "--standalone", "--nnodes=1", "--max-restarts=0"]
    launcher.append(f"--nproc-per-node={count}")
    os.execve(sys.executable, [*launcher, *script, *sys.argv[1:]], os.environ | variables)


def main() -> None:
    """Ends with the exit code of the process that failed first: what it has said needs no traceback of torchrun's."""
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    arguments: Any = run.parse_args(None)  # type: ignore[no-untyped-call]
    if hasattr(arguments, "signals_to_handle"):  # A cluster's warning is for the phase to obey.
        arguments.signals_to_handle += ",SIGUSR1"
        if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:  # nohup
            kept = [name for name in arguments.signals_to_handle.split(",") if name != "SIGHUP"]
            arguments.signals_to_handle = ",".join(kept)
    elif hasattr(signal, "SIGUSR1"):
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        run.run(arguments)  # type: ignore[no-untyped-call]
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        sys.exit(failure.exitcode if failure.exitcode > 0 else 1)
    except SignalException as error:
        sys.exit(128 + error.sigval)


if __name__ == "__main__":
    main()
