"""A benchmark that misses a limit cannot hide it: its figure and the list at the end say so, and `--strict` fails."""

import ast
import math
import re
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks import __main__ as bench
from benchmarks.limits import LIMITS_FILE, Limit

LIMIT_WORDS = re.compile(r"\b(at most|at least|limit|bars?)\b")


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[int, list[tuple[float, float]]]]:
    """Exit codes and the figures with their limits, by benchmark, in place of the processes."""
    wanted: dict[str, tuple[int, list[tuple[float, float]]]] = {name: (0, []) for name in bench.BENCHMARKS}

    def run(command: list[str], *, env: dict[str, str], check: bool) -> subprocess.CompletedProcess[str]:
        code, figures = wanted[command[-1].removeprefix("benchmarks.")]
        with monkeypatch.context() as process:
            process.setenv(LIMITS_FILE, env[LIMITS_FILE])
            for number, (figure, limit) in enumerate(figures):
                Limit(f"ratio {number}", figure, limit)
        return subprocess.CompletedProcess(command, code)

    monkeypatch.setattr(bench.subprocess, "run", run)
    return wanted


def test_a_missed_limit_is_named_at_the_end_and_fails_under_strict(benchmarks, capsys) -> None:
    benchmarks["verdict"] = (0, [(3.5, 4.0), (1.2, 1.5)])
    benchmarks["matrix"] = (0, [(8.5, 8.0)])
    assert bench.main([]) == 0
    said = capsys.readouterr().out
    assert "1 of 3 limits missed" in said
    assert "| matrix | ratio 0 | 8.5x | at most 8x |" in said
    assert bench.main(["--strict"]) == 1
    assert bench.main(["--strict", "verdict"]) == 0


def test_held_limits_are_counted(benchmarks, capsys) -> None:
    benchmarks["verdict"] = (0, [(3.5, 4.0), (4.0, 4.0)])
    assert bench.main(["--strict"]) == 0
    assert capsys.readouterr().out.rstrip().endswith("All 2 limits held.")


def test_a_benchmark_that_ends_with_an_error_is_named_and_the_others_run(benchmarks, capsys) -> None:
    benchmarks[bench.BENCHMARKS[0]] = (3, [])
    benchmarks[bench.BENCHMARKS[-1]] = (0, [(2.0, 1.0)])
    assert bench.main([]) == 1
    said = capsys.readouterr().out
    assert f"benchmarks.{bench.BENCHMARKS[0]} ended with exit code 3" in said
    assert "1 of 1 limits missed" in said


def test_an_unknown_benchmark_is_refused(capsys) -> None:
    with pytest.raises(SystemExit):
        bench.main(["verdicts"])
    assert "there is no benchmark 'verdicts'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("figure", "at_least", "shown"),
    [
        (1.2, False, "1.20x"),
        (1.21, False, "1.21x (missed)"),
        (1.2, True, "1.20x"),
        (1.1, True, "1.10x (missed)"),
        (math.nan, False, "nanx (missed)"),
        (math.nan, True, "nanx (missed)"),
    ],
)
def test_a_figure_says_that_it_misses_its_limit(figure: float, at_least: bool, shown: str) -> None:
    assert f"{Limit('ratio', figure, 1.2, at_least=at_least):.2f}" == shown


@pytest.mark.parametrize("name", bench.BENCHMARKS)
def test_a_benchmark_that_speaks_of_a_limit_counts_it(name: str) -> None:
    spec = find_spec(f"benchmarks.{name}")
    assert spec
    assert spec.origin
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    counts = any(isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Limit" for node in ast.walk(tree))
    assert counts or not [text for text in texts if LIMIT_WORDS.search(text)]
