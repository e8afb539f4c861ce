"""The four steps that all shapes have, as scripts that know nothing of the plugin, and the files that they read.

`prepare` makes the data. `baseline` and `train` are made from it, `evaluate` from both: a diamond. Each script takes
where its input lies and where its result goes; a result that goes to `-` is logged to MLflow. What `train` and
`baseline` read stands in their results, so that a stale one can be told.
"""

import os
from pathlib import Path

from tests.end_to_end.project_folder import recording

STEPS = ("prepare", "baseline", "train", "evaluate")

HANDS = '''
from pathlib import Path


def taken(place):
    """Return the text that an earlier step has left at a place."""
    path = Path(place.removeprefix("file://"))
    return (path / "prepared.txt" if path.is_dir() else path).read_text()


def left(place, name, text):
    """Leave a text for later steps, as a file or logged to MLflow."""
    if place == "-":
        import mlflow

        mlflow.log_text(text, name)
    else:
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        Path(place).write_text(text)
'''
PREPARE = """
import sys
from pathlib import Path

from hands import left

target, seed = sys.argv[1:]
left(target, "prepared/prepared.txt", f"seed={seed} raw={Path('raw.csv').read_text()}")
"""
BASELINE = """
import sqlite3
import sys

import h5py
import mlflow
import numpy
import pandas
import pyarrow.parquet
from hands import left, taken

source, target = sys.argv[1:]
client = mlflow.MlflowClient()
read = {
    "pandas": pandas.read_csv("native/rows.csv").a[0],
    "parquet": pyarrow.parquet.read_table("native/rows.parquet")["a"].to_pylist()[0],
    "hdf5": h5py.File("native/rows.h5")["a"][0],
    "mapped": numpy.load("native/rows.npy", mmap_mode="r")[0],
    "sqlite": sqlite3.connect("native/rows.db").execute("select a from rows").fetchone()[0],
    "champion": client.get_model_version_by_alias("m", "champion").version,
    "latest": open(mlflow.artifacts.download_artifacts("models:/m/latest") + "/weights.txt").read(),
}
shown = " ".join(f"{name}={value}" for name, value in read.items())
left(target, "baseline.txt", f"baseline of ({taken(source)}): {shown}")
"""
READS = """
import glob
import importlib
import json
import multiprocessing
import os
import sqlite3
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from urllib.request import urlopen

import jinja2
import yaml

UP = "UP_TO_THE_REPOSITORY"
NAME = "small"
sys.path.insert(0, "extra")
sys.path.append(f"{UP}/common")
import site

site.addsitedir("editable-site")
import inserted
import onpath
import editable
import ownlib
import shared


def settings():
    split = json.loads(Path("settings.json").read_text())["split"]
    chosen = yaml.safe_load(Path("conf/config.yaml").read_text())["defaults"][0]["model"]
    local = Path("settings.local.json")
    prompts = jinja2.Environment(loader=jinja2.FileSystemLoader("prompts"))
    return {
        "joined": Path(os.getcwd(), "data", split + ".csv").read_text(),
        "beside": (Path(__file__).parent / "beside.csv").read_text(),
        "yaml": yaml.safe_load(Path(f"conf/model/{chosen}.yaml").read_text())["width"],
        "toml": tomllib.loads(Path("settings.toml").read_text())["rate"],
        "sql": sqlite3.connect(":memory:").execute(Path("query.sql").read_text()).fetchone()[0],
        "prompt": prompts.get_template("ask.j2").render(n=1),
        "local": json.loads(local.read_text())["a"] if local.exists() else "none",
        "level": os.environ["LEVEL"],
    }


def files():
    with multiprocessing.get_context("fork").Pool(1) as pool:
        pooled = pool.map(Path.read_text, [Path("pooled.csv")])[0]
    with multiprocessing.get_context("fork").Pool(1):
        pass
    return {
        "data": open("data.csv").read(),
        "images": "".join(path.name + path.read_text() for path in sorted(Path("images").iterdir())),
        "child": subprocess.run(["cat", "child.csv"], check=True, capture_output=True, text=True).stdout,
        "pooled": pooled,
        "up": Path(UP, "outside/up.csv").read_text(),
        "absolute": Path(Path("where.txt").read_text()).read_text(),
        "root": Path(os.environ["DATA"], "rooted.csv").read_text(),
    }


def modules():
    return {
        "plugin": importlib.import_module("plugins." + NAME).WIDTH,
        "inserted": inserted.WIDTH,
        "onpath": onpath.WIDTH,
        "editable": editable.WIDTH,
        "common": shared.WIDTH,
        "ownlib": ownlib.VALUE,
    }


def own_files():
    Path("cache.txt").write_text(str(time.time()))
    Path("cache.txt").read_text()
    with open("train.log", "a+") as log:
        log.seek(0)
        log.read()
        log.write("run\\n")
    book = json.loads(Path("book.ipynb").read_text())
    book["executed"] = time.time()
    Path("book.ipynb").write_text(json.dumps(book))


def ask_the_web():
    try:
        urlopen(Path("address.txt").read_text(), timeout=5).read()
    except OSError:
        pass


def everything(table, size, globbed):
    own_files()
    ask_the_web()
    found = {**settings(), **files(), **modules()}
    found["table"] = Path(table.removeprefix("file://")).read_text()
    found["sized"] = json.loads(Path(size).read_text())["width"]
    found["globbed"] = "".join(Path(one).read_text() for one in globbed)
    return " ".join(f"{name}={value}" for name, value in found.items())
"""
TRAIN = '''
"""Train once."""

import sys

from hands import left, taken
from helper import WIDTH
from reads import everything


def main(source, target, rate, tag, device, flag, count, table, size, *globbed):
    """Fit the model."""
    # A first try.
    given = f"rate={float(rate)} tag={tag} flag={flag.lower()} count={count} device={device}"
    left(target, "model.txt", f"model {WIDTH} of ({taken(source)}): {given} {everything(table, size, globbed)}")


main(*sys.argv[1:])
'''
EVALUATE = '''
"""Compare in one word."""

import sys
from pathlib import Path

import yaml
from hands import left, taken

model, baseline, target = sys.argv[1:]
words = Path("judge.sql").read_text().split(), yaml.safe_load(Path("judge.yaml").read_text())
left(target, "evaluated.txt", f"{__doc__} {words}\\n{taken(model)}\\n{taken(baseline)}")
'''
SCRIPTS = {"prepare": PREPARE, "baseline": BASELINE, "train": TRAIN, "evaluate": EVALUATE}

