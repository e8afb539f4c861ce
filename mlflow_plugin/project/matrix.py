"""The matrix of a phase: the values over which it is repeated, and the combinations that they make. Pure."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, product
from math import prod

from mlflow_plugin.errors import UsageError
from mlflow_plugin.project.parameters import Parameter

__all__ = ["MOST_RUNS", "Matrix", "label", "listed_values", "one_of_each"]

MOST_RUNS = 100
"""More runs than these are started only for a matrix that says so with `at_most`."""
_MOST_COMBINATIONS = 1_000_000


@dataclass(frozen=True)
class Matrix:
    """The values over which a phase is repeated.

    Attributes:
        values: Parameter -> its values, as texts, in the order of the MLproject file.
        exclude: Combinations that are left out; each names some of the parameters.
        at_least: How many good runs suffice; None for all.
        at_most: How many runs may be started.
    """

    values: Mapping[str, tuple[str, ...]]
    exclude: tuple[Mapping[str, str], ...] = ()
    at_least: int | None = None
    at_most: int = MOST_RUNS
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    """The declarations of the parameters, by which values are compared."""

    @classmethod
    def checked(
        cls,
        values: Mapping[str, Sequence[object]],
        parameters: Mapping[str, Parameter],
        exclude: Sequence[Mapping[str, object]] = (),
        at_least: int | None = None,
        at_most: int | None = None,
    ) -> "Matrix":
        """Return a matrix of these values.

        Raises:
            ValueError: A list is empty, a value is of the wrong type or stands twice, or `exclude` or `at_least` do not
                fit. The message says which.
        """
        declared = {name: parameters[name] for name in values}
        texts = {name: _checked_values(declared[name], given) for name, given in values.items()}
        count = prod(len(listed) for listed in texts.values())
        if count > _MOST_COMBINATIONS:
            raise ValueError(
                f"makes {count:,} combinations, and {_MOST_COMBINATIONS:,} are the most that can be listed"
            )
        excluded = tuple(_checked_exclude(texts, declared, entry) for entry in exclude)
        matrix = cls(texts, excluded, at_least, at_most or MOST_RUNS, declared)
        for entry, written in zip(excluded, exclude, strict=True):
            if not all(value in texts[name] for name, value in entry.items()):
                raise ValueError(f"`exclude` has {dict(written)!r}, which is no combination of these values")
        left = matrix.count()
        if not left:
            raise ValueError("`exclude` leaves no combination")
        if at_least is not None and at_least > left:
            raise ValueError(f"`at_least` is {at_least}, and there {'is' if left == 1 else 'are'} {left} of them")
        return matrix

    def count(self) -> int:
        """Return the number of combinations."""
        return sum(1 for _ in self._all())

    def combinations(self, at_most: int | None = None) -> list[dict[str, str]]:
        """Return the combinations in order, the last parameter running fastest; the first `at_most` of them."""
        return list(islice(self._all(), at_most))

    def wanted(self) -> int:
        """Return how many good runs are enough."""
        return self.count() if self.at_least is None else self.at_least

    def with_values(self, given: Mapping[str, object]) -> "Matrix":
        """Return the matrix with the values that a caller gave: one, or several as `0,1,2` or `[0, 1, 2]`.

        Excluded combinations stay left out, unless all would be. `at_least` is lowered to the number that is left.

        Raises:
            UsageError: A value is of the wrong type or stands twice, or nothing is left.
        """
        chosen = {name: listed_values(given[name]) for name in self.values if name in given}
        if not chosen:
            return self
        values = {name: chosen.get(name, own) for name, own in self.values.items()}
        try:
            free = Matrix.checked(values, self.parameters)
        except ValueError as error:
            raise UsageError(f"{', '.join(f'{name}={given[name]}' for name in chosen)}: {error}.") from None
        own = {
            name: _as_written(self.parameters[name], self.values[name], listed) for name, listed in free.values.items()
        }
        matrix = Matrix(own, self.exclude, self.at_least, self.at_most, self.parameters)
        left = matrix.count()
        if not left:
            raise UsageError(
                f"{', '.join(f'{name}={given[name]}' for name in chosen)}: `exclude` leaves no combination of these."
            )
        enough = None if self.at_least is None else min(self.at_least, left)
        return Matrix(matrix.values, matrix.exclude, enough, self.at_most, self.parameters)

    def _all(self) -> Iterator[dict[str, str]]:
        for values in product(*self.values.values()):
            combination = dict(zip(self.values, values, strict=True))
            if not any(entry.items() <= combination.items() for entry in self.exclude):
                yield combination


def listed_values(given: object) -> list[str]:
    """Return the values of a text: `3` is one, `0,1,2` and `[0, 1, 2]` are three.

    >>> listed_values("0, 1,2"), listed_values('["a,b", "c"]'), listed_values(3)
    (['0', '1', '2'], ['a,b', 'c'], ['3'])
    """
    if isinstance(given, list | tuple):
        return [str(one) for one in given]
    text = str(given).strip()
    if text.startswith("["):
        try:
            listed = json.loads(text)
        except ValueError:
            listed = text.strip("[]").split(",")
        return [str(one).strip() for one in listed]
    return [part.strip() for part in text.split(",")]


def one_of_each(names: Sequence[str], given: Mapping[str, object]) -> bool:
    """Return whether a caller gave one single value for each of these parameters."""
    return all(name in given and len(listed_values(given[name])) == 1 for name in names)


def label(combination: Mapping[str, object]) -> str:
    """Return a combination in words.

    >>> label({"seed": 0, "rate": "0.1"})
    'seed=0, rate=0.1'
    """
    return ", ".join(f"{name}={value}" for name, value in combination.items())


def _checked_values(parameter: Parameter, given: Sequence[object]) -> tuple[str, ...]:
    if not given:
        raise ValueError(f"the list of {parameter.name!r} is empty")
    texts: dict[str, str] = {}
    for value in given:
        text = _checked_value(parameter, value)
        canonical = parameter.canonical(text)
        if canonical in texts:
            same = texts[canonical]
            raise ValueError(
                f"{parameter.name!r} has {text} twice"
                if same == text
                else f"{parameter.name!r} has {same} and {text}, which are the same value"
            )
        texts[canonical] = text
    return tuple(texts.values())


def _checked_value(parameter: Parameter, value: object) -> str:
    if value is None or not isinstance(value, str | int | float) or str(value) == "":
        raise ValueError(f"{parameter.name!r} has {value!r}, which is no value")
    text = str(value)
    try:
        if parameter.value(text) is None:
            raise ValueError(f"{parameter.name!r} has {value!r}, which is no value")
    except UsageError as error:
        raise ValueError(str(error).rstrip(".")) from None
    return text


def _checked_exclude(
    values: Mapping[str, tuple[str, ...]], parameters: Mapping[str, Parameter], entry: Mapping[str, object]
) -> dict[str, str]:
    if not entry:
        raise ValueError("`exclude` has {}, which names no parameter")
    for name in entry:
        if name not in values:
            raise ValueError(f"`exclude` has {name!r}, which is no parameter of the matrix")
    texts = {name: (_checked_value(parameters[name], value),) for name, value in entry.items()}
    return {name: _as_written(parameters[name], values[name], listed)[0] for name, listed in texts.items()}


def _as_written(parameter: Parameter, written: Sequence[str], given: Sequence[str]) -> tuple[str, ...]:
    """Return values in the form in which the MLproject file has them, so that the same value is the same text."""
    known = {parameter.canonical(text): text for text in written}
    return tuple(known.get(parameter.canonical(text), text) for text in given)
