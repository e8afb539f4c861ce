"""The hook: each token's own state is turned, its length is kept, and strength 0 changes no bit."""

import pytest
import torch
from sentiment_steering.intervention.completions import complete
from sentiment_steering.intervention.conditions import make_conditions
from sentiment_steering.intervention.hook import (
    IdentityRoundTrip,
    OperatorSteering,
    difference_of_means,
    steer,
)
from sentiment_steering.operators.pair import OperatorPair
from sentiment_steering.states.encoded import EncodedStates
from sentiment_steering.states.models import LanguageModel
from torch import Tensor, nn

OPENINGS = ["The last scene left me", "If you ask me about the plot, I would say it is"]


class Passing(nn.Module):
    """Pass the input on, as a tensor or as the first of a tuple."""

    def __init__(self, as_tuple: bool = False) -> None:
        super().__init__()
        self.as_tuple = as_tuple

    def forward(self, hidden: Tensor) -> Tensor | tuple[Tensor, str]:
        return (hidden, "more") if self.as_tuple else hidden


@pytest.fixture
def hidden() -> Tensor:
    return torch.randn(3, 4, 32, generator=torch.Generator().manual_seed(0)) * 5


def test_the_factors_say_the_same_as_encoding_turning_and_decoding(
    encoded: EncodedStates, operators: OperatorPair, hidden: Tensor
) -> None:
    encoding = encoded.origin.encoding
    intervention = OperatorSteering(encoding, operators.to_negative.basis).intervention(operators.to_negative, 2.0)
    states, norm = encoding.encode(hidden[:, -1])
    expected = encoding.decode(operators.to_negative.power(2.0).apply(states), norm)
    torch.testing.assert_close(hidden[:, -1] + intervention.shift(hidden[:, -1]), expected, rtol=1e-4, atol=1e-4)


def test_strength_zero_changes_no_bit(encoded: EncodedStates, operators: OperatorPair, hidden: Tensor) -> None:
    nothing = OperatorSteering(encoded.origin.encoding, operators.to_negative.basis).intervention(
        operators.to_negative, 0.0
    )
    block = Passing()
    with steer(block, nothing) as change:
        assert torch.equal(block(hidden), hidden)
    assert (change.changed, change.total, change.tokens) == (0, 0.0, 3)


def test_encoding_and_decoding_alone_give_the_state_back(encoded: EncodedStates, hidden: Tensor) -> None:
    block = Passing()
    with steer(block, IdentityRoundTrip(encoded.origin.encoding)) as change:
        torch.testing.assert_close(block(hidden), hidden, rtol=1e-4, atol=1e-4)
    assert 0 < change.mean < 1e-5


def test_only_the_token_to_be_continued_is_changed_and_its_length_kept(
    encoded: EncodedStates, operators: OperatorPair, hidden: Tensor
) -> None:
    intervention = OperatorSteering(encoded.origin.encoding, operators.to_negative.basis).intervention(
        operators.to_negative, 6.0
    )
    block = Passing()
    with steer(block, intervention) as change:
        steered = block(hidden)
    assert torch.equal(steered[:, :-1], hidden[:, :-1])
    assert bool((steered[:, -1] != hidden[:, -1]).any(-1).all())
    torch.testing.assert_close(steered.norm(dim=-1), hidden.norm(dim=-1))
    assert change.mean > 1e-3
    assert change.norm_error < 1e-6


def test_every_row_gets_a_change_of_its_own(encoded: EncodedStates, operators: OperatorPair, hidden: Tensor) -> None:
    intervention = OperatorSteering(encoded.origin.encoding, operators.to_negative.basis).intervention(
        operators.to_negative, 6.0
    )
    block = Passing()
    with steer(block, intervention):
        together = block(hidden)
        alone = torch.cat([block(hidden[row : row + 1]) for row in range(3)])
    torch.testing.assert_close(together, alone)
    changes = (together - hidden)[:, -1]
    assert not torch.allclose(changes[0], changes[1], rtol=0.1)


def test_a_layer_that_returns_a_tuple_keeps_the_rest_of_it(hidden: Tensor) -> None:
    block = Passing(as_tuple=True)
    with steer(block, difference_of_means(torch.zeros(2, 32), torch.ones(2, 32), 1.0)):
        steered, more = block(hidden)
    assert more == "more"
    assert not torch.equal(steered, hidden)


def test_the_hook_is_gone_afterwards_even_when_the_model_fails(hidden: Tensor) -> None:
    block = Passing()
    with pytest.raises(RuntimeError, match="out of"), steer(block, difference_of_means(hidden[0], hidden[1], 1.0)):
        raise RuntimeError("out of something")
    assert not block._forward_hooks


def test_a_zero_state_stays_as_it_is() -> None:
    block = Passing()
    with steer(block, difference_of_means(torch.zeros(2, 32), torch.zeros(2, 32), 1.0)):
        assert torch.equal(block(torch.zeros(1, 1, 32)), torch.zeros(1, 1, 32))


def test_every_new_token_is_steered(tiny: LanguageModel, encoded: EncodedStates, operators: OperatorPair) -> None:
    conditions = make_conditions(encoded, operators, [0.0, 6.0], seed=0)
    strongest = next(each for each in conditions if each.name == "operator to_positive x6")
    written = complete(tiny, OPENINGS, 5, encoded.origin.layer, strongest.intervention)
    assert written.change.tokens == 2 * 5
    assert written.change.changed == 2 * 5


def test_the_conditions_are_the_operators_and_all_their_controls(
    encoded: EncodedStates, operators: OperatorPair
) -> None:
    names = [condition.name for condition in make_conditions(encoded, operators, [0.0, 2.0], seed=0)]
    assert names[:2] == ["none", "identity"]
    assert sorted(names[2:]) == sorted(
        f"{family} {way} x{strength}"
        for way in ("to_negative", "to_positive")
        for family, strength in (("operator", 0), ("operator", 2), ("random_unitary", 2), ("difference_of_means", 2))
    )