LIGHT_BASELINE = """
import sys

from hands import left, taken

source, target = sys.argv[1:]
left(target, "baseline.txt", f"baseline of ({taken(source)})")
"""
LIGHT_READS = """
from pathlib import Path

import yaml


def everything(table, size, globbed):
    chosen = yaml.safe_load(Path("conf/config.yaml").read_text())["defaults"][0]["model"]
    width = yaml.safe_load(Path(f"conf/model/{chosen}.yaml").read_text())["width"]
    return f"yaml={width} data={Path('data.csv').read_text()}"
"""

TRAIN_COMMAND = (
    "cat notes.txt > /dev/null && awk '{{print}}' table.awk > /dev/null && sh tools/count.sh && make -s checks"
    ' && ./ready && python -m parts.{variant} && python "$PWD/train.py"'
)
LIGHT_COMMAND = "python train.py"
TRAIN_WORDS = "{rate} {tag} {device} {flag} {count} {table} sizes/{variant}.json globbed/*.csv"
TRAIN_PARAMETERS = {
    "rate": {"type": "float", "default": 0.001},
    "tag": {"default": "1.1"},
    "device": {"type": "string", "default": "cpu"},
    "flag": {"type": "boolean", "default": "False"},
    "count": {"type": "int", "default": "None"},
    "table": {"type": "string", "default": "table.csv"},
    "variant": {"type": "string", "default": "small"},
}
PARAMETERS = {"seed": {"type": "int", "default": 0}, **TRAIN_PARAMETERS}

OF_TRAIN = {
    "reads.py": READS,
    "helper.py": "WIDTH = 8\n",
    "notes.txt": "1",
    "table.awk": "1\n",
    "tools/count.sh": "python $(dirname $0)/../count.py\n",
    "count.py": "print(1)\n",
    "Makefile": "checks:\n\tcat limits.txt > /dev/null\n\tpython checks.py\n",
    "limits.txt": "1",
    "checks.py": "print(1)\n",
    "ready": "#!/usr/bin/env sh\necho ready\n",
    "parts/__init__.py": "",
    "parts/small.py": "print(1)\n",
    "sizes/small.json": '{"width": 1}',
    "globbed/one.csv": "1",
    "globbed/two.csv": "1",
    "table.csv": "1",
    "settings.json": '{"split": "one"}',
    "data/one.csv": "1",
    "beside.csv": "1",
    "conf/config.yaml": "defaults:\n- model: small\n",
    "conf/model/small.yaml": "width: 1\n",
    "settings.toml": "rate = 1\n",
    "query.sql": "SELECT 1\n",
    "prompts/ask.j2": "{{ n }}and1",
    "data.csv": "1",
    "images/one.png": "1",
    "images/two.png": "1",
    "child.csv": "1",
    "pooled.csv": "1",
    "plugins/small.py": "WIDTH = 1\n",
    "extra/inserted.py": "WIDTH = 1\n",
    "lib/onpath.py": "WIDTH = 1\n",
    "editable-site/own.pth": "../editable-source\n",
    "editable-source/editable.py": "WIDTH = 1\n",
    "book.ipynb": '{"cells": [1]}',
    "requirements.txt": "pyyaml>=6.0\n",
    "python_env.yaml": "python: '3.11'\ndependencies:\n  - -r requirements.txt\n",
}
OF_EVALUATE = {"judge.sql": "select 1\nfrom a\n", "judge.yaml": "a: 1\nb: 2\n"}
OF_STEP = {"prepare": {"raw.csv": "1"}, "baseline": {}, "train": OF_TRAIN, "evaluate": OF_EVALUATE}


def step_files(step: str, up: str, light: bool) -> dict[str, str]:
    """Return a step's script and what it reads, by paths in its folder.

    Args:
        step: the step.
        up: leads from its folder to the repository.
        light: leave out what takes long to import.
    """
    files = {f"{step}.py": _script(step, light), "hands.py": HANDS, **OF_STEP[step]}
    if light and step == "train":
        files["reads.py"] = LIGHT_READS
    return {name: text.replace("UP_TO_THE_REPOSITORY", up) for name, text in files.items()}


def _script(step: str, light: bool) -> str:
    text = (LIGHT_BASELINE if light and step == "baseline" else SCRIPTS[step]).strip() + "\n"
    docstring, imports, rest = text.partition("import sys")
    return f"{docstring}{recording(step)}{imports}{rest}"


def elsewhere() -> Path:
    """Return a folder outside of every project, whose path is the same in all tests of a session."""
    folder = Path(os.environ["XDG_CACHE_HOME"]) / "elsewhere"
    folder.mkdir(exist_ok=True)
    return folder
