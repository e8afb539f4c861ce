"""Run tests of a solution that runs in another process. No code of the solution runs here, so it cannot pass itself."""

import ast
import builtins
import contextlib
from collections import Counter, OrderedDict, defaultdict, deque
from typing import Any

from projects_common.sandbox.child import channel, values
from projects_common.sandbox.child.references import CallableReference, EndedError, Reference, detail_of, undecided
from projects_common.sandbox.child.verdicts import described, verdict, with_line

ENDED = "ended"
"""The status of a solution whose process has ended: how it ended tells why."""
_STATUSES = ("failed", "memory", "refused")
_LONGEST = 400
_KEEPS_ITS_MEANING = (StopIteration, StopAsyncIteration)
"""Raised by the solution they would end a loop of the tests, as if all of it had passed."""
_MUTABLE = (list, dict, set, bytearray, deque, Counter, OrderedDict, defaultdict)


def check(tests: str, given: str, entry_point: str, calls: int, answers: int) -> tuple[str, str]:
    """Run the tests and return (status, message).

    Args:
        tests: Python that raises if the solution is wrong.
        given: Code that came with the task. What it defines, but for `entry_point`, is not taken from the solution.
        entry_point: The function asked for.
        calls: Where requests to the solution are written to.
        answers: Where its answers come from.
    """
    solution = _Solution(calls, answers)
    try:
        solution.wait()
        _run(solution, tests, given, entry_point)
    except BaseException as error:
        found = _found(error, solution, tests)
    else:
        found = ("passed", "")
    if (ended := EndedError.first) is not None:
        return ended.status, ended.message
    return found


def _run(solution: "_Solution", tests: str, given: str, entry_point: str) -> None:
    try:
        tree = ast.parse(tests)
        code = compile(tree, "<tests>", "exec", dont_inherit=True)
    except Exception as error:
        raise EndedError("undecided", f"the tests cannot be read: {described(error)}") from None
    if "random" in tests:
        import random

        random.seed(0)
    namespace: dict[str, Any] = {"__name__": "tests"}
    with contextlib.suppress(Exception):  # It may be a part of a function. Its names come from the solution then.
        exec(compile(given, "<given>", "exec", dont_inherit=True), namespace)
    namespace.pop(entry_point, None)
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    # A solution that redefines abs or sorted must not change what its tests mean.
    foreign = {name for name in used if name not in vars(builtins) and name not in namespace} | {entry_point} & used
    names = solution.named(sorted(foreign))
    if entry_point in used and entry_point not in names and entry_point in vars(builtins):
        raise EndedError("failed", f"NameError: name {entry_point!r} is not defined")
    exec(code, {**namespace, **names})


def _found(error: BaseException, solution: "_Solution", tests: str) -> tuple[str, str]:
    """Return the (status, message) of tests that ended with an error."""
    told = vars(error).get("solution_ended_with")
    if told is None and not isinstance(error, AssertionError) and solution.gave_objects:
        return "undecided", f"its tests ended with {described(error)} on a value that is no plain data"
    status, message = told or verdict(error)
    return status, with_line(message, error, tests)


