"""Turn values into plain data and back, so that two processes that do not trust each other can exchange them.

A value becomes a table: each row is one value, and a container lists the rows of its parts. So depth costs no stack,
and a part that is shared stays shared. A table that is read back becomes values of exactly the built-in or standard
types that its rows name: no code of the other process runs, and nothing is unpickled. Any other object crosses as a
reference, which only the process that sent it can resolve.
"""

import builtins
import importlib
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from types import ModuleType
from typing import Any

Row = Any
Table = list[Row]
Reference = list[Any]
Foreign = Callable[[Any], Reference | type | None]
"""For an object of no standard type: its reference, the standard type to take it for, or None if it has neither."""

_INLINE = (type(None), bool, float, str)
_LARGEST = 2**63
_FACTORIES = {kind.__name__: kind for kind in (bool, dict, float, int, list, set, str, tuple)}
_MISSING = object()


class CannotCrossError(Exception):
    """A value has no plain form."""


class MalformedError(Exception):
    """A table means no value."""


def encode(value: Any, foreign: Foreign) -> Table:
    """Return the table of a value. Raise CannotCrossError if a part has neither a plain form nor a reference."""
    table: Table = []
    numbers: dict[int, int] = {}
    items: list[Any] = []  # It keeps the parts alive too: `numbers` knows them by address.

    def number(item: Any) -> int:
        if id(item) not in numbers:
            numbers[id(item)] = len(items)
            items.append(item)
        return numbers[id(item)]

    number(value)
    for item in items:  # which grows meanwhile
        table.append(_row(item, number, foreign))
    return table


def _row(item: Any, number: Callable[[Any], int], foreign: Foreign) -> Row:
    kind = type(item)
    if kind not in _WRITERS and kind not in _INLINE and kind is not int:
        meaning = foreign(item)
        if isinstance(meaning, list):
            return ["reference", meaning]
        if meaning is None:
            raise CannotCrossError(f"a value of the type {kind.__name__}")
        kind = meaning
        item = _SCALAR_OF[kind](item) if kind in _SCALAR_OF else item
    if kind in _INLINE:
        return item
    if kind is int:
        return item if -_LARGEST < item < _LARGEST else ["int", hex(item)]
    try:
        detail, parts = _WRITERS[kind](item)
    except CannotCrossError:
        meaning = foreign(item)
        if not isinstance(meaning, list):
            raise
        return ["reference", meaning]
    return [kind.__name__, detail, *map(number, parts)]


def base_of(item: Any) -> type | None:
    """Return the standard type that an instance of a subclass can be taken for; None if there is none."""
    return next((base for base in _BASES if isinstance(item, base)), None)


def decode(table: Any, resolve: Callable[[Any], Any]) -> Any:
    """Return the value of a table.

    Args:
        table: It may hold anything: the other process may be hostile.
        resolve: Returns the object of a reference.

    Raises:
        MalformedError: The table means no value.
    """
    try:
        return _decoded(table, resolve)
    except Exception as error:
        raise MalformedError(f"{type(error).__name__}: {str(error)[:100]}") from None


def _decoded(table: Table, resolve: Callable[[Any], Any]) -> Any:
    values: list[Any] = [_MISSING] * len(table)
    opened, complete, left = set[int](), set[int](), [0]
    while left:
        place = left[-1]
        row = table[place]
        if not isinstance(row, list):
            values[place] = _inline(row)
        elif row[0] == "reference":
            values[place] = resolve(row[1])
        elif place not in opened:
            opened.add(place)
            if row[0] in _FILLED:  # It can be a part of itself: it exists before its parts.
                values[place] = _FILLED[row[0]][0](row[1])
            left += [part for part in {_place(part, len(table)) for part in row[2:]} if values[part] is _MISSING]
            continue
        elif place not in complete:
            complete.add(place)
            parts = [_present(values[part]) for part in row[2:]]
            if row[0] in _FILLED:
                _FILLED[row[0]][1](values[place], parts)
            else:
                values[place] = _READERS[row[0]](row[1], parts)
        left.pop()
    return values[0]


def _inline(row: Any) -> Any:
    if type(row) not in _INLINE and type(row) is not int:
        raise TypeError(f"a row is a {type(row).__name__}")
    return row


def _place(part: Any, rows: int) -> int:
    if type(part) is not int or not 0 <= part < rows:
        raise ValueError("a part is not in the table")
    return part


def _present(value: Any) -> Any:
    if value is _MISSING:
        raise ValueError("a value that cannot change is a part of itself")
    return value


# From here on: how each type is written, as (detail, parts), and read back. Unbound methods, so that a subclass is
# written by its content, whatever methods it has.


def _pairs(items: Iterable[tuple[Any, Any]]) -> list[Any]:
    return [part for pair in items for part in pair]


