"""Rows 15d to 26: where it was computed, and which code it was."""

from benchmarks.change_rows.row import Checkout, Move, Replace, Variable, Write, one

LOADED = {"plugins/small.py": "WIDTH = 8\n"}
WIDER = "WIDTH = 16\n"
WITNESS = 'print("train", file=open("<witness>", "a"))\n'
RESULT = 'open("train.txt", "w").write("8")\n'
MAKEFILE = "model:\n\tpython steps/t.py\n"
SCRIPT = f"WIDTH = 8\n{WITNESS}{RESULT}"


def distribution(name: str, version: str) -> dict[str, str]:
    """The files that an installer leaves for a package with one module."""
    about = f"{name}-{version}.dist-info"
    return {
        f"<site>/{name}.py": f'__version__ = "{version}"\n',
        f"<site>/{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"<site>/{about}/RECORD": f"{name}.py,,\n{about}/METADATA,,\n{about}/RECORD,,\n",
        f"<site>/{about}/top_level.txt": f"{name}\n",
        f"<site>/{about}/INSTALLER": "pip\n",
    }


EDITABLE = {
    "<outside>/shared/shared.py": "WIDTH = 8\n",
    "<outside>/shared/pyproject.toml": '[project]\nname = "shared"\nversion = "1.0"\n',
    "<site>/__editable__.shared-1.0.pth": "<outside>/shared\n",
    "<site>/shared-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: shared\nVersion: 1.0\n",
    "<site>/shared-1.0.dist-info/RECORD": "__editable__.shared-1.0.pth,,\nshared-1.0.dist-info/METADATA,,\n",
    "<site>/shared-1.0.dist-info/direct_url.json": '{"dir_info": {"editable": true}, "url": "file://<outside>/shared"}',
    "<site>/shared-1.0.dist-info/INSTALLER": "pip\n",
}

MODULES = (
    one(
        "15d",
        "the same checkout elsewhere, its data under another path",
        "reuse",
        'return open(os.path.join(os.environ["DATA"], "data.csv")).read()',
        (Checkout(), Variable("DATA", "<outside>/there")),
        imports="import os",
        files={"<outside>/here/data.csv": "a\n1\n", "<outside>/there/data.csv": "a\n1\n"},
        variables={"DATA": "<outside>/here"},
        project_keys={"roots": {"data": "$DATA"}},
    ),
    one(
        "16",
        "a module by `importlib`",
        "run",
        'return str(importlib.import_module("plugins." + NAME).WIDTH)',
        (Write("plugins/small.py", WIDER),),
        imports='import importlib\n\nNAME = "small"',
        files=LOADED,
        reads=("plugins/small.py",),
    ),
    one(
        "16",
        "a module after `sys.path.insert`",
        "run",
        "return str(small.WIDTH)",
        (Write("plugins/small.py", WIDER),),
        imports='import sys\n\nsys.path.insert(0, "plugins")\nimport small',
        files=LOADED,
        reads=("plugins/small.py",),
    ),
    one(
        "16",
        "a module on `PYTHONPATH`",
        "run",
        "return str(small.WIDTH)",
        (Write("<outside>/lib/small.py", WIDER),),
        imports="import small",
        files={"<outside>/lib/small.py": "WIDTH = 8\n"},
        variables={"PYTHONPATH": "<outside>/lib"},
        reads=("<outside>/lib/small.py",),
    ),
    one(
        "17",
        "a package installed in editable mode",
        "run",
        "return str(shared.WIDTH)",
        (Write("<outside>/shared/shared.py", WIDER),),
        imports="import shared",
        files=EDITABLE,
        own_environment=True,
        reads=("<outside>/shared/shared.py",),
    ),
    one(
        "17",
        "code of several projects in `../common`",
        "run",
        "return str(common.WIDTH)",
        (Write("../outside/common.py", WIDER),),
        imports='import sys\n\nsys.path.append("../outside")\nimport common',
        files={"../outside/common.py": "WIDTH = 8\n"},
        reads=("../outside/common.py",),
    ),
    *(
        one(
            "18",
            f"`{command}`",
            "run or ask",
            "",
            (Replace(script, "WIDTH = 8", "WIDTH = 16"),),
            command=command,
            files=files,
            scripts=(named,),
            reads=() if script == named else (script,),
        )
        for command, named, script, files in (
            ('python "$PWD/steps/t.py"', "steps/t.py", "steps/t.py", {"steps/t.py": SCRIPT}),
            ("./run_train", "run_train", "run_train", {"run_train": f"#!/usr/bin/env python\n{SCRIPT}"}),
            ("make model", "Makefile", "steps/t.py", {"steps/t.py": SCRIPT, "Makefile": MAKEFILE}),
        )
    ),
)

