"""The runs of a phase with a matrix: one phase for each combination of values, and the outputs that each leaves."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from mlflow_plugin.errors import UsageError
from mlflow_plugin.project.matrix import label, one_of_each
from mlflow_plugin.project.outputs import checked_pattern
from mlflow_plugin.project.project import Phase

__all__ = ["Member", "member_of", "member_with", "members_of"]

_UNSAFE = re.compile(r"[/\\*?\[\]]|^\.+$")


@dataclass(frozen=True)
class Member:
    """One run of a phase with a matrix.

    Attributes:
        phase: The phase with this one combination of values; it has no matrix.
        values: The values by parameter, as texts.
    """

    phase: Phase
    values: Mapping[str, str]

    @property
    def label(self) -> str:
        return label(self.values)

    def given(self, given: Mapping[str, object]) -> dict[str, object]:
        """Return the parameters that a caller gave, with the values of this member."""
        return {**given, **self.values}


def member_of(phase: Phase, given: Mapping[str, object]) -> Phase:
    """Return the phase that a caller asked for: one run of a matrix where each of its parameters has one value.

    Raises:
        UsageError: A value is of the wrong type, or stands under `exclude`.
    """
    if phase.matrix is None or not one_of_each(tuple(phase.matrix.values), given):
        return phase
    (combination,) = phase.matrix.with_values(given).combinations()
    return member_with(phase, combination).phase


def members_of(phase: Phase, given: Mapping[str, object]) -> list[Member]:
    """Return the runs of a phase with a matrix, in the order of the matrix.

    Args:
        phase: The phase.
        given: Parameters as the caller wrote them; values of the matrix among them take the place of the declared ones.

    Raises:
        UsageError: A value is of the wrong type, or the matrix has more runs than `at_most`.
    """
    assert phase.matrix is not None
    matrix = phase.matrix.with_values(given)
    count = matrix.count()
    if count > matrix.at_most:
        raise UsageError(
            f"{phase.name}: its matrix makes {count:,} runs, and {matrix.at_most:,} are the most that are started "
            f"without a word. Write `at_most: {count}` under `phase:` of {phase.name} to start "
            "them all, or leave combinations out with `exclude:`."
        )
    return [member_with(phase, combination) for combination in matrix.combinations()]


def member_with(phase: Phase, combination: Mapping[str, str]) -> Member:
    """Return the run of a phase with these values, which need not stand in its matrix any more."""
    outputs = None if phase.outputs is None else tuple(_filled(phase, one, combination) for one in phase.outputs)
    return Member(replace(phase, matrix=None, member=combination, outputs=outputs), combination)


def _filled(phase: Phase, pattern: str, combination: Mapping[str, str]) -> str:
    for name, value in combination.items():
        place = f"{{{name}}}"
        if place in pattern and _UNSAFE.search(value):
            raise UsageError(
                f"{phase.name}: {name}={value} cannot be a part of the output {pattern!r}: a file's name holds none of "
                "/ \\ * ? [ ]."
            )
        pattern = pattern.replace(place, value)
    return checked_pattern(pattern)
