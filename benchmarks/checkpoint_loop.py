"""One training-like loop that saves its state in one of several ways, and what that cost it: one row of `checkpoints`.

A step's matrix products take some 50 ms on all threads, and each step changes a little of every tensor in place.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from benchmarks.steering import peak_megabytes

TENSORS, STEP_SECONDS = 20, 0.05
Save = Callable[[dict[str, torch.Tensor], int], object]
Finish = Callable[[], object]


def kept_buffers(phase: Any) -> tuple[Save, Finish]:
    """The floor: the state copied into memory that is there already, and never written."""
    kept: dict[str, torch.Tensor] = {}

    def save(state: dict[str, torch.Tensor], step: int) -> None:
        for name, tensor in state.items():
            if name in kept:
                kept[name].copy_(tensor)
            else:
                kept[name] = tensor.clone()

    return save, lambda: None


def torch_save(phase: Any) -> tuple[Save, Finish]:
    """To a file, synced to disk."""

    def save(state: dict[str, torch.Tensor], step: int) -> None:
        with open("state.pt", "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())

    return save, lambda: None


def async_save(phase: Any) -> tuple[Save, Finish]:
    """PyTorch's own saving in the background, as its documentation has it: the next waits for the one before."""
    import torch.distributed as distributed
    import torch.distributed.checkpoint as distributed_checkpoint

    distributed.init_process_group("gloo", init_method=f"file://{Path('meeting').absolute()}", rank=0, world_size=1)
    running: list[Any] = []

    def wait() -> None:
        if running:
            running.pop().result()

    def save(state: dict[str, torch.Tensor], step: int) -> None:
        wait()
        running.append(distributed_checkpoint.async_save(state, checkpoint_id=f"step-{step}"))

    return save, lambda: (wait(), distributed.destroy_process_group())


def log_artifact(phase: Any) -> tuple[Save, Finish]:
    """The way that people save by hand."""
    import mlflow

    mlflow.set_tracking_uri("sqlite:///by_hand.db")
    mlflow.start_run()

    def save(state: dict[str, torch.Tensor], step: int) -> None:
        torch.save(state, "state.pt")
        mlflow.log_artifact("state.pt", f"step-{step}")

    return save, mlflow.end_run


def plugin(phase: Any) -> tuple[Save, Finish]:
    """`phase.checkpoint` in a phase that `mlflow run` started."""
    return lambda state, step: phase.checkpoint({"weights": state}, step), phase._checkpoints.finish


WAYS = {
    "kept buffers": kept_buffers,
    "torch.save": torch_save,
    "async_save": async_save,
    "log_artifact": log_artifact,
    "plugin": plugin,
}


class Training:
    """A state of so many megabytes and steps of some 50 ms that change it."""

    def __init__(self, megabytes: int) -> None:
        torch.manual_seed(0)
        self.state = {f"layer{number}": torch.randn(megabytes * 250_000 // TENSORS) for number in range(TENSORS)}
        self._matrix = torch.randn(1024, 1024)
        self._products = 1
        self.run(5)
        self._products = max(1, round(STEP_SECONDS / min(self.run(1) for _ in range(20))))

    def step(self) -> None:
        product = self._matrix
        for _ in range(self._products):
            product = product @ self._matrix
        for tensor in self.state.values():
            tensor[:1000] += 1e-3

    def run(self, steps: int) -> float:
        began = time.perf_counter()
        for _ in range(steps):
            self.step()
        return time.perf_counter() - began


def measure(way: str, megabytes: int, saves: int, every: int, phase: Any) -> dict[str, Any]:
    """Steps without saving, with it, and without: seconds of each, and how long each save held the loop up."""
    save, finish = WAYS[way](phase)
    start_megabytes = peak_megabytes()
    training = Training(megabytes)
    plain = training.run(saves * every // 2)
    blocked, written, began = [], bytes_written(), time.perf_counter()
    for number in range(1, saves + 1):
        training.run(every)
        before = time.perf_counter()
        save(training.state, number * every)
        blocked.append(time.perf_counter() - before)
    finish()
    total = time.perf_counter() - began
    plain += training.run(saves * every - saves * every // 2)
    return {
        "blocked": statistics.median(blocked),
        "longest": max(blocked),
        "slowdown": total / plain - 1,
        "written": (bytes_written() - written) / saves / 1e6,
        "memory": (peak_megabytes() - start_megabytes) / megabytes,
    }


def own_interval(megabytes: int, minutes: float, phase: Any) -> dict[str, Any]:
    """A loop of so many minutes that leaves it to the plugin when to save, against the same steps without."""
    training = Training(megabytes)
    steps = round(minutes * 60 / STEP_SECONDS)
    plain = training.run(steps // 2)
    began = time.perf_counter()
    for _ in phase.steps(steps, state={"weights": training.state}):
        training.step()
    phase._checkpoints.finish()
    total = time.perf_counter() - began
    plain += training.run(steps - steps // 2)
    return {"slowdown": total / plain - 1, "minutes": total / 60}


def bytes_written() -> int:
    """Return the bytes that this process has written to disk; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/io").read_text().partition("\nwrite_bytes:")[2].split()[0])
    except (OSError, IndexError):
        return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("way", choices=(*WAYS, "own interval"))
    parser.add_argument("--megabytes", type=int, default=400)
    parser.add_argument("--saves", type=int, default=10)
    parser.add_argument("--every", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=2.5)
    parser.add_argument("--threads", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.way in ("plugin", "own interval"):
        from mlflow_plugin import start_phase

        context: Any = start_phase()
    else:
        context = nullcontext()
    with context as phase:
        if arguments.way == "own interval":
            seen = own_interval(arguments.megabytes, arguments.minutes, phase)
        else:
            seen = measure(arguments.way, arguments.megabytes, arguments.saves, arguments.every, phase)
        print("RESULT " + json.dumps(seen), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
