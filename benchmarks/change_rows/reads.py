"""Rows 1 to 15: what the phase read."""

from benchmarks.change_rows.row import Make, Parameter, Remove, Replace, Row, Serve, Variable, Write, one

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


def library(title: str, file: str, imports: str, writes: str, body: str) -> Row:
    """A row in which a library reads a file that the same library wrote. `n` in `writes` differs after the change."""
    return one(
        "6",
        title,
        "run",
        body,
        (Make("2"),),
        imports=imports,
        makes=f"import sys\n{imports}\nn = int(sys.argv[1])\n{writes}\n",
        data=(file,),
        requires=tuple(sorted({line.split()[1] for line in imports.splitlines()} - {"pathlib", "sqlite3"})),
    )


NPY, PARQUET = "import numpy", 'pandas.DataFrame({"a": [1, n]}).to_parquet("rows.parquet")'
LIBRARIES = (
    library(
        "CSV by pandas",
        "rows.csv",
        "import pandas",
        'pandas.DataFrame({"a": [1, n]}).to_csv("rows.csv")',
        'return str(pandas.read_csv("rows.csv").a.sum())',
    ),
    library(
        "Parquet by pandas",
        "rows.parquet",
        "import pandas\nimport pyarrow",
        PARQUET,
        'return str(pandas.read_parquet("rows.parquet").a.sum())',
    ),
    library(
        "Parquet by pyarrow",
        "rows.parquet",
        "import pandas\nimport pyarrow.parquet",
        PARQUET,
        'return str(pyarrow.parquet.read_table("rows.parquet")["a"].to_pylist())',
    ),
    library(
        "Parquet by polars",
        "rows.parquet",
        "import polars",
        'polars.DataFrame({"a": [1, n]}).write_parquet("rows.parquet")',
        'return str(polars.scan_parquet("rows.parquet").collect()["a"].sum())',
    ),
    library(
        "Parquet by duckdb",
        "rows.parquet",
        "import duckdb",
        "duckdb.sql(f\"COPY (SELECT {n} AS a) TO 'rows.parquet'\")",
        "return str(duckdb.sql(\"SELECT sum(a) FROM 'rows.parquet'\").fetchall())",
    ),
    library(
        "HDF5 by h5py",
        "rows.h5",
        "import h5py",
        'h5py.File("rows.h5", "w")["a"] = [1, n]',
        'return str(h5py.File("rows.h5")["a"][:].sum())',
    ),
    library(
        "a mapped `.npy`",
        "rows.npy",
        NPY,
        'numpy.save("rows.npy", numpy.array([1, n]))',
        'return str(numpy.load("rows.npy", mmap_mode="r").sum())',
    ),
    library(
        "safetensors",
        "rows.safetensors",
        f"{NPY}\nimport safetensors.numpy",
        'safetensors.numpy.save_file({"a": numpy.array([1, n])}, "rows.safetensors")',
        'return str(safetensors.numpy.load_file("rows.safetensors")["a"].sum())',
    ),
    library(
        "`torch.load(mmap=True)`",
        "rows.pt",
        "import torch",
        'torch.save(torch.tensor([1, n]), "rows.pt")',
        'return str(int(torch.load("rows.pt", mmap=True).sum()))',
    ),
    library(
        "sqlite",
        "rows.db",
        f"import sqlite3\n{PATH}",
        'Path("rows.db").unlink(missing_ok=True)\ndb = sqlite3.connect("rows.db")\n'
        'db.execute(f"CREATE TABLE rows AS SELECT {n} AS a")\ndb.commit()',
        'return str(sqlite3.connect("rows.db").execute("SELECT sum(a) FROM rows").fetchall())',
    ),
)

