"""A tiny model, encoded states and operators for every test, and a stand-in for the phase that a script holds."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from projects_common.settings import Settings
from sentiment_steering.operators.pair import OperatorPair, load_operators
from sentiment_steering.phases import collect, intervene, reversibility, train
from sentiment_steering.settings import CollectSettings, InterveneSettings, ReversibilitySettings, TrainSettings
from sentiment_steering.states.encoded import EncodedStates, load_states
from sentiment_steering.states.models import LanguageModel, load_model
from sentiment_steering.states.sentences import BUNDLED_PROMPTS, Split, read_prompt_file, split_pairs

PAIRS, HELD_OUT = 24, 12


class StandInPhase:
    """Offer the part of the real phase that the scripts use, in a folder and without a tracking store."""

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


SETTINGS: dict[str, type[Settings]] = {
    "phase1": CollectSettings,
    "phase2": TrainSettings,
    "phase3": InterveneSettings,
    "phase4": ReversibilitySettings,
}
"""The settings of each phase."""
SCRIPTS = {"phase1": collect, "phase2": train, "phase3": intervene, "phase4": reversibility}
"""The script of each phase."""


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
    """Return a function that runs one phase in a folder that holds its inputs; plots are dropped."""

    def run(folder: Path, name: str, **changed: Any) -> StandInPhase:
        phase = StandInPhase(folder, name)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("mlflow.log_figure", lambda figure, path: figure.canvas.draw())
            SCRIPTS[name].run(phase, SETTINGS[name].read(changed))
        return phase

    return run


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, run_phase: Callable[..., StandInPhase]) -> Path:
    """Return a folder with the outputs of phases 1 and 2 on the tiny model. Tests only read it."""
    folder = tmp_path_factory.mktemp("finished")
    run_phase(folder, "phase1", preset="tiny", pairs=PAIRS, held_out=HELD_OUT, prompts=BUNDLED_PROMPTS)
    run_phase(folder, "phase2")
    return folder


@pytest.fixture(scope="session")
def encoded(finished: Path) -> EncodedStates:
    return load_states(finished / "phase1")


@pytest.fixture(scope="session")
def operators(finished: Path) -> OperatorPair:
    return load_operators(finished / "phase2")
