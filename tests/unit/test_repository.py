"""The repository's promises about itself, as far as a machine can check them."""

import ast
import configparser
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "mlflow_plugin"
LONGEST_MODULE = 450
LONGEST_FUNCTION = 60

# Folders of one person's account or machine, and the places where one machine happens to find its packages.
PRIVATE = re.compile(
    r"/home/(?!user\b|you\b|me\b)[a-z][\w.-]*/|/Users/(?!user\b|you\b|me\b)\w|/roo[t]/|[A-Z]:\\Users\\"
    r"|--(?:extra-)?index-url|--find-[l]inks|://[^\s/]+/simple\b|\bfile:///(?:opt|srv|mnt)/"
)


@cache
def parsed(code: str) -> ast.Module:
    return ast.parse(code)


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout, so there is no list of the repository's files")
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def lines_of(path: Path) -> list[str]:
    """Return the lines of a text file, none for a binary one."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        return []


def imported_names(path: Path) -> Iterator[str]:
    """Yield the dotted name of everything that a module imports anywhere in it, relative imports made absolute."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(parsed(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*above, *([node.module] if node.module else [])))
            yield from (f"{base}.{alias.name}" for alias in node.names)


def declared_requirements(*extras: str) -> dict[str, Requirement]:
    """Return what setup.cfg asks for, the core and these extras, by canonical name."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    texts = [setup["options"]["install_requires"], *(setup["options.extras_require"][extra] for extra in extras)]
    found = [Requirement(line) for text in texts for line in text.splitlines() if line.strip()]
    return {canonicalize_name(requirement.name): requirement for requirement in found}


def all_extras() -> list[str]:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    return list(setup["options.extras_require"])


def pins() -> dict[str, str]:
    lines = [line for line in lines_of(ROOT / "constraints.txt") if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}


def test_no_file_names_a_private_machine_or_a_package_index() -> None:
    here = str(ROOT) + "/"
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in tracked_files()
        for number, line in enumerate(lines_of(path), start=1)
        if PRIVATE.search(line) or here in line
    ]
    assert not found, "\n".join(found)


def test_every_relative_link_in_the_documentation_leads_to_a_file() -> None:
    broken = []
    for page in (path for path in tracked_files() if path.suffix == ".md"):
        text = re.sub(r"^(```|~~~).*?^\1", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        for target in re.findall(r"\]\(<?([^)\s>]+)", text) + re.findall(r"^\[[^\]]+\]:\s*(\S+)", text, re.MULTILINE):
            path = target.partition("#")[0]
            if path and not re.match(r"[a-z][a-z+.-]*:", target) and not (page.parent / path).exists():
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert not broken, "\n".join(broken)


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = ("torch", "transformers", "mlflow", "numpy", "pandas", "rich")
    script = f"import sys, mlflow_plugin; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.stdout.strip(), result.stderr) == ("[]", "")


def test_modules_are_short_enough_to_read_in_one_go() -> None:
    lengths = {str(path.relative_to(ROOT)): len(lines_of(path)) for path in modules()}
    assert not {name: length for name, length in lengths.items() if length >= LONGEST_MODULE}


def test_functions_fit_a_screen() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in modules()
        for node in ast.walk(parsed(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno >= LONGEST_FUNCTION
    ]
    assert not long, "\n".join(long)


def test_every_folder_of_the_package_is_installed() -> None:
    folders = {path.parent for path in modules()}
    assert not [folder for folder in folders if not (folder / "__init__.py").is_file()]


@pytest.mark.parametrize("extra", all_extras())
def test_the_pinned_versions_satisfy_what_is_declared(extra: str) -> None:
    pinned = pins()
    for name, requirement in declared_requirements(extra).items():
        assert name in pinned, f"{name} has no pin in constraints.txt: run make lock"
        assert requirement.specifier.contains(pinned[name]), f"constraints.txt pins {name} outside {requirement}"


def test_the_pins_are_exact_and_fit_any_machine() -> None:
    lines = [line for line in lines_of(ROOT / "constraints.txt") if line and not line.startswith("#")]
    assert not [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.!]+", line)]


@pytest.mark.parametrize(
    ("file", "extra", "constraints"),
    [
        ("conda.yaml", "steering", "-c constraints.txt"),
        ("projects/lora_retraining/conda.yaml", "lora", "-c ../../constraints.txt"),
    ],
)
def test_the_environment_of_a_project_asks_for_what_its_extra_declares(file: str, extra: str, constraints: str) -> None:
    environment = yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))
    listed = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    requirements = [Requirement(line) for line in listed if not line.startswith(("-", "."))]
    found = {canonicalize_name(requirement.name): str(requirement.specifier) for requirement in requirements}
    declared = declared_requirements(extra)
    assert found == {name: str(requirement.specifier) for name, requirement in declared.items()}
    assert constraints in listed


def test_the_root_of_the_package_holds_what_a_user_imports_and_what_every_folder_needs() -> None:
    allowed = {"__init__", "__main__", "errors", "format", "markdown", "progress", "pipeline"}
    assert {path.stem for path in PACKAGE.glob("*.py")} <= allowed


def test_the_package_needs_no_test_framework() -> None:
    assert not [path for path in modules() if any(name.split(".")[0] == "pytest" for name in imported_names(path))]


# --- private names of MLflow ---

MAY_USE_PRIVATE_NAMES = ("store/", "dashboard/store.py")


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def root_of(node: ast.AST | None) -> str:
    """Return the first name of `a.b.c`, empty for anything else."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def private_names_of_mlflow(code: str) -> set[str]:
    """Return the private names that are imported from MLflow, or read from something that was imported from it, or from
    an argument whose annotation was.
    """
    tree = parsed(code)
    private, bound = set[str](), set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias for alias in node.names if alias.name.split(".")[0] == "mlflow"]
            bound |= {alias.asname or "mlflow" for alias in names}
            private |= {alias.name for alias in names if any(map(is_private, alias.name.split(".")))}
        elif isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] == "mlflow":
            bound |= {alias.asname or alias.name for alias in node.names}
            dotted = [f"{node.module}.{alias.name}" for alias in node.names]
            private |= {name for name in dotted if any(map(is_private, name.split(".")))}
    bound |= {one.arg for one in ast.walk(tree) if isinstance(one, ast.arg) and root_of(one.annotation) in bound}
    read = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and is_private(node.attr))
    return private | {ast.unparse(node) for node in read if root_of(node) in bound}


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("from mlflow.server import _bootstrap", {"mlflow.server._bootstrap"}),
        ("from mlflow.projects._project_spec import Project", {"mlflow.projects._project_spec.Project"}),
        ("import mlflow\nmlflow.tracking.fluent._active = None", {"mlflow.tracking.fluent._active"}),
        ("from mlflow import Store\ndef read(store: Store): return store._engine", {"store._engine"}),
        ("import mlflow\nfrom mlflow import __version__\nprint(mlflow.__name__, self._client)", set()),
    ],
)
def test_a_private_name_of_mlflow_is_recognised(code: str, expected: set[str]) -> None:
    assert private_names_of_mlflow(code) == expected


