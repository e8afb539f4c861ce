"""All benchmarks, as Markdown: `python -m benchmarks`, or `make bench`. The limits that were missed stand at the end.

python -m benchmarks [--strict] [NAME ...]
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.limits import LIMITS_FILE, Limit, read_limits, summary

BENCHMARKS = (
    "verdict",
    "traces",
    "matrix",
    "observation",
    "commands",
    "page",
    "checkpoints",
    "project_files",
    "side_by_side",
    "steering",
    "lora_preflight",
    "lora_training",
    "lora_merge",
    "lora_validation",
)


def run_each(names: Sequence[str]) -> tuple[list[tuple[str, Limit]], list[str]]:
    """Run each in a process of its own, so that one's imports and memory do not count for another.

    Returns:
        All limits with the names of their benchmarks, and a sentence for each benchmark that ended with an error.
    """
    limits, failed = [], []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            print(f"[bench] {name}", file=sys.stderr, flush=True)
            file = Path(folder) / name
            command = [sys.executable, "-m", f"benchmarks.{name}"]
            done = subprocess.run(command, check=False, env={**os.environ, LIMITS_FILE: str(file)})
            if done.returncode:
                failed.append(
                    f"benchmarks.{name} ended with exit code {done.returncode}; its figures are not complete."
                )
            limits += [(name, limit) for limit in read_limits(file)]
            print(flush=True)
    return limits, failed


def main(words: Sequence[str] | None = None) -> int:
    """Run the benchmarks and print the limits that were missed; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure everything, as Markdown.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"only these: {', '.join(BENCHMARKS)}")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when a limit is missed")
    arguments = parser.parse_args(words)
    if unknown := [name for name in arguments.names if name not in BENCHMARKS]:
        parser.error(f"there is no benchmark {unknown[0]!r}; there are {', '.join(BENCHMARKS)}")
    limits, failed = run_each(arguments.names or BENCHMARKS)
    print(summary(limits, failed), flush=True)
    missed = not all(limit.held for _, limit in limits)
    return 1 if failed or (arguments.strict and missed) else 0


if __name__ == "__main__":
    sys.exit(main())
