"""The four shapes: how the steps of `steps.py` hand over, and the keys that this takes.

Each shape is a stock MLflow project, as plain data, and the keys that are added to its entry points. The stock files
alone run with MLflow as well; nothing in them knows of the plugin.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from tests.end_to_end.four_shapes.steps import (
    LIGHT_COMMAND,
    PARAMETERS,
    STEPS,
    TRAIN_COMMAND,
    TRAIN_PARAMETERS,
    TRAIN_WORDS,
    step_files,
)
from tests.end_to_end.project_folder import recording

PATH = {"type": "path"}
STRING = {"type": "string"}
SEED = {"seed": PARAMETERS["seed"]}
OF_TRAIN = {"ignore": ["device"]}
OF_EVALUATE = {"code": ["evaluate.py", "judge.sql", "judge.yaml", "hands.py"]}
ROOTS = {"roots": {"data": "$DATA"}, "python_env": "python_env.yaml"}

MAIN = (
    recording("main")
    + '''
import json
import sys
import time
from pathlib import Path

import mlflow
import yaml

ROOT = Path(__file__).resolve().parent
SRC = ROOT / "src"


def composed():
    """Return the configuration as hydra composes it from its list of defaults, and keep it as hydra does."""
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    for one in config.pop("defaults"):
        for group, name in one.items():
            config[group] = yaml.safe_load((ROOT / "config" / group / f"{name}.yaml").read_text())
    kept = ROOT / "outputs" / str(time.time()) / "config.yaml"
    kept.parent.mkdir(parents=True)
    kept.write_text(json.dumps(config))
    return config


def step(name, **parameters):
    mlflow.run(str(SRC / name), "main", parameters=parameters)


def go(config, seed, *train):
    prepared = str(SRC / "prepare/prepared.txt")
    step("prepare", target="prepared.txt", seed=int(seed) + config["data"]["first_seed"])
    step("baseline", source=prepared, target="baseline.txt")
    step("train", source=prepared, target="model.txt", **dict(zip(NAMES, train, strict=True)))
    step(
        "evaluate",
        model=str(SRC / "train/model.txt"),
        baseline=str(SRC / "baseline/baseline.txt"),
        target="evaluated.txt",
    )


NAMES = PARAMETER_NAMES
go(composed(), *sys.argv[1:])
'''
).replace("PARAMETER_NAMES", repr(list(TRAIN_PARAMETERS)))
CONFIG = {
    "config/config.yaml": "defaults:\n- data: default\n",
    "config/data/default.yaml": "first_seed: 0\n",
    "config/data/other.yaml": "first_seed: 7\n",
}


@dataclass(frozen=True)
class Shape:
    """A stock project and the keys that make its entry points phases.

    Attributes:
        stock: the MLproject files by folder, as MLflow takes them.
        keys: what is added to an entry point, by folder and entry point.
        files: all other files.
        folders: the folder of each step.
        entry: folder and entry point by which each step is asked for alone.
        result: where a step leaves its result in the project; empty where it is logged to MLflow.
        light: the steps read little.
    """

    name: str
    stock: Mapping[str, Mapping[str, Any]]
    keys: Mapping[tuple[str, str], Mapping[str, Any]]
    files: Mapping[str, str]
    folders: Mapping[str, str]
    entry: Mapping[str, tuple[str, str]]
    result: Mapping[str, str]
    light: bool

    @property
    def calls(self) -> bool:
        """Whether the steps are called by a script."""
        return "main.py" in self.files

    def mlprojects(self, with_keys: bool = True) -> dict[str, str]:
        """Return the MLproject files as text."""
        texts = {}
        for folder, stock in self.stock.items():
            entries = {
                name: {**entry, **(self.keys.get((folder, name), {}) if with_keys else {})}
                for name, entry in stock["entry_points"].items()
            }
            file = {**stock, "entry_points": entries}
            if not with_keys:
                file.pop("roots", None)
            texts[f"{folder}MLproject"] = yaml.safe_dump(file, sort_keys=False)
        return texts


def _entry(parameters: Mapping[str, Any], command: str) -> dict[str, Any]:
    return {"parameters": dict(parameters), "command": command}


def _files(folders: Mapping[str, str], up: str, light: bool) -> dict[str, str]:
    return {f"{folders[step]}{name}": text for step in STEPS for name, text in step_files(step, up, light).items()}


def _all(words: str) -> str:
    """The command of a stock `main` that runs the entry points of its file one after another."""
    return " && ".join(f"mlflow run . -e {step} --env-manager local" for step in words.split())


def _entries(
    light: bool,
    source: Mapping[str, Any],
    sources: str,
    target: Callable[[str], str],
    judged: Mapping[str, Any],
    judging: str,
) -> dict[str, dict[str, Any]]:
    command = LIGHT_COMMAND if light else TRAIN_COMMAND
    return {
        "prepare": _entry(SEED, f"python prepare.py {target('prepare')} {{seed}}"),
        "baseline": _entry(source, f"python baseline.py {sources} {target('baseline')}"),
        "train": _entry({**source, **TRAIN_PARAMETERS}, f"{command} {sources} {target('train')} {TRAIN_WORDS}"),
        "evaluate": _entry(judged, f"python evaluate.py {judging} {target('evaluate')}"),
    }


def hydra(light: bool) -> Shape:
    """(a) `main.py` composes a configuration and calls `mlflow.run` for each step, in folders below."""
    folders = {step: f"src/{step}/" for step in STEPS}
    target = {"target": STRING}
    entries = _entries(
        light,
        {"source": PATH, **target},
        "{source}",
        lambda _: "{target}",
        {"model": PATH, "baseline": PATH, **target},
        "{model} {baseline}",
    )
    entries["prepare"]["parameters"] = {**target, **SEED}
    results = {"prepare": "prepared.txt", "baseline": "baseline.txt", "train": "model.txt", "evaluate": "evaluated.txt"}
    stock: dict[str, Mapping[str, Any]] = {
        "": {
            "name": "hydra",
            "entry_points": {
                "main": _entry(PARAMETERS, "python main.py " + " ".join(f"{{{name}}}" for name in PARAMETERS))
            },
        }
    }
    for step, folder in folders.items():
        more = ROOTS if step == "train" else {}
        stock[folder] = {"name": step, **more, "entry_points": {"main": entries[step]}}
    keys = {(folders[step], "main"): {"phase": {"outputs": [results[step]]}} for step in STEPS}
    keys[folders["train"], "main"]["phase"] |= OF_TRAIN
    keys[folders["evaluate"], "main"]["phase"] |= OF_EVALUATE
    keys["", "main"] = {"phase": dict(OF_TRAIN)}
    return Shape(
        "hydra",
        stock,
        keys,
        {"main.py": MAIN, **CONFIG, **_files(folders, "../../..", light)},
        folders,
        {step: (folder, "main") for step, folder in folders.items()},
        {step: f"{folders[step]}{results[step]}" for step in STEPS},
        light,
    )


def by_disk(light: bool) -> Shape:
    """(b) One file, whose steps hand over by folders and files of the project."""
    results = {
        "prepare": "work/processed/prepared.txt",
        "baseline": "work/baseline.txt",
        "train": "models/model.txt",
        "evaluate": "evaluated.txt",
    }
    entries = _entries(
        light, {}, "work/processed", lambda step: results[step], {}, "models/model.txt work/baseline.txt"
    )
    outputs = {**results, "prepare": "work/processed", "train": "models/*.txt"}
    return _one_file(
        "by_disk", entries, {step: {"outputs": [outputs[step]]} for step in STEPS}, results, needs=True, light=light
    )


def by_artifact(light: bool) -> Shape:
    """(c) One file, whose steps log their results and take those of others as path parameters."""
    entries = _entries(
        light, {"source": PATH}, "{source}", lambda _: "-", {"model": PATH, "baseline": PATH}, "{model} {baseline}"
    )
    source = {"inputs": {"source": "prepare/prepared"}}
    keys = {
        "prepare": {},
        "baseline": source,
        "train": source,
        "evaluate": {"inputs": {"model": "train/model.txt", "baseline": "baseline/baseline.txt"}},
    }
    return _one_file("by_artifact", entries, keys, {}, needs=False, light=light)


NEEDS = {"prepare": [], "baseline": ["prepare"], "train": ["prepare"], "evaluate": ["train", "baseline"]}


def _one_file(
    name: str,
    entries: Mapping[str, Mapping[str, Any]],
    keys: Mapping[str, Mapping[str, Any]],
    results: Mapping[str, str],
    needs: bool,
    light: bool,
) -> Shape:
    folders = dict.fromkeys(STEPS, "")
    main = _entry(PARAMETERS, _all("prepare baseline train evaluate"))
    added = {}
    for step in STEPS:
        phase = {**keys[step], **({"needs": NEEDS[step]} if needs and NEEDS[step] else {})}
        phase |= {"train": OF_TRAIN, "evaluate": OF_EVALUATE}.get(step, {})
        added["", step] = {"phase": phase}
    return Shape(
        name,
        {"": {"name": name, **ROOTS, "entry_points": {**entries, "main": main}}},
        {**added, ("", "main"): {"pipeline": ["evaluate"]}},
        _files(folders, "..", light),
        folders,
        {step: ("", step) for step in STEPS},
        results,
        light,
    )


def file_per_step(light: bool) -> Shape:
    """(d) One MLproject file for each step; the one above them names the last."""
    folders = {step: f"{step}/" for step in STEPS}
    results = {"prepare": "prepared.txt", "baseline": "baseline.txt", "train": "model.txt", "evaluate": "evaluated.txt"}
    entries = _entries(
        light,
        {},
        "../prepare/prepared.txt",
        lambda step: results[step],
        {},
        "../train/model.txt ../baseline/baseline.txt",
    )
    stock: dict[str, Mapping[str, Any]] = {}
    keys: dict[tuple[str, str], dict[str, Any]] = {}
    for step, folder in folders.items():
        more = ROOTS if step == "train" else {}
        stock[folder] = {"name": step, **more, "entry_points": {"main": entries[step]}}
        phase: dict[str, Any] = {"outputs": [results[step]], "needs": [f"../{need}#main" for need in NEEDS[step]]}
        phase |= {"train": OF_TRAIN, "evaluate": OF_EVALUATE}.get(step, {})
        keys[folder, "main"] = {"phase": phase}
    main = " && ".join(f"mlflow run {step} --env-manager local" for step in STEPS)
    stock[""] = {"name": "file_per_step", "entry_points": {"main": _entry(PARAMETERS, main)}}
    keys["", "main"] = {"pipeline": ["evaluate#main"]}
    return Shape(
        "file_per_step",
        stock,
        keys,
        _files(folders, "../..", light),
        folders,
        {step: (folder, "main") for step, folder in folders.items()},
        {step: f"{folders[step]}{results[step]}" for step in STEPS},
        light,
    )


_MAKERS = (hydra, by_disk, by_artifact, file_per_step)
SHAPES = {shape.name: shape for shape in (make(False) for make in _MAKERS)}
LIGHT = {shape.name: shape for shape in (make(True) for make in _MAKERS)}
"""The same shapes with steps that read two files alone, for changes of what counts for every script."""