WITNESS = "echo train >> <witness>"
CHILD = "return subprocess.run({words}, check=True, capture_output=True, text=True).stdout"
PROCESSES = (
    *(
        one(
            "7",
            title,
            "run",
            "",
            (Write(file, OTHER),),
            command=f"{WITNESS}; {reader} > train.txt",
            files={file: CSV},
            data=(file,),
        )
        for title, file, reader in (
            ("`cat` in the command", "data.csv", "cat data.csv"),
            ("`awk` in the command", "data.csv", "awk -F, '{print $2}' data.csv"),
        )
    ),
    one(
        "7",
        "`$(dirname $0)/../count.py` in a shell script",
        "run",
        "",
        (Write("count.py", "print(2)\n"),),
        command=f"{WITNESS}; sh steps/train.sh",
        files={"steps/train.sh": "python $(dirname $0)/../count.py > train.txt\n", "count.py": "print(1)\n"},
        scripts=("steps/train.sh",),
        reads=("count.py",),
    ),
    one(
        "8",
        "`subprocess` reads it",
        "run",
        CHILD.format(words='["cat", "data.csv"]'),
        EDITED,
        imports="import subprocess",
        files={"data.csv": CSV},
        data=("data.csv",),
    ),
    one(
        "8",
        "`multiprocessing` reads it",
        "run",
        'with multiprocessing.get_context("spawn").Pool(1) as pool:\n'
        '    return pool.map(Path.read_text, [Path("data.csv")])[0]',
        EDITED,
        imports=f"import multiprocessing\n{PATH}",
        files={"data.csv": CSV},
        data=("data.csv",),
    ),
    one(
        "8",
        "`make` reads it",
        "run",
        CHILD.format(words='["make", "-s", "sums"]'),
        EDITED,
        imports="import subprocess",
        files={"Makefile": "sums:\n\tcat data.csv\n", "data.csv": CSV},
        data=("data.csv",),
    ),
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

MODEL = 'WIDTH = 8\nprint("train", file=open("<witness>", "a"))\nopen("train.txt", "w").write(str(WIDTH))\n'
TOTAL = f"""import sys
{PATH}

print("train", file=open("<witness>", "a"))
found = sys.argv[1:]
paths = sorted(Path(found[0]).glob("*.csv")) if len(found) == 1 else map(Path, found)
Path("train.txt").write_text("".join(path.read_text() for path in paths))
"""
NAMED = (
    one(
        "12",
        "a string parameter that is a file's name",
        "run",
        "return open(table).read()",
        EDITED,
        parameters={"table": Parameter("data.csv", "string")},
        files={"data.csv": CSV},
        data=("data.csv",),
    ),
    one(
        "12",
        "a parameter without a type that is a folder's name",
        "run",
        LISTED.replace('"data"', "folder"),
        (Write("data/two.csv", OTHER),),
        imports=PATH,
        parameters={"folder": Parameter("data")},
        files=FOLDER,
        data=("data",),
    ),
    one(
        "12",
        "a parameter given as `file://`",
        "run",
        'return open(table.removeprefix("file://")).read()',
        (Write("<outside>/data.csv", OTHER),),
        parameters={"table": Parameter("file://<outside>/data.csv", "path")},
        files={"<outside>/data.csv": CSV},
        data=("<outside>/data.csv",),
    ),
    one(
        "13",
        "`python models/{model}.py`",
        "run",
        'return str(runpy.run_path(f"models/{model}.py")["WIDTH"])',
        (Replace("models/small.py", "WIDTH = 8", "WIDTH = 16"),),
        imports="import runpy",
        command="python models/{model}.py",
        parameters={"model": Parameter("small", "string")},
        files={"models/small.py": MODEL},
        scripts=("models/small.py",),
    ),
    one(
        "13",
        "`python -m models.{model}`",
        "run",
        'return str(importlib.import_module(f"models.{model}").WIDTH)',
        (Replace("models/small.py", "WIDTH = 8", "WIDTH = 16"),),
        imports="import importlib",
        command="python -m models.{model}",
        parameters={"model": Parameter("small", "string")},
        files={
            "models/__init__.py": "",
            "models/small.py": MODEL,
        },
        scripts=("models/small.py",),
    ),
    one(
        "13",
        "`--settings conf/{size}.json`",
        "run",
        'return open(f"conf/{size}.json").read()',
        (Write("conf/small.json", '{"width": 16}'),),
        parameters={"size": Parameter("small", "string")},
        files={"conf/small.json": '{"width": 8}'},
        data=("conf/small.json",),
    ),
    *(
        one(
            "14",
            f"the command names {title}",
            "run",
            LISTED,
            (Write("data/two.csv", OTHER),),
            imports=PATH,
            command=f"python total.py {argument}",
            files={**FOLDER, "total.py": TOTAL},
            data=data,
            scripts=("total.py",),
        )
        for title, argument, data in (
            ("a folder", "data", ("data",)),
            ("a glob", "data/*.csv", ("data/one.csv", "data/two.csv")),
        )
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
