"""Stand for the solution's objects in the process of its tests. Each use of one asks the solution's process.

An object compares by identity if it says so: then it equals nothing else. In all other cases its comparison is code of
the solution, and a result that depends on it would be one that the solution has chosen: the tests stay undecided.
"""

from collections.abc import Callable
from typing import Any, NoReturn

Ask = Callable[..., Any]


class EndedError(BaseException):
    """The result is known before the tests have ended. It counts even if the tests catch it: the first one is kept."""

    first: "EndedError | None" = None

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        if EndedError.first is None:
            EndedError.first = self


def undecided(what: str) -> EndedError:
    """Return the error for a result that would depend on code of the solution."""
    return EndedError("undecided", f"its tests need {what}, which is no plain data")


class Reference:
    """An object of the solution."""

    __slots__ = ("__weakref__", "_ask", "_by_identity", "_number")

    def __init__(self, ask: Ask, number: int, by_identity: bool) -> None:
        for name, value in (("_ask", ask), ("_number", number), ("_by_identity", by_identity)):
            object.__setattr__(self, name, value)

    @property
    def __class__(self) -> NoReturn:  # type: ignore[override]
        raise undecided("the type of a value")

    def __getattr__(self, name: str) -> Any:
        return self._ask("getattr", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._ask("setattr", self, name, value)

    def __delattr__(self, name: str) -> None:
        self._ask("delattr", self, name)

    def __getitem__(self, key: Any) -> Any:
        return self._ask("getitem", self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._ask("setitem", self, key, value)

    def __delitem__(self, key: Any) -> None:
        self._ask("delitem", self, key)

    def __len__(self) -> int:
        return int(_of_type(int, self._ask("len", self)))

    def __bool__(self) -> bool:
        return bool(_of_type(bool, self._ask("bool", self)))

    def __str__(self) -> str:
        return str(_of_type(str, self._ask("str", self)))

    def __repr__(self) -> str:
        return str(_of_type(str, self._ask("repr", self)))

    def __iter__(self) -> Any:
        iterator = self._ask("iter", self)
        return iterator if type(iterator) in KINDS else iter(iterator)

    def __next__(self) -> Any:
        return self._ask("next", self)

    def __eq__(self, other: object) -> bool:
        if self is other or object.__getattribute__(self, "_by_identity"):
            return self is other
        raise undecided("the comparison of a value")

    def __hash__(self) -> int:
        if not object.__getattribute__(self, "_by_identity"):
            raise undecided("the hash of a value")
        return id(self)


class CallableReference(Reference):
    """An object of the solution that can be called, as `callable` tells."""

    __slots__ = ()

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._ask("call", self, arguments, named)


KINDS = (Reference, CallableReference)


def detail_of(item: Any) -> list[Any] | None:
    """Return a reference as both processes write it, None of any other object."""
    if type(item) not in KINDS:
        return None
    number, by_identity = (object.__getattribute__(item, name) for name in ("_number", "_by_identity"))
    return [number, by_identity, type(item) is CallableReference]


def _of_type(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise EndedError("failed", f"its object gave a {type(value).__name__} for its {kind.__name__}")
    return value


def _refuse(name: str) -> Callable[..., NoReturn]:
    def method(*_: Any) -> NoReturn:
        raise undecided(f"the operator {name} of a value")

    return method


_TWO_SIDED = (
    "add",
    "sub",
    "mul",
    "matmul",
    "truediv",
    "floordiv",
    "mod",
    "divmod",
    "pow",
    "lshift",
    "rshift",
    "and",
    "xor",
)
_OTHERS = ("lt", "le", "gt", "ge", "ror", "or", "neg", "pos", "abs", "invert", "round", "trunc", "floor", "ceil")
_AS_NUMBERS = ("int", "float", "complex", "index", "format", "enter", "await", "aiter", "copy", "deepcopy")
for _name in (*_TWO_SIDED, *(f"r{name}" for name in _TWO_SIDED), *_OTHERS, *_AS_NUMBERS):
    setattr(Reference, f"__{_name}__", _refuse(f"__{_name}__"))