STEP = """WIDTH = 8
print("train", WIDTH, file=open("<witness>", "a"))
open("clean.txt", "w").write(str(WIDTH))
"""
STEP_PROJECT = """name: clean
entry_points:
  main:
    parameters: {size: {type: integer}}
    command: python run.py
    phase: {outputs: [clean.txt]}
"""
NO_STEPS = "what a phase's own code starts with the tool again gets no verdict of its own"
STEPS = (
    one(
        "19",
        "the script calls `mlflow.run` for a step in a sub-folder",
        "run",
        'mlflow.run("src/clean", parameters={"size": 1})\nreturn open("src/clean/clean.txt").read()',
        (Replace("src/clean/run.py", "WIDTH = 8", "WIDTH = 16"),),
        imports="import mlflow",
        files={"src/clean/MLproject": STEP_PROJECT, "src/clean/run.py": STEP},
        expect="16",
        only=("mlflow-phases",),
        why_only=NO_STEPS,
    ),
)

ENVIRONMENT = (
    one(
        "21",
        "a pinned version in `requirements.txt`",
        "mention",
        'return "done"',
        (Replace("requirements.txt", "1.5.2", "1.6.1"),),
        files={
            "requirements.txt": "scikit-learn==1.5.2\n",
            "python_env.yaml": "python: '3.11'\ndependencies: [-r requirements.txt]\n",
        },
        project_keys={"python_env": "python_env.yaml"},
        reads=("requirements.txt",),
        says="requirements.txt",
    ),
    one(
        "22",
        "another version of an imported package is installed",
        "mention",
        "return vectors.__version__",
        (
            Move("<site>/vectors-1.0.dist-info", "<site>/vectors-2.0.dist-info"),
            *(Write(path, text) for path, text in distribution("vectors", "2.0").items()),
        ),
        imports="import vectors",
        files=distribution("vectors", "1.0"),
        own_environment=True,
        says="vectors",
    ),
)

TEXT = (
    one(
        "23",
        "a docstring that is behaviour",
        "run",
        "return __doc__",
        (Replace("train.py", "in one word", "in two words"),),
        docstring="Answer in one word.",
    ),
    one(
        "24",
        "a comment",
        "reuse",
        '# A first try.\nreturn "done"',
        (Replace("train.py", "A first try.", "A second try, and better."),),
    ),
    one(
        "24",
        "a docstring that nobody reads",
        "reuse",
        '"""Train once."""\nreturn "done"',
        (Replace("train.py", "Train once.", "Train the model once."),),
    ),
    one(
        "25",
        "line ends of an SQL file that is declared",
        "reuse",
        'return str(len(open("query.sql").read().split()))',
        (Write("query.sql", "SELECT\r\n1\r\n"),),
        files={"query.sql": "SELECT\n1\n"},
        code=("query.sql",),
    ),
    one(
        "26",
        "a helper is moved, and its import follows",
        "reuse",
        "return str(WIDTH)",
        (Move("helper.py", "lib/helper.py"), Replace("train.py", "from helper import", "from lib.helper import")),
        imports="from helper import WIDTH",
        files={"helper.py": "WIDTH = 8\n"},
        says="moved",
    ),
)
