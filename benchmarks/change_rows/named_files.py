"""Rows 12 to 14: a parameter or the command names the files."""

from benchmarks.change_rows.reads import CSV, EDITED, FOLDER, LISTED, OTHER, PATH
from benchmarks.change_rows.row import Parameter, Replace, Write, one

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
