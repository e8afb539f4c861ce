"""Find the code behind launchers whose command line does not name it: make, pytest, dvc, kedro.

Each launcher is one function in `LAUNCHERS`. They read what is needed to see which of the user's files are run, no
more; what they miss is seen by the observation of the run.
"""

import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import yaml

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.project.digests import walk_files
from mlflow_plugin.project.import_roots import text_of
from mlflow_plugin.project.named import is_readable_data
from mlflow_plugin.project.own_code import is_no_code

WRAPPERS = {
    *("builtin", "command", "env", "exec", "nice", "nohup", "stdbuf", "sudo", "time", "timeout", "xvfb-run"),
    *("conda", "hatch", "mamba", "pdm", "pipenv", "poetry", "run", "uv", "uvx"),
}
"""Programs that start the program after them."""
WRITERS = {"chmod", "echo", "mkdir", "printf", "rm", "rmdir", "tee", "touch"}
"""Programs that read none of the files that they name."""
COPIERS = {"cp", "install", "ln", "mv", "rsync"}
"""Programs that write the last file that they name."""


@dataclass(frozen=True)
class Launched:
    """What a launcher runs.

    Attributes:
        commands: Shell commands.
        programs: Files that count as code themselves, as absolute paths.
        scripts: Python files that are run, as absolute paths.
        data: Files and folders that are read, as absolute paths.
        folder: The folder in which the commands start.
    """

    folder: str
    commands: Sequence[str] = ()
    programs: Sequence[str] = ()
    scripts: Sequence[str] = ()
    data: Sequence[str] = ()


# --- make ---

_RULE = re.compile(r"^([^\s#:=][^:=#]*?)\s*::?(?!=)\s*([^=#]*?)\s*(?:;\s*(.*))?$")
_MAKE_VARIABLE = re.compile(r"^(?:export\s+)?(\w+)\s*[:?+]?:?=\s*(.*?)\s*$")
_MAKE_USE = re.compile(r"\$[({](\w+)[)}]")


def _make(words: Sequence[str], folder: str) -> Launched:
    """The Makefile, and the recipes of the targets and of all targets that these need."""
    targets, file, given = [], "", {}
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        if word in ("-C", "-f", "-j", "-o", "-W") and waiting:
            value = waiting.pop(0)
            folder = os.path.normpath(os.path.join(folder, value)) if word == "-C" else folder
            file = value if word == "-f" else file
        elif "=" in word and not word.startswith("-"):
            given[word.partition("=")[0]] = word.partition("=")[2]
        elif not word.startswith("-"):
            targets.append(word)
    names = [file] if file else ["GNUmakefile", "makefile", "Makefile"]
    path = next((one for name in names if os.path.isfile(one := os.path.normpath(os.path.join(folder, name)))), "")
    rules, variables = _rules(text_of(path)) if path else ({}, {})
    values = {**variables, **given}
    first = next((name for name in rules if not name.startswith(".")), "")
    needed, commands, data = list(targets or [first]), [], []
    seen: set[str] = set()
    while needed:
        name = needed.pop(0)
        if name in seen:
            continue
        seen.add(name)
        rule = rules.get(name)
        if rule is None:
            data.append(os.path.normpath(os.path.join(folder, name)))
            continue
        prerequisites = _with_values(rule[0], values).split()
        needed += [one for one in prerequisites if one != "|"]
        listed = {"$<": " ".join(prerequisites[:1]), "$^": " ".join(prerequisites), "$@": ""}
        for line in rule[1]:
            text = _with_values(line.lstrip("@-+ \t"), values)
            for sign, meaning in listed.items():
                text = text.replace(sign, meaning)
            commands.append(text.replace("$$", "$"))
    return Launched(folder, commands, [path] if path else [], data=[one for one in data if os.path.isfile(one)])


def _rules(text: str) -> tuple[dict[str, tuple[str, list[str]]], dict[str, str]]:
    """Target -> (prerequisites, recipe lines), and the variables that are set by a plain text."""
    rules: dict[str, tuple[str, list[str]]] = {}
    variables: dict[str, str] = {}
    current: list[str] = []
    for line in text.replace("\\\n", " ").splitlines():
        if line.startswith("\t"):
            for name in current:
                rules[name][1].append(line.strip())
        elif assigned := _MAKE_VARIABLE.match(line):
            variables[assigned[1]] = assigned[2]
        elif rule := _RULE.match(line):
            current = rule[1].split()
            for name in current:
                before = rules.get(name, ("", []))
                rules[name] = (f"{before[0]} {rule[2]}", before[1] + ([rule[3]] if rule[3] else []))
    return rules, variables


def _with_values(text: str, values: dict[str, str]) -> str:
    for _ in range(5):  # Variables that name each other end here.
        text = _MAKE_USE.sub(lambda match: values.get(match[1], match[0]), text)
    return text


