"""The families of the generated tasks: how they are worded, which numbers they take, how their answers are computed."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


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
    """`wordings` with the fields a (the argument), c and d (constants); `body` is what the function returns.

    `expected` computes the same from the argument and the constants; the tests come from it, never from `body`.
    """

    wordings: tuple[str, ...]
    body: str
    expected: Callable[[Any, int, int], Any]
    takes: str = "list"


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
            "takes a list `{a}` and returns a list of those numbers in `{a}` that are greater than {c}",
            "keeps only what is above {c} in the list `{a}` and returns this part of `{a}` as a list",
        ),
        "[n for n in {a} if n > {c}]",
        lambda a, c, d: [n for n in a if n > c],
    ),
    CodeFamily(
        (
            "takes a list `{a}` and returns the sum of those numbers in `{a}` that are divisible by {c}",
            "adds up all multiples of {c} in the list `{a}` and returns the total of `{a}` so found",
        ),
        "sum(n for n in {a} if n % {c} == 0)",
        lambda a, c, d: sum(n for n in a if n % c == 0),
    ),
    CodeFamily(
        (
            "takes a list `{a}` and returns a list with each number of `{a}` multiplied by {c} and increased by {d}",
            "returns what the list `{a}` becomes when {c} times each number of `{a}` plus {d} is put in its place",
        ),
        "[n * {c} + {d} for n in {a}]",
        lambda a, c, d: [n * c + d for n in a],
    ),
    CodeFamily(
        (
            "takes a list `{a}` and returns how many numbers in `{a}` are less than {c}",
            "counts what is below {c} in the list `{a}` and returns the count for `{a}`",
        ),
        "sum(1 for n in {a} if n < {c})",
        lambda a, c, d: len([n for n in a if n < c]),
    ),
    CodeFamily(
        (
            "takes a list `{a}` and returns the {c} largest numbers of `{a}`, the largest first",
            "sorts the list `{a}` from high to low and returns the first {c} numbers of the sorted `{a}`",
        ),
        "sorted({a}, reverse=True)[:{c}]",
        lambda a, c, d: sorted(a)[::-1][:c],
    ),
    CodeFamily(
        (
            "takes a list `{a}` and returns {c} times the difference of the largest and the smallest number in `{a}`",
            "finds the range of the list `{a}`, highest minus lowest, and returns the range of `{a}` times {c}",
        ),
        "(max({a}) - min({a})) * {c}",
        lambda a, c, d: c * (sorted(a)[-1] - sorted(a)[0]),
    ),
    CodeFamily(
        (
            "takes a list `{a}` and returns a list in which each number of `{a}` that is below {c} has become {c}",
            "raises whatever is smaller than {c} in the list `{a}` to {c} and returns the new list for `{a}`",
        ),
        "[max(n, {c}) for n in {a}]",
        lambda a, c, d: [c if n < c else n for n in a],
    ),
    CodeFamily(
        (
            "takes a list `{a}` and returns the squares of those numbers in `{a}` that are divisible by {c}, as a list",
            "squares every multiple of {c} in the list `{a}` and returns these squares from `{a}` as a list",
        ),
        "[n * n for n in {a} if n % {c} == 0]",
        lambda a, c, d: [n**2 for n in a if n % c == 0],
    ),
    CodeFamily(
        (
            "takes a list `{a}` and returns the last {c} numbers of `{a}` in reverse order",
            "reads the list `{a}` backwards and returns the first {c} numbers so read from `{a}`",
        ),
        "{a}[::-1][:{c}]",
        lambda a, c, d: list(reversed(a))[:c],
    ),
    CodeFamily(
        (
            "takes a list `{a}` and returns the product of the first and the last number of `{a}`, plus {d}",
            "multiplies both ends of the list `{a}` with each other and returns {d} more than this product of `{a}`",
        ),
        "{a}[0] * {a}[-1] + {d}",
        lambda a, c, d: a[0] * a[len(a) - 1] + d,
    ),
    CodeFamily(
        (
            "takes a sentence `{a}` and returns a list of the words of `{a}` that have more than {c} letters",
            "splits the sentence `{a}` and returns the words in `{a}` longer than {c} as a list",
        ),
        "[w for w in {a}.split() if len(w) > {c}]",
        lambda a, c, d: [w for w in a.split(" ") if len(w) > c],
        "text",
    ),
    CodeFamily(
        (
            "takes a string `{a}` and returns the first {c} characters of `{a}` in reverse order",
            "cuts the string `{a}` after {c} characters and returns this piece of `{a}` backwards",
        ),
        "{a}[:{c}][::-1]",
        lambda a, c, d: "".join(reversed(a[:c])),
        "text",
    ),
    CodeFamily(
        (
            "takes a sentence `{a}` and returns `{a}` in upper case without its first {c} characters",
            "drops the first {c} characters of the sentence `{a}` and returns the rest of `{a}` in capital letters",
        ),
        "{a}.upper()[{c}:]",
        lambda a, c, d: "".join(letter.upper() for letter in list(a)[c:]),
        "text",
    ),
    CodeFamily(
        (
            "takes a sentence `{a}` and returns the first letters of the words of `{a}` as one string, followed by {d}",
            "joins the initials of all words in the sentence `{a}` and returns them with {d} behind, for `{a}`",
        ),
        '"".join(w[0] for w in {a}.split()) + "{d}"',
        lambda a, c, d: "".join([w[0] for w in a.split(" ")]) + str(d),
        "text",
    ),
)
