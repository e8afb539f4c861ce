"""The conditions that phase 3 compares: the operators at several strengths, and what they must beat."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mlflow_plugin.errors import PhaseError
from projects.sentiment_steering.operators import LowRankUnitary, random_like
from projects.sentiment_steering.steering import IdentityRoundTrip, Intervention, OperatorSteering, difference_of_means
from projects.sentiment_steering.storage import EncodedStates

FAMILIES = ("operator", "random_unitary", "difference_of_means")
DIRECTIONS = ("to_negative", "to_positive")


@dataclass(frozen=True)
class Condition:
    """One way to write the completions: `none`, `identity`, or a family with a direction and a strength."""

    family: str
    direction: str
    strength: float
    intervention: Intervention | None

    @property
    def name(self) -> str:
        return f"{self.family} {self.direction} x{self.strength:g}" if self.direction else self.family


def parse_strengths(text: str) -> list[float]:
    """Strengths from `0,1,3`, ascending, each once. Raises PhaseError unless 0 and a number above it are among them."""
    try:
        strengths = sorted({float(part) for part in text.split(",")})
    except ValueError:
        strengths = []
    if len(strengths) < 2 or strengths[0] != 0 or not all(map(math.isfinite, strengths)):
        raise PhaseError(f"strengths={text!r}: give numbers such as 0,1,3. 0 is the check that nothing then changes.")
    return strengths


def make_conditions(
    encoded: EncodedStates, operators: tuple[LowRankUnitary, LowRankUnitary], strengths: Sequence[float], seed: int
) -> list[Condition]:
    """All conditions, `none` first. Controls have no strength 0: it would be `none` again.

    `random_unitary` turns by the same angles as the operator and moves the mean state as far, to a random place in the
    same span: what a change of that size does by itself. `difference_of_means` adds the difference of the training
    means, the usual steering vector.
    """
    encoding = encoded.origin.encoding
    positive, negative = encoded.hidden("train_positive"), encoded.hidden("train_negative")
    steering = OperatorSteering(encoding, operators[0].basis)
    scrambled = random_like(operators[0], torch.cat(encoded.pairs("train")), seed)
    conditions = [
        Condition("none", "", 0.0, None),
        Condition("identity", "", 1.0, IdentityRoundTrip(encoding)),
    ]
    for sign, direction, operator in zip((1, -1), DIRECTIONS, operators, strict=True):
        random = scrambled if sign == 1 else scrambled.adjoint()
        for strength in strengths:
            conditions.append(Condition("operator", direction, strength, steering.intervention(operator, strength)))
            if strength > 0:
                shift = difference_of_means(positive, negative, sign * strength)
                conditions += [
                    Condition("random_unitary", direction, strength, steering.intervention(random, strength)),
                    Condition("difference_of_means", direction, strength, shift),
                ]
    return conditions
