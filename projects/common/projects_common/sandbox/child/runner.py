"""Become two confined processes: one runs the solution, the other its tests and says what came of them.

The first message on the standard input is for both, with the solution; the second one, with the tests, is read when the
solution's process is another one already. Nothing of the solution runs before both are confined.
"""

import os
import signal
import sys
from typing import Any

from projects_common.sandbox.child import channel, checker, confinement, solution

Request = dict[str, Any]
_INPUT = 0


def main() -> None:
    """Do what the requests on the standard input say, and end."""
    request = channel.receive(_INPUT)
    _end_with_the_parent(request["parent"])
    calls, answers = os.pipe(), os.pipe()
    tester = os.getpid()
    sys.stdout.flush()
    if process := os.fork():
        os.close(calls[0])
        os.close(answers[1])
        _test(request, process, calls[1], answers[0])
    else:
        for descriptor in (calls[1], answers[0], request["report"]):
            os.close(descriptor)
        _end_with_the_parent(tester)
        _solve(request, calls[0], answers[1])
    os._exit(0)  # Threads that are left behind end here too.


def _solve(request: Request, calls: int, answers: int) -> None:
    _read_nothing()
    applied = confinement.confine(request, request["scratch_of_solution"])
    channel.send(answers, {"confined_by": applied})
    channel.receive(calls)  # The tests are confined too, and wait.
    solution.serve(request["source"], calls, answers)


def _test(request: Request, process: int, calls: int, answers: int) -> None:
    own = channel.receive(_INPUT)
    _read_nothing()
    # The solution's process ends with this one by a signal of the kernel in its name.
    applied = confinement.confine(request, request["scratch_of_tests"], may_signal=True)
    begun = channel.receive(answers)
    channel.send(request["report"], {"solution": process, "confined_by": begun["confined_by"], "tests": applied})
    channel.send(calls, {})
    status, message = checker.check(own["tests"], own["given"], own["entry_point"], calls, answers)
    result: Request = {"status": status, "message": message}
    if status == checker.ENDED:
        result["code"] = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    channel.send(request["report"], result)


def _read_nothing() -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, _INPUT)
    os.close(null)


def _end_with_the_parent(parent: int) -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)