# --- pytest, dvc, kedro ---


def _pytest(words: Sequence[str], folder: str) -> Launched:
    """The test files in the folders that are named, and the `conftest.py` files beside and above them.

    A folder around the project, such as `/`, is not searched.
    """
    named = [word.partition("::")[0] for word in words if not word.startswith("-")]
    places = [os.path.normpath(os.path.join(folder, name)) for name in named]
    places = [one for one in places if one == folder or (os.path.exists(one) and is_readable_data(one, folder))]
    scripts = []
    for place in places or [folder]:
        if os.path.isdir(place):
            with suppress(PhaseError):  # A folder that cannot be listed ends the search.
                found = (path for name, path in walk_files(Path(place), is_no_code) if _is_test(os.path.basename(name)))
                scripts += [str(path) for path in found]
        elif place.endswith(".py"):
            scripts.append(place)
        above = place
        while above.startswith(os.path.join(folder, "")):
            above = os.path.dirname(above)
            scripts.append(os.path.join(above, "conftest.py"))
    settings = [os.path.join(folder, name) for name in ("pytest.ini", "tox.ini", "setup.cfg", "pyproject.toml")]
    return Launched(folder, scripts=[one for one in dict.fromkeys(scripts) if os.path.isfile(one)], data=settings[:1])


def _is_test(name: str) -> bool:
    return name.endswith(".py") and (name.startswith("test_") or name.endswith("_test.py") or name == "conftest.py")


def _dvc(words: Sequence[str], folder: str) -> Launched:
    """The commands and dependencies of `dvc.yaml`: of all stages, since those that are named need others."""
    if not {"repro", "exp", "stage"} & set(words):
        return Launched(folder)
    file = os.path.join(folder, "dvc.yaml")
    content = _yaml(file)
    stages = content.get("stages")
    commands: list[str] = []
    data = [os.path.join(folder, "params.yaml")]
    for stage in stages.values() if isinstance(stages, dict) else ():
        stage = stage.get("do", stage) if isinstance(stage, dict) else {}
        if isinstance(stage, dict):
            cmd, deps = stage.get("cmd"), stage.get("deps")
            commands += [str(line) for line in (cmd if isinstance(cmd, list) else [cmd]) if line]
            data += [os.path.join(folder, str(one)) for one in (deps if isinstance(deps, list) else ())]
    made = {os.path.join(folder, name) for name in _outputs(stages)}
    return Launched(folder, commands, [file], data=[path for path in data if path not in made])


def _outputs(stages: object) -> list[str]:
    listed = []
    for stage in stages.values() if isinstance(stages, dict) else ():
        outs = stage.get("outs") if isinstance(stage, dict) else None
        for one in outs if isinstance(outs, list) else ():
            listed.append(str(next(iter(one), "")) if isinstance(one, dict) else str(one))
    return listed


def _kedro(words: Sequence[str], folder: str) -> Launched:
    """The whole package that `[tool.kedro]` names, and the settings in `conf`."""
    import tomllib  # here, since few commands are kedro's

    file = os.path.join(folder, "pyproject.toml")
    try:
        settings = tomllib.loads(text_of(file)).get("tool", {}).get("kedro", {})
        source = os.path.join(folder, str(settings.get("source_dir", "src")), str(settings.get("package_name", "")))
    except (ValueError, AttributeError):
        return Launched(folder)
    if "run" not in words or not os.path.isdir(source):
        return Launched(folder)
    scripts = [str(path) for name, path in walk_files(Path(source), is_no_code) if name.endswith(".py")]
    return Launched(folder, scripts=scripts, data=[os.path.join(folder, "conf")])


def _yaml(file: str) -> dict[str, object]:
    try:
        content = yaml.load(text_of(file), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError:
        return {}
    return content if isinstance(content, dict) else {}


LAUNCHERS: dict[str, Callable[[Sequence[str], str], Launched]] = {
    "make": _make,
    "gmake": _make,
    "pytest": _pytest,
    "py.test": _pytest,
    "dvc": _dvc,
    "kedro": _kedro,
}
"""Name of a program -> function of the words after it and of the folder in which it starts."""


def program_place(words: Sequence[str]) -> int:
    """Return the place of the program among the words of a simple command, behind assignments and wrappers.

    >>> program_place(["A=1", "nice", "-n", "5", "make", "train"])
    4
    """
    wrapped = False
    for place, word in enumerate(words):
        is_wrapper = os.path.basename(word) in WRAPPERS
        is_option = wrapped and (word.startswith("-") or word.isdigit())
        if not is_wrapper and not is_option and not re.match(r"[A-Za-z_]\w*=", word):
            return place
        wrapped = wrapped or is_wrapper
    return len(words)
