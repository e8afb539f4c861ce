"""Find the folders outside a project that its phases import the user's own code from.

They are named by `PYTHONPATH`, by editable installs of this interpreter, and by relative paths in the environment
file. Home-made: pip and `importlib.metadata` say what is installed but not from where it is imported, and asking the
import system runs the packages' own code. An environment is read once a process, and only when a name is imported that
is not in the project, in the standard library or simply installed.
"""

import ast
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import yaml

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.project.digests import remembered
from mlflow_plugin.project.own_code import Root, is_below

_SITE_FOLDERS = ("site-packages", "dist-packages")
_MAPPING = re.compile(r"^(MAPPING|NAMESPACES)\b[^=\n]*= *(\{.*\})\s*$", re.MULTILINE)
_ENVIRONMENT_FILES = ("conda.yaml", "python_env.yaml")
_ENVIRONMENT_KEYS = ("python_env", "conda_env")


def path_folders(value: str, project: str) -> list[str]:
    """Return the absolute folders of a `PYTHONPATH`; relative ones count from the project, where a command starts."""
    value = value.replace("${PWD}", project).replace("$PWD", project)
    entries = [entry for entry in value.split(os.pathsep) if entry and "$" not in entry and "\0" not in entry]
    return [os.path.normpath(os.path.join(project, entry)) for entry in entries]


# --- editable installs ---


def is_installed(name: str) -> bool:
    """Return True when a top-level package or Python module of that name lies in this interpreter's site-packages."""
    for folder in site_folders():
        package = os.path.join(folder, name)
        # A link to a folder is how flit installs in editable mode.
        if os.path.isfile(f"{package}.py") or (
            os.path.isfile(f"{package}/__init__.py") and not os.path.islink(package)
        ):
            return True
    return False


def editable_roots() -> tuple[Root, ...]:
    """Return the roots of the packages that this interpreter has installed in editable mode.

    They are read again only when its search path or its site-packages changed.
    """
    return _editable_roots(tuple((folder, changed_at(folder)) for folder in site_folders()))


def site_folders() -> list[str]:
    """Return the folders of installed packages on this interpreter's search path."""
    return [folder for folder in dict.fromkeys(sys.path) if folder.endswith(_SITE_FOLDERS)]


def installed_in(folders: Iterable[tuple[str, int]]) -> Iterator[tuple[str, str, str]]:
    """List folders of installed packages that `site_folders` returned, with the times of `changed_at`.

    Yields:
        The folder, the name of an entry of it, and the entry's path.
    """
    for folder, _ in folders:
        try:
            names = sorted(os.listdir(folder))
        except OSError:
            continue
        for name in names:
            yield folder, name, os.path.join(folder, name)


def changed_at(folder: str) -> int:
    """Return the modification time of a folder in nanoseconds, 0 where there is none."""
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=4)
def _editable_roots(folders: tuple[tuple[str, int], ...]) -> tuple[Root, ...]:
    roots: list[Root] = []
    origins: list[str] = []
    for folder, name, path in installed_in(folders):
        if name.endswith(".pth"):
            roots += _folders_of_pth(path, folder)
        elif name.startswith("__editable__") and name.endswith(".py"):
            roots += _finder_roots(path)
        elif name.endswith(".dist-info"):
            origins += editable_origin(path)
    for origin in origins:
        if not any(is_below(root.path, origin) for root in roots):
            roots += layout_roots(origin)
    return tuple(dict.fromkeys(roots))


def text_of(path: str) -> str:
    """Return the text of a file, empty when it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _folders_of_pth(path: str, site: str) -> list[Root]:
    lines = [line.strip() for line in text_of(path).splitlines()]
    listed = [os.path.join(site, line) for line in lines if line and not line.startswith(("#", "import ", "import\t"))]
    return [Root(os.path.normpath(folder)) for folder in listed if "\0" not in folder and os.path.isdir(folder)]


def _finder_roots(path: str) -> list[Root]:
    """The packages of setuptools' finder for an editable install, which lists them as literal dictionaries."""
    roots = []
    for kind, literal in _MAPPING.findall(text_of(path)):
        try:
            listed = ast.literal_eval(literal)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        for name, places in listed.items():
            for place in [places] if kind == "MAPPING" else places:
                roots.append(Root(os.path.normpath(str(place)), str(name)))
    return roots


def editable_origin(dist_info: str) -> list[str]:
    """Return the source folder of an installed package, empty unless it is installed in editable mode."""
    text = text_of(os.path.join(dist_info, "direct_url.json"))
    try:
        content = json.loads(text) if text else {}
        editable = content.get("dir_info", {}).get("editable") is True
        url = urlsplit(content.get("url", ""))
    except (ValueError, AttributeError, RecursionError):
        return []
    return [os.path.normpath(unquote(url.path))] if editable and url.scheme == "file" else []


# --- the environment file ---