def test_private_names_of_mlflow_are_used_in_two_places_alone() -> None:
    used = {
        name: names
        for path in modules()
        if not (name := path.relative_to(PACKAGE).as_posix()).startswith(MAY_USE_PRIVATE_NAMES)
        and (names := private_names_of_mlflow(path.read_text(encoding="utf-8")))
    }
    assert not used


# --- who prints ---

MAY_PRINT = {
    "progress.py": "the handler that writes the package's log messages to a terminal",
    "execution/prompt.py": "the question at a terminal",
    "machine/environment_facts.py": "a script that another interpreter runs",
}


def prints(code: str) -> list[str]:
    """Return what a module prints, but for what it does as the main program."""

    def found(node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.If) and "__name__" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if re.fullmatch(r"print|(click\.)?s?echo|(click\.)?secho|sys\.(__)?std(out|err)(__)?\.write", called):
                yield f"{node.lineno}: {called}"
        for child in ast.iter_child_nodes(node):
            yield from found(child)

    return list(found(parsed(code)))


def test_what_prints_is_recognised() -> None:
    assert prints("print(1)\ndef f():\n    click.echo(2)\n    sys.stderr.write(3)") == [
        "1: print",
        "3: click.echo",
        "4: sys.stderr.write",
    ]
    assert prints("if __name__ == '__main__':\n    print(1)\nlogger.info('print(1)')") == []


def test_only_the_command_line_prints() -> None:
    speaking = {
        name: lines
        for path in modules()
        if not (name := path.relative_to(PACKAGE).as_posix()).startswith("cli/")
        and name not in MAY_PRINT
        and (lines := prints(path.read_text(encoding="utf-8")))
    }
    assert not speaking
