"""All benchmarks, as Markdown: `python -m benchmarks`, or `make bench`."""

import subprocess
import sys

BENCHMARKS = (
    "benchmarks.verdict",
    "benchmarks.traces",
    "benchmarks.matrix",
    "benchmarks.observation",
    "benchmarks.commands",
    "benchmarks.page",
    "benchmarks.checkpoints",
    "benchmarks.steering",
    "benchmarks.lora_preflight",
    "benchmarks.lora_training",
    "benchmarks.lora_merge",
    "benchmarks.lora_validation",
)


def main() -> int:
    """Runs each in a process of its own, so that one's imports and memory do not count for another."""
    for name in BENCHMARKS:
        print(f"[bench] {name}", file=sys.stderr, flush=True)
        done = subprocess.run([sys.executable, "-m", name], check=False)
        if done.returncode:
            return done.returncode
        print(flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