def _write_factory(value: defaultdict[Any, Any]) -> tuple[Any, list[Any]]:
    factory = value.default_factory
    name = getattr(factory, "__name__", None)
    return (name if _FACTORIES.get(str(name)) is factory else None), _pairs(dict.items(value))


def _write_zone(value: Any) -> tuple[Any, list[Any]]:
    if value.tzinfo not in (None, UTC):
        raise CannotCrossError(f"a {type(value).__name__} of another time zone than UTC")
    return value.isoformat(), []


def _write_type(value: type) -> tuple[Any, list[Any]]:
    if vars(builtins).get(value.__name__) is not value:
        raise CannotCrossError(f"the class {value.__name__}")
    return value.__name__, []


_WRITERS: dict[type, Callable[[Any], tuple[Any, Iterable[Any]]]] = {
    list: lambda value: (None, list.__iter__(value)),
    tuple: lambda value: (None, tuple.__iter__(value)),
    Counter: lambda value: (None, _pairs(dict.items(value))),
    OrderedDict: lambda value: (None, _pairs(OrderedDict.items(value))),
    defaultdict: _write_factory,
    dict: lambda value: (None, _pairs(dict.items(value))),
    set: lambda value: (None, set.__iter__(value)),
    frozenset: lambda value: (None, frozenset.__iter__(value)),
    deque: lambda value: (value.maxlen, deque.__iter__(value)),
    bytes: lambda value: (bytes.hex(value), []),
    bytearray: lambda value: (bytearray.hex(value), []),
    complex: lambda value: ([value.real, value.imag], []),
    range: lambda value: (None, [value.start, value.stop, value.step]),
    Decimal: lambda value: (Decimal.__str__(value), []),
    Fraction: lambda value: (None, [value.numerator, value.denominator]),
    datetime: _write_zone,
    date: lambda value: (date.isoformat(value), []),
    time: _write_zone,
    timedelta: lambda value: ([value.days, value.seconds, value.microseconds], []),
    type(...): lambda value: (None, []),
    type: _write_type,
    ModuleType: lambda value: (value.__name__, []),
}
_SCALAR_OF: dict[type, Callable[[Any], Any]] = {str: str.__str__, float: float.__float__, int: int.__int__}
_BASES = (*(kind for kind in _WRITERS if kind not in (type, ModuleType)), *_SCALAR_OF)
"""A subclass stands before its base."""


def _read_type(name: str) -> type:
    found = vars(builtins)[name]
    if not isinstance(found, type):
        raise TypeError(f"{name} is no class")
    return found


def _read_module(name: str) -> ModuleType:
    if name.partition(".")[0] not in sys.stdlib_module_names:
        raise ImportError(f"{name} is no module of the standard library")
    return importlib.import_module(name)


def _fill_mapping(value: dict[Any, Any], parts: list[Any]) -> None:
    value.update(zip(parts[::2], parts[1::2], strict=True))


def _fill_counter(value: Counter[Any], parts: list[Any]) -> None:
    dict.update(value, zip(parts[::2], parts[1::2], strict=True))  # Counter's own would add.


_FILLED: dict[str, tuple[Callable[[Any], Any], Callable[[Any, list[Any]], None]]] = {
    "list": (lambda _: [], list.extend),
    "dict": (lambda _: {}, _fill_mapping),
    "Counter": (lambda _: Counter(), _fill_counter),
    "OrderedDict": (lambda _: OrderedDict(), _fill_mapping),
    "defaultdict": (lambda name: defaultdict(None if name is None else _FACTORIES[name]), _fill_mapping),
    "set": (lambda _: set(), set.update),
    "deque": (lambda longest: deque(maxlen=longest), deque.extend),
}
_READERS: dict[str, Callable[[Any, list[Any]], Any]] = {
    "int": lambda text, _: int(text, 16),
    "tuple": lambda _, parts: tuple(parts),
    "frozenset": lambda _, parts: frozenset(parts),
    "bytes": lambda text, _: bytes.fromhex(text),
    "bytearray": lambda text, _: bytearray.fromhex(text),
    "complex": lambda parts, _: complex(*parts),
    "range": lambda _, parts: range(*parts),
    "Decimal": lambda text, _: Decimal(text),
    "Fraction": lambda _, parts: Fraction(*parts),
    "datetime": lambda text, _: datetime.fromisoformat(text),
    "date": lambda text, _: date.fromisoformat(text),
    "time": lambda text, _: time.fromisoformat(text),
    "timedelta": lambda parts, _: timedelta(*parts),
    "ellipsis": lambda *_: ...,
    "type": lambda name, _: _read_type(name),
    "module": lambda name, _: _read_module(name),
}
