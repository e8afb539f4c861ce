"""Phase 2 at the published 7B size: both operators with cross-validation, beside the published figure and a dense step.

python -m benchmarks.steering [--dense-dimension 2333]

The states are synthetic, of the size and likeness of the published ones: width 3584, 50 training and 50 held-out pairs,
and a large part that all states share, so that the identity alone has a fidelity near 0.996. The dense step is one
gradient step of a Cayley operator on the full d x d matrix, as in the original experiment; measured at a smaller d, its
time is scaled by the cube.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from benchmarks.limits import Limit
from benchmarks.timing import heading, row

PROJECTS = Path(__file__).resolve().parents[1] / "projects"
sys.path[:0] = [str(PROJECTS / "sentiment_steering"), str(PROJECTS / "common")]

from sentiment_steering.operators.procrustes import fit_procrustes  # noqa: E402
from sentiment_steering.operators.unitary import centroid_rotation, fidelity  # noqa: E402
from sentiment_steering.states.encoding import Encoding  # noqa: E402

WIDTH, PAIRS, HELD_OUT = 3584, 50, 50
FIT_SECONDS, FIT_MEGABYTES = 5.0, 600.0
PUBLISHED_SECONDS = 11 * 60
"""Two operators, 100 epochs each, at dimension 9333 on an RTX 5090."""


def make_states(file: Path) -> None:
    """Encoded pairs with a common part, a class direction, a topic that each pair shares, and noise of falling size."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    pairs = PAIRS + HELD_OUT
    spectrum = torch.arange(1, WIDTH + 1).pow(-0.7)
    frame = torch.linalg.qr(normal(WIDTH, 64)).Q
    common, direction = frame[:, 0], frame[:, 1]
    topics = normal(pairs, 62) @ frame[:, 2:].mT * 0.004
    sides = {}
    for name, sign in (("positive", 1), ("negative", -1)):
        noise = normal(pairs, WIDTH) * spectrum
        noise = noise / torch.linalg.vector_norm(noise, dim=1, keepdim=True) * 0.035
        hidden = common + 0.02 * sign * direction + topics + noise
        sides[name] = torch.view_as_real(Encoding(WIDTH).encode(hidden)[0]).contiguous()
    save_file(sides, file)


def fit(file: Path) -> None:
    """Fits both operators and prints seconds, MB above imports and data, and fidelities, as one row of numbers."""
    sides = {name: torch.view_as_complex(tensor) for name, tensor in load_file(file).items()}
    source, held_source = sides["positive"].split([PAIRS, HELD_OUT])
    target, held_target = sides["negative"].split([PAIRS, HELD_OUT])
    torch.linalg.svd(torch.eye(2, dtype=torch.complex128))  # the linear algebra library loads on its first use
    before = peak_megabytes()
    began = time.perf_counter()
    forward = fit_procrustes(source, target)
    reverse = fit_procrustes(target, source, basis=forward.operator.basis)
    seconds = time.perf_counter() - began
    peak = peak_megabytes() - before
    began = time.perf_counter()
    fit_procrustes(source, target, mu=forward.mu)
    single = time.perf_counter() - began
    fidelities = [
        float(fidelity(operator, held_source, held_target).mean())
        for operator in (forward.operator, None, centroid_rotation(source, target))
    ]
    back = float(fidelity(reverse.operator, held_target, held_source).mean())
    unitarity = max(fitted.operator.unitarity_error() for fitted in (forward, reverse))
    print(seconds, single, peak, *fidelities, back, unitarity)


def peak_megabytes() -> float:
    """The most memory that this process has held so far."""
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def dense_step(dimension: int) -> None:
    """One gradient step of a dense Cayley operator on 50 pairs; prints its seconds."""
    generator = torch.Generator().manual_seed(0)
    source, target = (
        torch.nn.functional.normalize(torch.randn(PAIRS, dimension, dtype=torch.complex64, generator=generator))
        for _ in range(2)
    )
    stored = torch.zeros(dimension, dimension, 2, requires_grad=True)
    optimizer = torch.optim.Adam([stored], lr=0.01)
    began = time.perf_counter()
    matrix = torch.view_as_complex(stored)
    turned = 0.5j * (matrix + matrix.mH)
    identity = torch.eye(dimension, dtype=torch.complex64)
    operator = torch.linalg.solve(identity + turned, identity - turned)
    loss = 1 - (target.conj() * (source @ operator.mT)).sum(1).abs().square().mean()
    loss.backward()
    optimizer.step()
    print(time.perf_counter() - began)


def in_process(*words: str) -> list[float]:
    """The numbers that a part of this benchmark prints when it has a process to itself."""
    command = [sys.executable, "-m", "benchmarks.steering", *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return [float(word) for word in done.stdout.split()]


def table(numbers: list[float], dense_dimension: int, dense_seconds: float) -> str:
    """The results as Markdown."""
    seconds, single, peak, held_out, identity, centroid, back, unitarity = numbers
    dimension = Encoding(WIDTH).dimension
    dense = dense_seconds * (dimension / dense_dimension) ** 3
    scaled = "" if dense_dimension == dimension else f", scaled from {dense_seconds:.1f} s at d = {dense_dimension}"
    fitted = Limit("both operators", seconds, FIT_SECONDS, " s")
    memory = Limit("memory above imports and data", peak, FIT_MEGABYTES, " MB")
    controls = f"identity {identity:.6f}, centroid rotation {centroid:.6f}"
    return "\n".join(
        [
            f"Phase 2 at d = {dimension}, N = {PAIRS}, {os.cpu_count()} cores, {torch.get_num_threads()} threads:",
            "",
            heading("measured", "value", "limit or comparison"),
            row("both operators, 10 mu x 5 folds", f"{fitted:.2f}", fitted.allowed),
            row("one operator, mu given", f"{single:.2f} s", ""),
            row(memory.name, f"{memory:.0f}", memory.allowed),
            row("held-out fidelity, to negative", f"{held_out:.6f}", controls),
            row("held-out fidelity, to positive", f"{back:.6f}", controls),
            row("unitarity error", f"{unitarity:.1e}", ""),
            row("published: 2 x 100 epochs, RTX 5090", f"{PUBLISHED_SECONDS} s", f"{PUBLISHED_SECONDS / seconds:.0f}x"),
            row("one dense gradient step here", f"{dense:.0f} s{scaled}", f"{dense / seconds:.0f}x"),
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dense-dimension", type=int, default=2333, help="9333: the step itself")
    parser.add_argument("--part", choices=("states", "fit", "dense"), help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part == "states":
        make_states(arguments.file)
    elif arguments.part == "fit":
        fit(arguments.file)
    elif arguments.part == "dense":
        dense_step(arguments.dense_dimension)
    else:
        with tempfile.TemporaryDirectory() as folder:
            file = str(Path(folder) / "states.safetensors")
            in_process("--part", "states", "--file", file)
            numbers = in_process("--part", "fit", "--file", file)
        (dense,) = in_process("--part", "dense", "--dense-dimension", str(arguments.dense_dimension))
        print(table(numbers, arguments.dense_dimension, dense))
    return 0


if __name__ == "__main__":
    sys.exit(main())
