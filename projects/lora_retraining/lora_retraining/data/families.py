"""Define the families of the generated tasks: their wordings, their numbers and how their answers are computed."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class ArithmeticFamily:
    """`wordings` with the fields n and m (people), i (things) and the numbers that `draw` makes; `steps` work on these.

    A step is an operator of + - * / and two operands: names of numbers, or `last` for the result of the step before.
    """

    wordings: tuple[str, ...]
    draw: Callable[[random.Random], dict[str, int]]
    steps: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class CodeFamily:
    """`wordings` with the fields a (the argument), c and d (constants); `body` is the expression that it returns.

    `expected` computes the same from the argument and the constants; the tests come from it, never from `body`.
    c is drawn from `between`, so that it matters for the inputs that are drawn.
    """

    wordings: tuple[str, ...]
    body: str
    expected: Callable[[Any, int, int], Any]
    takes: Literal["list", "text"] = "list"
    between: tuple[int, int] = (2, 9)


def _small(low: int = 5, high: int = 40) -> Callable[[random.Random], dict[str, int]]:
    return lambda r: {"a": r.randint(low, high), "b": r.randint(low, high), "c": r.randint(2, 9)}


def _give_from_product(r: random.Random) -> dict[str, int]:
    a, c = r.randint(5, 30), r.randint(2, 9)
    return {"a": a, "c": c, "b": r.randint(2, a * c - 1)}


def _share(r: random.Random) -> dict[str, int]:
    each, c = r.randint(4, 20), r.randint(2, 9)
    return {"a": each * c, "b": r.randint(1, each - 1), "c": c}


def _bags(r: random.Random) -> dict[str, int]:
    c = r.randint(2, 9)
    total = c * r.randint(5, 12)
    a = r.randint(3, total - 3)
    return {"a": a, "b": total - a, "c": c}


def _change(r: random.Random) -> dict[str, int]:
    a, c = r.randint(2, 9), r.randint(2, 9)
    return {"a": a, "c": c, "b": (a * c // 10 + 1) * 10}


ARITHMETIC = (
    ArithmeticFamily(
        (
            "{n} has {a} {i}. {m} gives {n} {b} more {i}. Then {n} loses {c} of them. How many {i} does {n} have now?",
            "After {m} added {b} {i} to the {a} {i} of {n}, {n} sold {c} {i}. How many {i} are left with {n}?",
        ),
        _small(),
        (("+", "a", "b"), ("-", "last", "c")),
    ),
    ArithmeticFamily(
        (
            "{n} buys {a} boxes with {c} {i} in each box. {n} already had {b} {i}. How many {i} does {n} have in all?",
            "{m} brings {a} bags of {c} {i} to {n}, who owns {b} {i} already. What is the number of {i} of {n} then?",
        ),
        _small(),
        (("*", "a", "c"), ("+", "last", "b")),
    ),
    ArithmeticFamily(
        (
            "{n} shares {a} {i} equally among {c} friends. {m}, one of these, loses {b} {i}. How many has {m} left?",
            "{c} tables get {a} {i}, each table as many. {n} takes {b} {i} from the table of {m}. How many {i} stay?",
        ),
        _share,
        (("/", "a", "c"), ("-", "last", "b")),
    ),
    ArithmeticFamily(
        (
            "{n} collects {a} {i} each day for {c} days. {n} gives {b} of these {i} to {m}. How many {i} has {n} left?",
            "There are {c} rows of {a} {i} in the shop of {n}. {m} buys {b} {i} from {n}. How many {i} remain?",
        ),
        _give_from_product,
        (("*", "a", "c"), ("-", "last", "b")),
    ),
    ArithmeticFamily(
        (
            "{n} buys {a} {i} for {c} dollars each and a lamp for {b} dollars. How many dollars does {n} pay to {m}?",
            "A lamp costs {b} dollars. {m} sells {i} at {c} dollars each. What do {a} {i} and the lamp cost {n}?",
        ),
        _small(2, 12),
        (("*", "a", "c"), ("+", "last", "b")),
    ),
    ArithmeticFamily(
        (
            "{n} buys {a} {i} from {m} at {c} dollars each and pays with {b} dollars. How much does {n} get back?",
            "{m} gave {n} {b} dollars. {n} spends them on {a} {i}, {c} dollars apiece. How much is left for {n}?",
        ),
        _change,
        (("*", "a", "c"), ("-", "b", "last")),
    ),
    ArithmeticFamily(
        (
            "{n} has {a} {i}. {m} has {c} times as many {i} as {n}. How many {i} do {n} and {m} have together?",
            "{m} found {c} times as many {i} as {n}, and {n} found {a}. How many {i} did {m} and {n} find in all?",
        ),
        _small(),
        (("*", "a", "c"), ("+", "last", "a")),
    ),
    ArithmeticFamily(
        (
            "{n} made {a} {i} and {m} made {b} more {i} than {n}. How many did {n} and {m} make together?",
            "{m} owns {b} more {i} than {n}. If {n} owns {a} {i}, how many {i} do {m} and {n} own together?",
        ),
        _small(),
        (("+", "a", "b"), ("+", "last", "a")),
    ),
    ArithmeticFamily(
        (
            "{n} has {a} {i} and {m} has {b} {i}. {n} and {m} put them into bags of {c}. How many bags are filled?",
            "{m} puts {b} {i} beside the {a} {i} of {n}. {c} children share them equally with {n} away. How many each?",
        ),
        _bags,
        (("+", "a", "b"), ("/", "last", "c")),
    ),
    ArithmeticFamily(
        (
            "{n} walks {a} minutes to {m} and {b} minutes home, on {c} days. How many minutes does {n} walk in all?",
            "Each day {n} sells {a} {i} and {m} sells {b} {i}. How many {i} do {n} and {m} sell in {c} days?",
        ),
        _small(3, 20),
        (("+", "a", "b"), ("*", "last", "c")),
    ),
)

CODE = (
    CodeFamily(
        (
            "returns the list of all numbers in the list `{a}` that are greater than {c}",
            "filters the list `{a}` and returns only the numbers above {c}",
        ),
        "[n for n in {a} if n > {c}]",
        lambda a, c, d: [n for n in a if n > c],
        between=(3, 9),
    ),
    CodeFamily(
        (
            "returns the sum of all numbers in the list `{a}` that are divisible by {c}",
            "adds up the multiples of {c} in the list `{a}` and returns the sum",
        ),
        "sum(n for n in {a} if n % {c} == 0)",
        lambda a, c, d: sum(n for n in a if n // c * c == n),
        between=(2, 5),
    ),
    CodeFamily(
        (
            "returns every number of the list `{a}` multiplied by {c} and then increased by {d}",
            "multiplies each number of the list `{a}` by {c}, adds {d} to it and returns the list",
        ),
        "[n * {c} + {d} for n in {a}]",
        lambda a, c, d: [d + c * n for n in a],
    ),
    CodeFamily(
        (
            "returns how many numbers in the list `{a}` are less than {c}",
            "counts the numbers below {c} in the list `{a}` and returns the count",
        ),
        "sum(1 for n in {a} if n < {c})",
        lambda a, c, d: len([n for n in a if n < c]),
        between=(3, 9),
    ),
    CodeFamily(
        (
            "returns the {c} largest numbers of the list `{a}`, the largest first",
            "sorts the list `{a}` in descending order and returns its first {c} numbers",
        ),
        "sorted({a}, reverse=True)[:{c}]",
        lambda a, c, d: sorted(a)[::-1][:c],
        between=(2, 3),
    ),
    CodeFamily(
        (
            "returns the maximum minus the minimum of the list `{a}`, multiplied by {c}",
            "subtracts the smallest number of the list `{a}` from the largest and returns {c} times the result",
        ),
        "(max({a}) - min({a})) * {c}",
        lambda a, c, d: c * (sorted(a)[-1] - sorted(a)[0]),
    ),
    CodeFamily(
        (
            "returns the list `{a}` with every number below {c} replaced by {c}",
            "raises each number of the list `{a}` that is less than {c} to {c} and returns the list",
        ),
        "[max(n, {c}) for n in {a}]",
        lambda a, c, d: [c if n < c else n for n in a],
        between=(3, 9),
    ),
    CodeFamily(
        (
            "returns the squares of the numbers in the list `{a}` that are divisible by {c}",
            "squares every multiple of {c} in the list `{a}` and returns a list of these squares",
        ),
        "[n * n for n in {a} if n % {c} == 0]",
        lambda a, c, d: [n**2 for n in a if n // c * c == n],
        between=(2, 4),
    ),
    CodeFamily(
        (
            "returns the last {c} numbers of the list `{a}` in reverse order",
            "reverses the list `{a}` and returns its first {c} numbers",
        ),
        "{a}[::-1][:{c}]",
        lambda a, c, d: list(reversed(a))[:c],
        between=(2, 3),
    ),
    CodeFamily(
        (
            "returns the product of the first and the last number of the list `{a}`, plus {d}",
            "multiplies the first number of the list `{a}` by the last one, adds {d} and returns the result",
        ),
        "{a}[0] * {a}[-1] + {d}",
        lambda a, c, d: a[len(a) - 1] * a[0] + d,
    ),
    CodeFamily(
        (
            "returns the words of the sentence `{a}` that have more than {c} letters",
            "splits the sentence `{a}` and returns a list of the words longer than {c} letters",
        ),
        "[w for w in {a}.split() if len(w) > {c}]",
        lambda a, c, d: [w for w in a.split(" ") if len(w) > c],
        takes="text",
        between=(3, 5),
    ),
    CodeFamily(
        (
            "returns the first {c} characters of the string `{a}` in reverse order",
            "cuts the string `{a}` to {c} characters and returns them backwards",
        ),
        "{a}[:{c}][::-1]",
        lambda a, c, d: "".join(reversed(a[:c])),
        takes="text",
    ),
    CodeFamily(
        (
            "returns the string `{a}` in upper case without its first {c} characters",
            "skips the first {c} characters of the string `{a}` and returns the rest in upper case",
        ),
        "{a}[{c}:].upper()",
        lambda a, c, d: "".join(letter.upper() for letter in list(a)[c:]),
        takes="text",
        between=(2, 5),
    ),
    CodeFamily(
        (
            "returns the number of words in the sentence `{a}`, plus {d}",
            "counts the words of the sentence `{a}`, adds {d} and returns the result",
        ),
        "len({a}.split()) + {d}",
        lambda a, c, d: a.count(" ") + 1 + d,
        takes="text",
    ),
)
