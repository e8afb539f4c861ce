"""Programs that a Python process starts, named where nothing below Python sees what they read."""

import os

import _mlflow_phases_records as records

_fspath, _fsdecode = os.fspath, os.fsdecode
_HERE = __file__.rpartition("/")[0]


def started(program, arguments=(), environment=None):
    """Record a program that is started, by its name."""
    if records.observer.native:
        return
    name = _name(program)
    names = [name]
    if name in ("sh", "bash", "dash", "zsh") and isinstance(arguments, (list, tuple)) and len(arguments) > 2:
        names = _programs_of(_fsdecode(arguments[2])) or names
    elif name.startswith("python") and not records.observer.covered and _is_unobserved(arguments, environment):
        records.observer.tell("C", "", name + " without the hook")
    for name in names:
        if name and not name.startswith("python"):
            records.observer.tell("C", "", name)


def _programs_of(text):
    """Return the first word of every command in the text of a shell, and the shell where a file is put into one."""
    names = ["sh"] if "<" in text else []
    for sign in ";&|(){}`\n":
        text = text.replace(sign, "\0")
    for part in text.split("\0"):
        words = part.split()
        while words and "=" in words[0]:
            words.pop(0)
        names += [_name(words[0])] if words else []
    return names


def _is_unobserved(arguments, environment):
    """Tell whether a Python program is told not to load what observes it."""
    for word in list(arguments)[1:] if isinstance(arguments, (list, tuple)) else ():
        word = _fsdecode(_fspath(word))
        if word[:1] != "-" or word[:2] in ("--", "-c", "-m"):
            break
        if not {"I", "E", "S"}.isdisjoint(word.partition("c")[0].partition("m")[0]):
            return True
    if environment is None:
        environment = os.environ
    given = {_fsdecode(name): _fsdecode(value) for name, value in environment.items()}
    return "MLFLOW_PHASES_OBSERVE" not in given or _HERE not in given.get("PYTHONPATH", "").split(os.pathsep)


def _name(program):
    return _fsdecode(_fspath(program)).rpartition("/")[2] if program else ""


def popened(executable, arguments, folder=None, environment=None):
    """Record what `subprocess` starts."""
    if isinstance(arguments, (str, bytes, os.PathLike)):
        arguments = [arguments]
    started(executable or (arguments[0] if arguments else ""), arguments, environment)


def ran(command):
    """Record what `os.system` starts."""
    started("sh", ["sh", "-c", command])
