"""What observation costs: an opening that was seen before, a first one, a start, and an epoch over many small files."""

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.limits import Limit
from benchmarks.timing import heading, row
from mlflow_plugin.observation import recorder
from mlflow_plugin.observation.notification import unavailable
from mlflow_plugin.observation.recorder import Recorder
from mlflow_plugin.observation.shim import Shim, shim

ROUNDS = 5
FILES = 20_000
REPEATED_BAR, START_BAR = 5.0, 30.0

OPENINGS = """
import os, time
names = [f"files/{i}" for i in range(%d)]
def once():
    began = time.process_time(), time.perf_counter()
    for name in names:
        os.close(os.open(name, os.O_RDONLY))
    return [(now - then) / len(names) * 1e6 for now, then in zip((time.process_time(), time.perf_counter()), began)]
first, *repeated = [once() for _ in range(4)]
print(*first, *min(repeated))
"""
# An epoch that reads 2 kB from each file and computes for about 0.1 ms.
EPOCH = """
import time
def epoch():
    began = time.perf_counter()
    for i in range(%d):
        with open(f"files/{i}", "rb") as file:
            sum(file.read())
    return time.perf_counter() - began
epoch()
print(min(epoch() for _ in range(2)))
"""


def environment_of(way: str, folder: Path) -> Mapping[str, str]:
    """The environment of a process that is observed in one way, or not at all."""
    if way == "none":
        return os.environ
    recorder.shim = shim if way == "shim" else lambda: Shim(None, "left out")
    recorder.unavailable = unavailable if way == "notification" else lambda: "left out"
    records = Path(tempfile.mkdtemp(dir=folder))
    return {**os.environ, **Recorder(records, own=[str(folder)], skip=[]).variables(os.environ)}


def run(way: str, folder: Path, code: str) -> tuple[list[float], float]:
    """Runs Python code and returns the numbers that it prints, and the milliseconds of CPU that it took."""
    environment = environment_of(way, folder)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(done.stderr)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return [float(number) for number in done.stdout.split()], cpu * 1000


def best(way: str, folder: Path, code: str, rounds: int = ROUNDS) -> list[float]:
    """The least of each number over some runs; the last one is the CPU of the whole process."""
    runs: list[Sequence[float]] = []
    for _ in range(rounds):
        numbers, cpu = run(way, folder, code)
        runs.append([*numbers, cpu])
    return [min(numbers) for numbers in zip(*runs, strict=True)]


def ways() -> list[str]:
    possible = {"none": True, "shim": shim().path is not None, "notification": not unavailable(), "hook": True}
    return [way for way, is_possible in possible.items() if is_possible]


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "files").mkdir()
        for number in range(FILES):
            (folder / "files" / str(number)).write_bytes(bytes(2000))
        found = {
            way: (
                best(way, folder, OPENINGS % FILES),
                best(way, folder, "", 20)[-1],
                best(way, folder, EPOCH % FILES, 2),
            )
            for way in ways()
        }
    plain = found["none"]
    print("## What observation costs\n")
    print(heading("way", "first opening, µs of CPU", "repeated opening, µs of CPU", "repeated, µs by the clock",
                  "start, ms of CPU", "epoch of small files"))  # fmt: skip
    for way, (openings, start, epoch) in found.items():
        more = [here - there for here, there in zip(openings, plain[0], strict=True)]
        print(row(way, *(f"{more[at]:+.1f}" for at in (0, 2, 3)), f"{start - plain[1]:+.0f}",
                  f"{epoch[0] / plain[2][0]:.2f}x"))  # fmt: skip
    for way in ("shim", "hook"):
        if way in found:
            openings, start, _ = found[way]
            repeated = Limit(f"a repeated opening, {way}", openings[2] - plain[0][2], REPEATED_BAR, " µs")
            begun = Limit(f"a start, {way}", start - plain[1], START_BAR, " ms")
            print(f"\n{way}: {repeated:.1f} a repeated opening ({repeated.allowed}),", end=" ")
            print(f"{begun:.0f} a start ({begun.allowed}).")
    return 0


if __name__ == "__main__":
    sys.exit(main())
