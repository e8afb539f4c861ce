"""Values that cross between the solution and its tests come out the same; nonsense comes out as an error."""

import json
from collections import Counter, OrderedDict, deque
from contextlib import suppress
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from projects_common.sandbox.child.checker import put_back
from projects_common.sandbox.child.values import CannotCrossError, MalformedError, base_of, decode, encode

SCALARS = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.complex_numbers()),
    *(st.dates(), st.timedeltas(), st.decimals(), st.fractions(), st.just(...), st.integers(-(10**40), 10**40)),
)
KEYS = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.fractions()),
    lambda parts: st.one_of(st.lists(parts, max_size=3).map(tuple), st.frozensets(parts, max_size=3)),
    max_leaves=5,
)
VALUES = st.recursive(
    SCALARS,
    lambda parts: st.one_of(
        st.lists(parts, max_size=4),
        st.lists(parts, max_size=4).map(tuple),
        st.lists(parts, max_size=4).map(deque),
        st.sets(KEYS, max_size=4),
        st.dictionaries(KEYS, parts, max_size=4),
        st.dictionaries(KEYS, parts, max_size=4).map(OrderedDict),
        st.dictionaries(KEYS, st.integers(), max_size=4).map(Counter),
    ),
    max_leaves=20,
)
NONSENSE = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-3, 9), st.floats(), st.text(max_size=3)),
    lambda parts: st.one_of(st.lists(parts, max_size=4), st.dictionaries(st.text(max_size=2), parts, max_size=2)),
    max_leaves=10,
)
TAGS = st.sampled_from(
    [
        *("int", "list", "tuple", "dict", "set", "frozenset", "deque", "defaultdict", "Counter", "bytes", "complex"),
        *("range", "Decimal", "Fraction", "datetime", "date", "time", "timedelta", "ellipsis", "type", "module"),
        *("reference", "else"),
    ]
)
ROWS = st.one_of(
    NONSENSE, st.tuples(TAGS, NONSENSE, st.lists(st.integers(-1, 5), max_size=4)).map(lambda r: [*r[:2], *r[2]])
)


def crossed(value: Any) -> Any:
    return decode(json.loads(json.dumps(encode(value, lambda _: None))), lambda _: pytest.fail("no references here"))


def shown(value: Any) -> Any:
    """Return a text that shows each type and content, whatever the order of a set is."""
    if isinstance(value, dict):
        return type(value).__name__, [(shown(key), shown(part)) for key, part in value.items()]
    if isinstance(value, set | frozenset):
        return type(value).__name__, sorted(map(repr, map(shown, value)))
    if isinstance(value, list | tuple | deque):
        return type(value).__name__, [shown(part) for part in value]
    return type(value).__name__, repr(value)


@settings(max_examples=60)
@given(VALUES)
def test_a_value_comes_out_with_its_exact_types_and_content(value):
    assert shown(crossed(value)) == shown(value)


@given(st.lists(ROWS, max_size=6))
def test_a_table_of_nonsense_is_an_error_and_nothing_else(table):
    with suppress(MalformedError):
        decode(table, tuple)


def test_shared_and_endless_values_keep_their_shape():
    row = [0]
    both = crossed([row, row, (row,)])
    assert both[0] is both[1] is both[2][0]
    endless: list[Any] = [1]
    endless.append({"self": (endless,)})
    out = crossed(endless)
    assert out[1]["self"][0] is out


def test_depth_costs_no_stack():
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    out = crossed(deep)
    for _ in range(100_000):
        (out,) = out
    assert out == 1


class Number(int):
    def __int__(self):
        return 99

    __index__ = __int__

    def __eq__(self, other):
        return True

    __hash__ = int.__hash__


class Rows(list):
    def __iter__(self):
        return iter("wrong")

    __len__ = __eq__ = None


def test_a_subclass_is_taken_by_its_content_or_cannot_cross():
    with pytest.raises(CannotCrossError, match="Number"):
        crossed(Number(7))
    out = decode(encode([Number(7), Rows([1, 2])], base_of), str)
    assert [type(part) for part in out] == [int, list]
    assert out == [7, [1, 2]]


@pytest.mark.parametrize("value", [object(), lambda: 1, Number, iter([1]), memoryview(b"x")])
def test_what_has_no_plain_form_becomes_a_reference_or_cannot_cross(value):
    with pytest.raises(CannotCrossError):
        crossed([1, value])
    assert decode(encode([1, value], lambda _: ["known"]), lambda detail: detail) == [1, ["known"]]


def test_standard_types_cross():
    values = [Decimal("1E-30"), Fraction(-1, 3), date(2020, 2, 29), timedelta(1, 2, 3), range(3, 10**30, 7), int, ...]
    assert crossed(values) == values


def test_a_changed_value_is_put_back_in_place():
    inner, keys, numbers = [1], {"a": [2]}, {1}
    outer = [inner, keys, numbers, 5, bytearray(b"x"), deque([1])]
    put_back((outer, {}), ([[1, 9], {"a": [2, 3], "b": 0}, {2}, 6, bytearray(b"yz"), deque([2])], {}))
    assert outer == [[1, 9], {"a": [2, 3], "b": 0}, {2}, 6, bytearray(b"yz"), deque([2])]
    assert all(part is before for part, before in zip(outer, (inner, keys, numbers), strict=False))
    put_back((outer, {}), ([1], {}))
    assert outer == [1]
    put_back((outer, {}), "something else")
    assert outer == [1]
