"""Measure the cost of a checkpoint for the loop, its size, and the time to resume, beside other ways to save.

python -m benchmarks.checkpoints [--megabytes 400] [--minutes 2.5]

Every way runs in a process of its own, the plugin's as a phase that `mlflow run -b phases` starts.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from benchmarks.checkpoint_loop import WAYS
from benchmarks.limits import Limit
from benchmarks.timing import heading, row
from mlflow_plugin.checkpoints.resume import LoadedCheckpoint, newest_verified
from mlflow_plugin.checkpoints.state import restore
from mlflow_plugin.checkpoints.store import CheckpointStore
from mlflow_plugin.checkpoints.writer import CheckpointWriter
from mlflow_plugin.store.run import PhaseRun

ROOT = Path(__file__).resolve().parents[1]
HELD_UP, MEMORY, STORED, RESUMED = 1.5, 2.2, 1.1, 1.5
SLOWDOWN_OF_ASYNC, SLOWDOWN_BESIDE, SLOWDOWN_OWN = 0.5, 10.0, 2.0
PROJECT = """name: benchmark
entry_points:
  loop:
    command: "{command}"
    phase: {{}}
"""


def in_process(way: str, *words: str) -> dict[str, Any]:
    """Run the loop of one way in an empty folder and return its measurements."""
    with tempfile.TemporaryDirectory() as temporary:
        command = [sys.executable, "-m", "benchmarks.checkpoint_loop", way, *words]
        if way in ("plugin", "own interval"):
            quoted = " ".join(f"'{word}'" if " " in word else word for word in command)
            Path(temporary, "MLproject").write_text(PROJECT.format(command=quoted))
            command = [str(Path(sys.executable).parent / "mlflow"), "run", ".", "-e", "loop", "-b", "phases"]
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "ignore",
            "MLFLOW_TRACKING_URI": f"sqlite:///{temporary}/mlflow.db",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        done = subprocess.run(
            command,
            cwd=temporary,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        for line in done.stdout.splitlines():
            if line.startswith("RESULT "):
                found: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
                return found
        raise RuntimeError(f"{way} found nothing:\n{done.stdout[-3000:]}")


def loops(megabytes: int, threads: int) -> list[str]:
    """One table: every way with so many threads, 0 for all."""
    found = {}
    for way in WAYS:
        print(f"[bench] {way}, {threads or 'all'} threads", file=sys.stderr, flush=True)
        found[way] = in_process(way, "--megabytes", str(megabytes), "--threads", str(threads))
    floor = found["kept buffers"]["blocked"]
    lines = [
        heading(
            "way", "held up, ms", "x kept buffers", "longest, ms", "slowdown", "MB written a save", "memory / state"
        )
    ]
    for way, seen in found.items():
        lines.append(
            row(
                way,
                f"{1e3 * seen['blocked']:.0f}",
                f"{seen['blocked'] / floor:.1f}",
                f"{1e3 * seen['longest']:.0f}",
                f"{100 * seen['slowdown']:.0f}%",
                f"{seen['written']:.0f}",
                f"{seen['memory']:.2f}",
            )
        )
    return [*lines, "", " ".join(f"{one.name}: {one:.2f}, {one.allowed}." for one in limits_of(found, threads))]


def limits_of(found: Mapping[str, Mapping[str, float]], threads: int) -> list[Limit]:
    """Return the figures of the plugin that have a limit, with so many threads, 0 for all."""
    plugin, cores = found["plugin"], "one core" if threads else "all cores"
    held_up = plugin["blocked"] / found["kept buffers"]["blocked"]
    limits = [
        Limit(f"Held up / kept buffers, {cores}", held_up, HELD_UP),
        Limit(f"Memory / state, {cores}", plugin["memory"], MEMORY),
    ]
    if threads:
        return [*limits, Limit(f"Slowdown, {cores}", 100 * plugin["slowdown"], SLOWDOWN_BESIDE, "%")]
    part = plugin["slowdown"] / found["async_save"]["slowdown"]
    return [*limits, Limit(f"Slowdown / that of async_save, {cores}", part, SLOWDOWN_OF_ASYNC)]


def stored_with_frozen_base(folder: Path, base_mb: int = 200, adapter_mb: int = 4) -> float:
    """Return the size of ten checkpoints of an adapter and a frozen base, over one base and ten adapters."""
    base = {"base": torch.randn(base_mb * 250_000)}
    adapter = {name: torch.randn(adapter_mb * 250_000) for name in ("adapter", "exp_avg", "exp_avg_sq")}
    writer = CheckpointWriter(CheckpointStore(str(folder)), lambda *_: None, lambda name: None, "benchmark")
    for step in range(1, 11):
        for tensor in adapter.values():
            tensor += 1e-3
        writer.save({**base, **adapter}, step, {})
    writer.flush()
    stored = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return stored / ((base_mb + 10 * 3 * adapter_mb) * 1e6)


def resuming(folder: Path, megabytes: int) -> tuple[float, float]:
    """Seconds to find, verify, read and put back the newest checkpoint; and to hash and load the same file."""
    state = {f"layer{number}": torch.randn(megabytes * 12_500) for number in range(20)}
    writer = CheckpointWriter(CheckpointStore(str(folder)), lambda *_: None, lambda name: None, "benchmark")
    writer.save({"state": {"weights": state}, "random": {}}, 1, {})
    writer.flush()
    file = folder / "checkpoints" / "step-000001" / "tensors.safetensors"
    run = PhaseRun("benchmark", "loop", artifact_uri=str(folder))
    ours, theirs = [], []
    for _ in range(6):
        began = time.perf_counter()
        found = newest_verified([run], lambda *_: None)
        assert isinstance(found, LoadedCheckpoint)
        restore({"weights": state}, found.state)
        ours.append(time.perf_counter() - began)
        began = time.perf_counter()
        with file.open("rb") as content:
            hashlib.file_digest(content, "sha256")
        for name, tensor in load_file(file).items():
            state[name.rpartition(".")[2]].copy_(tensor)
        theirs.append(time.perf_counter() - began)
    return sorted(ours)[len(ours) // 2], sorted(theirs)[len(theirs) // 2]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=400)
    parser.add_argument("--minutes", type=float, default=2.5, help="of the loop that saves when the plugin says so")
    arguments = parser.parse_args()
    size = arguments.megabytes
    print(f"### Saving a state of {size} MB every 20 steps of 50 ms\n\nAll {os.cpu_count()} cores computing:\n")
    print("\n".join(loops(size, 0)), flush=True)
    print("\nOne core computing, the others free:\n")
    print("\n".join(loops(size, 1)), flush=True)
    own = in_process("own interval", "--megabytes", str(size), "--minutes", str(arguments.minutes))
    slowdown = Limit("slowdown when the plugin chooses", 100 * own["slowdown"], SLOWDOWN_OWN, "%")
    print(f"\nSaving when the plugin chooses, {own['minutes']:.1f} minutes: {slowdown:.1f} slower than without.")
    with tempfile.TemporaryDirectory() as folder:
        ratio = Limit("stored / (the base once + 10 adapters)", stored_with_frozen_base(Path(folder)), STORED)
    print(f"\n10 checkpoints of an adapter on a frozen base: {ratio:.3f} (the base once + 10 adapters with optimizer).")
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = resuming(Path(folder), size)
    resumed = Limit("resuming / hashing, loading and copying the file", ours / theirs, RESUMED)
    print(f"\nResuming: {ours:.2f} s, {resumed:.2f} hashing the file, loading it and copying it into place.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