def declared_roots(project: str) -> list[Root]:
    """Return the roots of packages that the project's environment file names by a relative path.

    So they count too where the interpreter that decides does not have them installed.
    """
    waiting = [os.path.join(project, name) for name in _environment_files(project)]
    seen: set[str] = set()
    roots: list[Root] = []
    while waiting:
        file = waiting.pop(0)
        if file in seen:
            continue
        seen.add(file)
        for line in _remembered_list(file, "requirement-paths-1", _local_requirements):
            is_list = line.startswith("-r ")
            # pip counts relative paths from its working directory, which is the project's or the file's folder.
            bases = [os.path.dirname(file), project]
            places = [os.path.normpath(os.path.join(base, line.removeprefix("-r "))) for base in bases]
            place = next((place for place in places if os.path.exists(place)), None)
            if place and is_list:
                waiting.append(place)
            elif place and os.path.isdir(place):
                roots += layout_roots(place)
    return roots


def _environment_files(project: str) -> list[str]:
    """The file that the MLproject file names, else those that MLflow looks for."""
    try:
        mlprojects = [name for name in os.listdir(project) if name.lower() == "mlproject"]
    except OSError:
        mlprojects = []
    for name in sorted(mlprojects)[:1]:
        if named := _remembered_list(os.path.join(project, name), "environment-file-1", _named_environment):
            return named
    return list(_ENVIRONMENT_FILES)


def _remembered_list(file: str, kind: str, read: Callable[[Path], list[str]]) -> list[str]:
    try:
        return list(json.loads(remembered(Path(file), kind, lambda path: json.dumps(read(path)))))
    except PhaseError:
        return []


def _yaml(path: Path) -> dict[str, object]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def _named_environment(mlproject: Path) -> list[str]:
    content = _yaml(mlproject)
    return [str(content[key]) for key in _ENVIRONMENT_KEYS if isinstance(content.get(key), str)]


def _local_requirements(file: Path) -> list[str]:
    """Paths that an environment or requirements file names; a requirements file that it includes as `-r PATH`."""
    if file.suffix in (".yaml", ".yml"):
        dependencies = _yaml(file).get("dependencies")
        lines = list(_pip_lines(dependencies if isinstance(dependencies, list) else []))
    else:
        lines = text_of(str(file)).splitlines()
    found = []
    for line in lines:
        words = line.split(" #")[0].replace("--editable=", "-e ").replace("--requirement=", "-r ").split()
        if len(words) > 1 and words[0] in ("-e", "--editable"):
            found.append(words[1])
        elif len(words) > 1 and words[0] in ("-r", "--requirement"):
            found.append(f"-r {words[1]}")
        elif words and words[0].startswith("."):
            found.append(words[0])
    return [entry.split("[")[0].removeprefix("file:") for entry in found if "://" not in entry and "\0" not in entry]


def _pip_lines(dependencies: list[object]) -> Iterator[str]:
    for entry in dependencies:
        if isinstance(entry, dict) and isinstance(entry.get("pip"), list):
            yield from map(str, entry["pip"])
        elif isinstance(entry, str):
            yield entry


# --- the layout of a package's folder ---


def layout_roots(folder: str) -> list[Root]:
    """Return where the modules of a package's source folder lie: what setuptools is told there, `src`, the folder."""
    told = [*_pyproject_places(folder), *_setup_cfg_places(folder)]
    roots = [Root(os.path.normpath(os.path.join(folder, place)), module) for module, place in told]
    source = os.path.join(folder, "src")
    roots += [Root(place) for place in (source, folder) if os.path.isdir(place)]
    return list(dict.fromkeys(root for root in roots if os.path.isdir(root.path) or root.module))


def _pyproject_places(folder: str) -> list[tuple[str, str]]:
    import tomllib  # here, since most projects name no package by its path

    try:
        content = tomllib.loads(text_of(os.path.join(folder, "pyproject.toml")))
        setuptools = content.get("tool", {}).get("setuptools", {})
        packages = setuptools.get("packages", {})
        where = packages.get("find", {}).get("where", []) if isinstance(packages, dict) else []
        return [(str(module), str(place)) for module, place in setuptools.get("package-dir", {}).items()] + [
            ("", str(place)) for place in where
        ]
    except (ValueError, AttributeError, TypeError, RecursionError):
        return []


def _setup_cfg_places(folder: str) -> list[tuple[str, str]]:
    import configparser  # as above

    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(text_of(os.path.join(folder, "setup.cfg")))
    except configparser.Error:
        return []
    lines = parser.get("options", "package_dir", fallback="").replace(",", "\n").splitlines()
    pairs = [line.partition("=") for line in lines if "=" in line]
    where = parser.get("options.packages.find", "where", fallback="").replace(",", "\n").split()
    return [(module.strip(), place.strip()) for module, _, place in pairs] + [("", place) for place in where]
