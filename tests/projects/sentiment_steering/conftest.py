"""A tiny model, encoded states and operators for every test, and a stand-in for the phase that a script holds."""

import argparse
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from projects.sentiment_steering import phase1_collect, phase2_train
from projects.sentiment_steering.data import BUNDLED_PROMPTS, Split, read_prompt_file, split_pairs
from projects.sentiment_steering.models import LanguageModel, load_model
from projects.sentiment_steering.operators import LowRankUnitary
from projects.sentiment_steering.storage import EncodedStates, load_operators, load_states

PAIRS, HELD_OUT = 24, 12


class StandInPhase:
    """Offers what a script uses of the real phase, in a folder and without a tracking store."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        self.metrics: dict[str, float] = {}
        self.description = ""
        (folder / name).mkdir(parents=True, exist_ok=True)

    def input(self, need: str) -> Path:
        return self.folder / need

    def log(self, metrics: dict[str, float] | None = None, *, step: int | None = None, **more: float) -> None:
        self.metrics |= {**(metrics or {}), **more}

    def output(self, name: str, save: Callable[[Path], object]) -> None:
        save(self.folder / self.name / name)

    def steps(self, total: int, state: Any = None, description: str = "") -> Iterator[int]:
        yield from range(total)

    def progress(self, items: Iterable[Any], total: int | None = None, description: str = "") -> Iterable[Any]:
        return items

    def describe(self, markdown: str) -> None:
        self.description = markdown


def default_arguments(module: Any, **changed: Any) -> argparse.Namespace:
    """The arguments of a script when only these differ from its defaults."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["phase"])
        arguments: argparse.Namespace = module.parse_arguments()
    return argparse.Namespace(**{**vars(arguments), **changed})


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny() -> LanguageModel:
    return load_model("tiny", "cpu")


@pytest.fixture(scope="session")
def split() -> Split:
    return split_pairs(read_prompt_file(BUNDLED_PROMPTS), PAIRS, HELD_OUT, seed=0)


@pytest.fixture(scope="session")
def run_phase() -> Callable[..., StandInPhase]:
    """Runs one phase's script in a folder that holds its inputs; logged figures are dropped."""

    def run(folder: Path, name: str, module: Any, **changed: Any) -> StandInPhase:
        phase = StandInPhase(folder, name)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("mlflow.log_figure", lambda figure, path: figure.canvas.draw())
            module.run(phase, default_arguments(module, **changed))
        return phase

    return run


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, run_phase: Callable[..., StandInPhase]) -> Path:
    """A folder with the outputs of phases 1 and 2 on the tiny model. Nobody may write into it."""
    folder = tmp_path_factory.mktemp("finished")
    run_phase(folder, "phase1", phase1_collect, preset="tiny", pairs=PAIRS, held_out=HELD_OUT, prompts=BUNDLED_PROMPTS)
    run_phase(folder, "phase2", phase2_train)
    return folder


@pytest.fixture(scope="session")
def encoded(finished: Path) -> EncodedStates:
    return load_states(finished / "phase1")


@pytest.fixture(scope="session")
def operators(finished: Path) -> tuple[LowRankUnitary, LowRankUnitary]:
    return load_operators(finished / "phase2")
