"""The programs of a command, and which of them may read data."""

import os
import re

from mlflow_plugin.project.command import simple_commands
from mlflow_plugin.project.launchers import WRITERS, program_place

_QUIET = WRITERS | {"cd", "export", "set", "unset", "true", ":", "ulimit", "trap", "sleep", "date", "exit"}
_PYTHON = re.compile(r"(?:python|pypy)[\d.]*|torchrun|accelerate|deepspeed")


def has_other_programs(command: str) -> bool:
    """Return True when a command runs more than one Python program, or another program than Python.

    >>> has_other_programs("mkdir -p out && python train.py --rate {rate} | tee out/log")
    False
    """
    programs = []
    for words in simple_commands(command, {}, ".", "."):
        place = program_place([word.text or "" for word in words])
        if place < len(words):
            programs.append(os.path.basename(words[place].text or ""))
    readers = [name for name in programs if name not in _QUIET]
    return len(readers) != 1 or _PYTHON.fullmatch(readers[0]) is None
