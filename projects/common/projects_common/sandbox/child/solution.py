"""Run the code that a model wrote, then do with its objects what the process of its tests asks for.

This process may be hostile after its first line of that code: nothing that it says is trusted.
"""

import builtins
import operator
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any

from projects_common.sandbox.child import channel, values
from projects_common.sandbox.child.verdicts import described, verdict

Message = dict[str, Any]


def serve(source: str, calls: int, answers: int) -> None:
    """Run the source, say if it worked, and answer requests until there are no more."""
    module = types.ModuleType("solution")  # so that dataclasses and the like find where they were defined
    sys.modules["solution"] = module
    try:
        if "random" in source:
            import random

            random.seed(0)
        exec(compile(source, "<solution>", "exec", dont_inherit=True), vars(module))
    except BaseException as error:
        channel.send(answers, {"failed": verdict(error)})
        return
    channel.send(answers, {"ran": True})
    objects = _Objects(vars(module))
    try:
        while True:
            request = channel.receive(calls)
            try:
                channel.send(answers, objects.answer(request))
            except channel.TooLongError:
                channel.send(answers, {"failed": ("memory", f"returned more than {channel.LONGEST} bytes")})
    except channel.ClosedError:
        return


class _Objects:
    """The objects that the tests know by a number."""

    def __init__(self, names: Mapping[str, Any]) -> None:
        self._names = names
        self._objects: list[Any] = []
        self._numbers: dict[int, int] = {}
        self._shortened = False
        self._operations: dict[str, Callable[..., Any]] = {
            "names": self._named,
            "call": lambda function, arguments, named: function(*arguments, **named),
            "getattr": getattr,
            "setattr": setattr,
            "delattr": delattr,
            "getitem": operator.getitem,
            "setitem": operator.setitem,
            "delitem": operator.delitem,
            "len": len,
            "bool": bool,
            "str": str,
            "repr": repr,
            "iter": iter,
            "next": next,
        }

    def answer(self, request: Message) -> Message:
        """Return the result of an operation, with its arguments if it has changed them; or the error it ended with."""
        self._shortened = False
        arguments = values.decode(request["table"], lambda detail: self._objects[detail[0]])
        try:
            result = self._operations[request["operation"]](*arguments)
        except BaseException as error:
            return self._raised(error)
        try:
            answer = {"table": values.encode(result, self._foreign)}
            if request["operation"] == "call":
                changed = values.encode(arguments, self._foreign)
                answer |= {"changed": changed} if changed != request["table"] else {}
        except values.CannotCrossError as error:
            return {"cannot_cross": str(error)}
        except BaseException as error:
            return self._raised(error)
        return {**answer, "shortened": self._shortened}

    def _named(self, *names: str) -> dict[str, Any]:
        return {name: self._names[name] for name in names if name in self._names}

    def _raised(self, error: BaseException) -> Message:
        kinds = [kind.__name__ for kind in type(error).__mro__ if vars(builtins).get(kind.__name__) is kind]
        try:
            table = values.encode(error.args, self._foreign)
        except BaseException:
            table = values.encode((), self._foreign)
        return {"raised": kinds, "table": table, "said": described(error), "verdict": verdict(error)}

    def _foreign(self, item: Any) -> values.Reference | type:
        """Take an instance of a subclass for one of its standard base, refer to any other object by its number."""
        if (base := values.base_of(item)) is not None and type(item) is not base:
            self._shortened = True
            return base
        if id(item) not in self._numbers:
            self._numbers[id(item)] = len(self._objects)
            self._objects.append(item)
        by_identity = type(item).__eq__ is object.__eq__
        return [self._numbers[id(item)], by_identity, callable(item)]
