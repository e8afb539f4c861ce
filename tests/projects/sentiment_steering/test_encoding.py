"""Encoding: unit vectors with a way back."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentiment_steering.states.encoding import Encoding, encoded_dimension


def hidden_states(width: int, seed: int, scale: float = 1.0) -> torch.Tensor:
    return torch.randn(5, width, generator=torch.Generator().manual_seed(seed)) * scale


@given(st.integers(2, 48), st.integers(0, 1000), st.floats(1e-3, 1e3))
@settings(max_examples=40, deadline=None)
def test_decoding_gives_back_what_was_encoded_at_any_scale(width: int, seed: int, scale: float) -> None:
    hidden = hidden_states(width, seed, scale)
    encoding = Encoding(width, seed)
    states, norm = encoding.encode(hidden)
    torch.testing.assert_close(torch.linalg.vector_norm(states, dim=1), torch.ones(5))
    torch.testing.assert_close(encoding.decode(states, norm), hidden, rtol=1e-3, atol=1e-4 * scale)


def test_the_columns_of_the_matrix_have_length_one() -> None:
    torch.testing.assert_close(torch.linalg.vector_norm(Encoding(40).matrix, dim=0), torch.ones(40))


@pytest.mark.parametrize(("width", "dimension"), [(3584, 9333), (576, 1500), (768, 2000)])
def test_the_dimension_follows_the_width_as_published(width: int, dimension: int) -> None:
    assert encoded_dimension(width) == dimension


def test_the_same_seed_gives_the_same_matrix_and_another_seed_another() -> None:
    assert torch.equal(Encoding(16, 3).matrix, Encoding(16, 3).matrix)
    assert not torch.equal(Encoding(16, 3).matrix, Encoding(16, 4).matrix)


def test_the_stated_condition_bounds_how_much_an_error_grows_on_the_way_back() -> None:
    encoding = Encoding(24)
    singular = torch.linalg.svdvals(torch.cat([encoding.matrix.real, encoding.matrix.imag]))
    assert encoding.condition == pytest.approx(float(singular[0] / singular[-1]), rel=1e-4)


@pytest.mark.parametrize("bad", [0.0, float("nan"), float("inf")])
def test_a_state_without_direction_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="zero or not finite"):
        Encoding(8).encode(torch.full((1, 8), bad))