class _Solution:
    """The process of the solution: requests to it, and what it answered, of which nothing is trusted.

    Attributes:
        gave_objects: It has given a value that is no plain data, or that was shortened to plain data.
    """

    def __init__(self, calls: int, answers: int) -> None:
        self._calls, self._answers = calls, answers
        self._references: dict[int, Reference] = {}
        self.gave_objects = False

    def wait(self) -> None:
        """Wait until the solution has run. Raise EndedError if it failed."""
        self._received()

    def named(self, names: list[str]) -> dict[str, Any]:
        """Return those of the names that the solution has defined, with their values."""
        found = self.ask("names", *names)
        self.gave_objects = False
        if type(found) is not dict:
            raise _broken()
        return {name: found[name] for name in names if name in found}

    def ask(self, operation: str, *arguments: Any) -> Any:
        """Return the result of an operation in the solution's process, or raise the error that it ended with."""
        try:
            table = values.encode(arguments, detail_of)
            channel.send(self._calls, {"operation": operation, "table": table})
        except values.CannotCrossError as error:
            raise undecided(f"to give the solution {error}") from None
        except channel.TooLongError:
            raise EndedError("undecided", "its tests give the solution more data than can cross") from None
        except channel.ClosedError:
            raise EndedError(ENDED, "") from None
        answer = self._received()
        if "cannot_cross" in answer:
            raise undecided(str(answer["cannot_cross"])[:_LONGEST])
        result = self._decoded(answer.get("table"))
        if "raised" in answer:
            raise _raised(operation, answer, result)
        if operation == "call" and "changed" in answer:
            put_back(arguments, self._decoded(answer["changed"]))
        self.gave_objects |= answer.get("shortened") is True
        return result

    def _received(self) -> dict[str, Any]:
        try:
            answer = channel.receive(self._answers)
        except channel.ClosedError:
            raise EndedError(ENDED, "") from None
        except (channel.TooLongError, ValueError):
            raise _broken() from None
        if "failed" in answer:
            raise EndedError(*_told(answer["failed"]))
        return answer

    def _decoded(self, table: Any) -> Any:
        try:
            return values.decode(table, self._reference)
        except values.MalformedError:
            raise _broken() from None

    def _reference(self, detail: Any) -> Reference:
        number, by_identity, can_be_called = detail
        self.gave_objects = True
        if number not in self._references:
            kind = CallableReference if can_be_called is True else Reference
            self._references[number] = kind(self.ask, int(number), by_identity is True)
        return self._references[number]


def _broken() -> EndedError:
    return EndedError("failed", "wrote to the channel of its tests")


def _told(verdict_of_solution: Any) -> tuple[str, str]:
    """Return what a solution says of its own failure. It cannot say that it passed."""
    try:
        status, message = verdict_of_solution
    except (TypeError, ValueError):
        return "failed", ""
    return (status if status in _STATUSES else "failed"), str(message)[:_LONGEST]


def _raised(operation: str, answer: dict[str, Any], arguments: Any) -> BaseException:
    """Return an error of Python's own like the one that the solution raised, so that tests can expect it."""
    kinds = answer["raised"] if isinstance(answer["raised"], list) else []
    told = _told(answer.get("verdict"))
    if operation == "next" and kinds[:1] == ["StopIteration"]:
        return StopIteration()
    for name in kinds:
        kind = vars(builtins).get(name) if isinstance(name, str) else None
        if not (isinstance(kind, type) and issubclass(kind, Exception)) or issubclass(kind, _KEEPS_ITS_MEANING):
            break
        for given in (arguments if type(arguments) is tuple else (), (told[1],)):
            try:
                error = kind(*given)
            except Exception:  # Some need arguments of a certain number and type.
                continue
            vars(error)["solution_ended_with"] = told
            return error
    return EndedError(*told)


def put_back(old: Any, new: Any) -> None:
    """Change the mutable parts of the old value into those of the new one, in place."""
    left, done = [(old, new)], set[int]()
    while left:
        old, new = left.pop()
        kind = type(old)
        if kind is not type(new) or id(old) in done:
            continue
        done.add(id(old))
        if kind is tuple:
            left += zip(old, new, strict=False)
        elif kind is list and len(old) == len(new):
            left += zip(old, new, strict=True)
            old[:] = [_kept(*pair) for pair in zip(old, new, strict=True)]
        elif kind in (list, bytearray):
            old[:] = new
        elif issubclass(kind, dict):
            left += [(old[key], value) for key, value in new.items() if key in old]
            merged = {key: _kept(old[key], value) if key in old else value for key, value in new.items()}
            old.clear()
            old.update(merged)
        elif kind is set:
            old.clear()
            old.update(new)
        elif kind is deque:
            old.clear()
            old.extend(new)


def _kept(old: Any, new: Any) -> Any:
    """Return the old object if it can take the content of the new one, else the new one."""
    return old if type(old) is type(new) and type(old) in _MUTABLE else new
