"""Rows 1 to 5, 9 to 11 and 15: the phase opens a file itself, lists a folder, or reads no file at all."""

from benchmarks.change_rows.row import Make, Remove, Serve, Variable, Write, one

CSV, OTHER = "a,b\n1,2\n3,4\n", "a,b\n1,2\n3,5\n"
PATH = "from pathlib import Path"
FOLDER = {"data/one.csv": CSV, "data/two.csv": CSV}
LISTED = 'return "".join(path.read_text() for path in sorted(Path("data").glob("*.csv")))'
EDITED = (Write("data.csv", OTHER),)

BY_PATH = (
    one(
        "1",
        "a CSV by a path in the code",
        "run",
        'return open("data.csv").read()',
        EDITED,
        files={"data.csv": CSV},
        data=("data.csv",),
    ),
    one(
        "2",
        "a path put together from `os.getcwd()` and a setting",
        "run",
        'return open(os.path.join(os.getcwd(), "data", SPLIT + ".csv")).read()',
        (Write("data/one.csv", OTHER),),
        imports='import os\n\nSPLIT = "one"',
        files=FOLDER,
        data=("data/one.csv",),
    ),
    one(
        "3",
        "a YAML file of settings",
        "run",
        'return str(yaml.safe_load(open("settings.yaml"))["rate"])',
        (Write("settings.yaml", "rate: 2\n"),),
        imports="import yaml",
        files={"settings.yaml": "rate: 1\n"},
        reads=("settings.yaml",),
        requires=("yaml",),
    ),
    one(
        "3",
        "a TOML file of settings",
        "run",
        'return str(tomllib.load(open("settings.toml", "rb"))["rate"])',
        (Write("settings.toml", "rate = 2\n"),),
        imports="import tomllib",
        files={"settings.toml": "rate = 1\n"},
        reads=("settings.toml",),
    ),
    one(
        "3",
        "a `conf/` folder with a list of defaults",
        "run",
        'chosen = yaml.safe_load(open("conf/config.yaml"))["defaults"][0]["model"]\n'
        'return str(yaml.safe_load(open(f"conf/model/{chosen}.yaml")))',
        (Write("conf/model/small.yaml", "width: 16\n"),),
        imports="import yaml",
        files={"conf/config.yaml": "defaults:\n- model: small\n", "conf/model/small.yaml": "width: 8\n"},
        reads=("conf",),
        requires=("yaml",),
    ),
    one(
        "4",
        "an SQL query",
        "run",
        'return str(sqlite3.connect(":memory:").execute(open("query.sql").read()).fetchall())',
        (Write("query.sql", "SELECT 2\n"),),
        imports="import sqlite3",
        files={"query.sql": "SELECT 1\n"},
        reads=("query.sql",),
    ),
    one(
        "4",
        "a Jinja template as prompt",
        "run",
        'return Environment(loader=FileSystemLoader("prompts")).get_template("ask.j2").render(n=1)',
        (Write("prompts/ask.j2", "Add {{ n }} and 3."),),
        imports="from jinja2 import Environment, FileSystemLoader",
        files={"prompts/ask.j2": "Add {{ n }} and 2."},
        reads=("prompts/ask.j2",),
        requires=("jinja2",),
    ),
    *(
        one(
            "5",
            f"a folder is listed; a file is {done}",
            "run",
            LISTED,
            (edit,),
            imports=PATH,
            files=FOLDER,
            data=("data",),
        )
        for done, edit in (
            ("added", Write("data/three.csv", CSV)),
            ("removed", Remove("data/two.csv")),
            ("changed", Write("data/two.csv", OTHER)),
        )
    ),
)


OUTSIDE = (
    *(
        one(
            "9",
            f"a file outside the project, {title}",
            "run",
            f'return open("{path}").read()',
            (Write(path, OTHER),),
            files={path: CSV},
            data=(path,),
        )
        for title, path in (("absolute", "<outside>/data.csv"), ("by `../`", "../outside/data.csv"))
    ),
)

OWN_FILES = (
    one(
        "10",
        "a cache that the phase writes and then reads",
        "reuse",
        'Path("cache.txt").write_text(str(time.time()))\nreturn Path("cache.txt").read_text()',
        (),
        imports=f"import time\n{PATH}",
    ),
    one(
        "10",
        "a log in the project that is read and appended to",
        "reuse",
        'log = Path("train.log")\nlines = log.read_text() if log.exists() else ""\n'
        'log.write_text(f"{lines}run\\n")\nreturn "done"',
        (),
        imports=PATH,
    ),
    one(
        "10",
        "a notebook that is rewritten in place",
        "reuse",
        'book = json.loads(Path("book.ipynb").read_text())\nbook["executed"] = time.time()\n'
        'Path("book.ipynb").write_text(json.dumps(book))\nreturn str(book["cells"])',
        (),
        imports=f"import json\nimport time\n{PATH}",
        files={"book.ipynb": '{"cells": [1]}'},
        data=("book.ipynb",),
    ),
    one(
        "11",
        "only the file's times change",
        "reuse",
        'return open("data.csv").read()',
        (Write("data.csv", CSV),),
        files={"data.csv": CSV},
        data=("data.csv",),
    ),
)

ALIAS_MADE = """
import sys
from pathlib import Path
from mlflow.tracking import MlflowClient
client = MlflowClient()
if sys.argv[1] == "1":
    client.create_registered_model("m")
    for number in "12":
        folder = Path("../outside", number)
        folder.mkdir()
        (folder / "weights.txt").write_text(number)
        client.create_model_version("m", str(folder.resolve()))
{move}
"""
NO_REGISTRY = "it has no model registry"
NOT_FILES = (
    one(
        "15a",
        "an optional file that was not there appears",
        "run",
        'local = Path("settings.local.json")\nreturn local.read_text() if local.exists() else "{}"',
        (Write("settings.local.json", '{"rate": 2}'),),
        imports=PATH,
        reads=("settings.local.json",),
    ),
    *(
        one(
            "15b",
            title,
            "run",
            f'return Path(mlflow.artifacts.download_artifacts("{uri}"), "weights.txt").read_text()',
            (Make("2"),),
            imports=f"import mlflow\n{PATH}",
            makes=ALIAS_MADE.format(move=move),
            only=("mlflow-phases",),
            why_only=NO_REGISTRY,
        )
        for title, uri, move in (
            (
                "`models:/m@champion`; the alias moves",
                "models:/m@champion",
                'client.set_registered_model_alias("m", "champion", sys.argv[1])',
            ),
            (
                "`models:/m/latest`; a version is added",
                "models:/m/latest",
                'if sys.argv[1] == "2":\n    client.create_model_version("m", str(Path("../outside/1").resolve()))',
            ),
        )
    ),
    one(
        "15c",
        "a web address; its answer changes",
        "mention",
        'return urlopen("<address>").read().decode()',
        (Serve("two"),),
        imports="from urllib.request import urlopen",
        says="<host>",
    ),
    one(
        "15",
        "an environment variable that the code reads",
        "run",
        'return os.environ["RATE"]',
        (Variable("RATE", "2"),),
        imports="import os",
        variables={"RATE": "1"},
        reads_variables=("RATE",),
    ),
)
