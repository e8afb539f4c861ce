"""Programs that a Python process starts and libraries that it loads, named where nothing else sees what they read."""

import os
import sys
from time import time_ns as _time_ns

import _mlflow_phases_records as records

_fspath, _fsdecode = os.fspath, os.fsdecode
_HERE = __file__.rpartition("/")[0]


def executed(program):
    """Record a program below the user's own folders: it is code that the phase runs."""
    path = records.absolute(program) if program and "/" in _fsdecode(_fspath(program)) else None
    if path and records.observer.is_own(path) and records.state_of(path):
        records.tell_read(path)


def started(program, arguments=(), environment=None):
    """Record a program that is started, by its name."""
    if records.observer.native:
        return
    executed(program)
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


def _note_shell(program, arguments, environment=None):
    """Tell which variables a command for a shell names, and of a Python that is not observed from within."""
    name = _name(program)
    options = [_fsdecode(one) for one in arguments[1:] if not isinstance(one, int)]
    if name.startswith("python") and not records.observer.native:
        first = options[0] if options else ""
        if first[:1] == "-" and first[:2] != "--" and set("IES") & set(first.partition("c")[0].partition("m")[0]):
            records.observer.tell("Y", "")
    if name == "git":
        _note_git(options)
    if len(options) > 1 and options[0] == "-c" and name in ("sh", "bash", "dash", "zsh", "ksh"):
        import _mlflow_phases_variables

        given = environment and {_fsdecode(key): _fsdecode(value) for key, value in environment.items()}
        observing = sys.modules["_mlflow_phases_observing"]
        _mlflow_phases_variables.note_shell(observing, options[1], given)


def _note_git(options):
    """Tell whose git this is: MLflow asks it for the commit, and what that reads is no input."""
    frame = sys._getframe(1)
    passed = ("/subprocess.py", "/os.py")
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith((_HERE, "<frozen os")) and not file.endswith(passed) and "-packages/git/" not in file:
            break
        frame = frame.f_back
    is_own = frame is not None and records.observer.is_own(records.absolute(frame.f_code.co_filename))
    words = [
        one for at, one in enumerate(options) if one[:1] != "-" and (not at or options[at - 1] not in ("-c", "-C"))
    ]
    if not is_own or not records.observer.native:  # Below Python the shim tells of each.
        records.observer.tell("v" if is_own else "w", f"{os.getpid()}-{_time_ns()} ", words[0] if words else "")


def popened(executable, arguments, folder=None, environment=None):
    """Record what `subprocess` starts."""
    if isinstance(arguments, (str, bytes, os.PathLike)):
        arguments = [arguments]
    program = executable or (arguments[0] if arguments else "")
    _note_shell(program, arguments, environment)
    started(program, arguments, environment)


def ran(command):
    """Record what `os.system` starts."""
    _note_shell("sh", ["sh", "-c", command])
    started("sh", ["sh", "-c", command])


def loaded(name):
    """Record a library that `ctypes` loads: the loader opens it, and no event tells of that."""
    path = records.absolute(name) if name and "/" in _fsdecode(_fspath(name)) else None
    if path and not records.observer.left_out(path) and records.state_of(path):
        records.tell_read(path)


def found_in_library(library, name):
    """Record that `ctypes` was asked for a function that opens files."""
    if not records.observer.covered and name in ("open", "open64", "openat", "fopen", "fopen64", "syscall"):
        records.observer.tell("I", "", "ctypes")
