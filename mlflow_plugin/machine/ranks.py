"""Find the rank of this process among those of a phase, and start several processes with torchrun.

`python -m mlflow_plugin.machine.ranks` is torchrun with the exit code of the process that failed first.
"""

import os
import signal
import sys
from typing import Any, NoReturn

LAUNCHER_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
"""Environment variables in which torchrun and accelerate give each process its rank."""


def rank() -> int:
    """Return the rank of this process. Rank 0 writes the phase's run. A process that no launcher started has rank 0."""
    return _rank_and_world_size()[0]


def process_count() -> int:
    """Return how many processes compute together (the world size)."""
    return _rank_and_world_size()[1]


def local_rank() -> int:
    """Return the rank of this process on its machine, which is the number of its GPU."""
    return _integer("LOCAL_RANK", rank())


def _rank_and_world_size() -> tuple[int, int]:
    """Return rank and world size. A launcher sets both: a single variable, or an impossible pair, is ignored."""
    number, count = _integer("RANK", -1), _integer("WORLD_SIZE", 0)
    return (number, count) if 0 <= number < count else (0, 1)


def _integer(name: str, default: int) -> int:
    try:
        return int(os.environ.get(name, default))
    except ValueError:
        return default


def restart_with_torchrun(count: int, variables: dict[str, str]) -> NoReturn:
    """Replace this process by torchrun, which starts the same script and arguments `count` times. The pid stays.

    Args:
        count: The number of processes.
        variables: Environment variables to add.
    """
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    script = ["-m", spec.name] if spec else [sys.argv[0]]
    sys.stdout.flush()
    sys.stderr.flush()
    launcher = [sys.executable, "-m", __name__, "--standalone", "--nnodes=1", "--max-restarts=0"]
    launcher.append(f"--nproc-per-node={count}")
    os.execve(sys.executable, [*launcher, *script, *sys.argv[1:]], os.environ | variables)


def main() -> None:
    """Run torchrun and exit with the code of the process that failed first, without a traceback of torchrun."""
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    arguments: Any = run.parse_args(None)  # type: ignore[no-untyped-call]
    if hasattr(arguments, "signals_to_handle"):  # Forward a cluster's warning: the phase saves a checkpoint then.
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
