"""Find the modules behind console scripts and plug-ins that the user's own packages declare as entry points.

Home-made: `importlib.metadata` reads every installed package, and does not say which of them are the user's own.
"""

import os
from functools import lru_cache

from mlflow_plugin.project.import_roots import changed_at, editable_origin, installed_in, site_folders, text_of

CONSOLE_SCRIPTS = "console_scripts"
_SYSTEM_PROGRAMS = ("/bin", "/usr/bin")


def modules_of_script(name: str, project: str) -> list[str]:
    """Return the modules that a command of this name runs, as a package of the project or an editable one declares."""
    if any(os.path.exists(os.path.join(folder, name)) for folder in _SYSTEM_PROGRAMS):
        return []
    return [module for group, script, module in _declared(project) if group == CONSOLE_SCRIPTS and script == name]


def modules_of_group(group: str, project: str) -> list[str]:
    """Return the modules of the user's own packages that are plug-ins of a group of entry points."""
    return [module for declared, _, module in _declared(project) if declared == group]


def _declared(project: str) -> list[tuple[str, str, str]]:
    return [*_of_project(project), *_of_editable(tuple((folder, changed_at(folder)) for folder in site_folders()))]


def _of_project(project: str) -> list[tuple[str, str, str]]:
    import tomllib  # Here, since few commands are console scripts.

    text = text_of(os.path.join(project, "pyproject.toml"))
    found: list[tuple[str, str, str]] = []
    try:
        content = tomllib.loads(text).get("project", {}) if text else {}
        for name, value in content.get("scripts", {}).items():
            found.append((CONSOLE_SCRIPTS, name, _module(value)))
        for group, named in content.get("entry-points", {}).items():
            found += [(group, name, _module(value)) for name, value in named.items()]
    except (ValueError, AttributeError, TypeError, RecursionError):
        return found
    lines = _parsed(text_of(os.path.join(project, "setup.cfg"))).get("options.entry_points", {})
    for group, listed in lines.items():
        pairs = [line.partition("=") for line in listed.splitlines() if "=" in line]
        found += [(group, name.strip(), _module(value)) for name, _, value in pairs]
    return found


@lru_cache(maxsize=4)
def _of_editable(folders: tuple[tuple[str, int], ...]) -> tuple[tuple[str, str, str], ...]:
    found = []
    for _, name, path in installed_in(folders):
        if name.endswith(".dist-info") and editable_origin(path):
            for group, named in _parsed(text_of(os.path.join(path, "entry_points.txt"))).items():
                found += [(group, script, _module(value)) for script, value in named.items()]
    return tuple(found)


def _parsed(text: str) -> dict[str, dict[str, str]]:
    import configparser  # As above.

    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",), strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # names of scripts keep their case
    try:
        parser.read_string(text)
    except configparser.Error:
        return {}
    return {section: dict(parser[section]) for section in parser.sections()}


def _module(value: object) -> str:
    return str(value).partition(":")[0].strip()
