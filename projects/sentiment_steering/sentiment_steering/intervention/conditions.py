"""Make the conditions that phase 3 compares: the operators at several strengths, and their controls."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from sentiment_steering.intervention.hook import IdentityRoundTrip, Intervention, OperatorSteering, difference_of_means
from sentiment_steering.operators.pair import DIRECTIONS, OperatorPair
from sentiment_steering.operators.unitary import random_like
from sentiment_steering.states.encoded import EncodedStates

FAMILIES = ("operator", "random_unitary", "difference_of_means")


@dataclass(frozen=True)
class Condition:
    """Name one way to write the completions: `none`, `identity`, or a family with a direction and a strength."""

    family: str
    direction: str
    strength: float
    intervention: Intervention | None

    @property
    def name(self) -> str:
        return f"{self.family} {self.direction} x{self.strength:g}" if self.direction else self.family


def make_conditions(
    encoded: EncodedStates, operators: OperatorPair, strengths: Sequence[float], seed: int
) -> list[Condition]:
    """Return all conditions, `none` first. Controls have no strength 0: it would be `none` again.

    `random_unitary` rotates by the same angles as the operator and moves the mean state as far, to a random place in
    the same span: the effect of a change of that size by itself. `difference_of_means` adds the difference of the
    training means, the usual steering vector.
    """
    encoding = encoded.origin.encoding
    positive, negative = encoded.hidden("train_positive"), encoded.hidden("train_negative")
    steering = OperatorSteering(encoding, operators.to_negative.basis)
    scrambled = random_like(operators.to_negative, torch.cat(encoded.pairs("train")), seed)
    conditions = [
        Condition("none", "", 0.0, None),
        Condition("identity", "", 1.0, IdentityRoundTrip(encoding)),
    ]
    for sign, direction in zip((1, -1), DIRECTIONS, strict=True):
        operator = operators[direction]
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
