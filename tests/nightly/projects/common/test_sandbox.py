"""All right solutions of HumanEval pass, and programs that eat time or memory are ended in every way of confining.

Cheaper siblings: tests/projects/common/test_sandbox*.py and tests/projects/lora_retraining/grading/test_objective.py.
"""

import dataclasses

import pytest
from lora_retraining.data.sources import load_tasks
from lora_retraining.grading.objective import grade_all
from projects_common.sandbox import confined
from projects_common.sandbox.confined import Limits

LIMITS = Limits(seconds=3.0)
KINDS = {
    "namespaces": confined._Confinement(),
    "Landlock": confined._Confinement(namespaces=False),
    "audit hook": confined._Confinement(kernel=False),
}
EATERS = {
    "computes for ever": ("while True: pass", "timeout"),
    "computes in a call": ("def f():\n    while True: pass", "timeout"),
    "ignores its limit": ("import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass", "timeout"),
    "waits": ("import time\ntime.sleep(1000)", "timeout"),
    "waits in a call": ("import time\ndef f():\n    time.sleep(1000)", "timeout"),
    "closes all and waits": ("import os, time\nos.closerange(0, 64)\ntime.sleep(1000)", "timeout"),
    "takes memory": ("x = []\nwhile True: x.append(bytearray(10**6))", "memory"),
    "takes memory in a call": ("def f():\n    return 'x' * 10**10", "memory"),
    "returns what its tests cannot hold": (
        "def f():\n    x = 'x' * 10**6\n    return [x + str(n) for n in range(100)]",
        "memory",
    ),
    "gives its tests work without end": (
        "def f():\n    x = [1]\n    for _ in range(60): x = [x, x]\n    return x",
        "timeout",
    ),
    "writes many files": ("n = 0\nwhile True:\n    n += 1\n    open(str(n), 'w').write('x' * 10**5)", "failed"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", EATERS)
def test_a_program_that_eats_time_memory_or_disk_is_ended(what, kind):
    source, status = EATERS[what]
    limits = dataclasses.replace(LIMITS, wall_seconds=5.0) if "sleep" in source else LIMITS
    tests = "assert f() == f()" if "def f" in source else ""
    result, _ = confined._run(source, tests, "f", limits, KINDS[kind])
    assert result.status == status, result


def test_all_right_solutions_of_human_eval_pass():
    tasks = load_tasks("humaneval", "test")
    grades = grade_all(tasks, [task.answer for task in tasks])
    assert {task.id: given.reason for task, given in zip(tasks, grades, strict=True) if not given.correct} == {}
