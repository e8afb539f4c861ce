"""Greedy generation: the same row alone and in a batch, whatever settings the model carries."""

from typing import Any

import pytest
import torch
from projects_common.models.generation import generate_greedily, padded_left, up_to_end
from projects_common.models.tiny import tiny_llama

CONFIGURATION = {
    "vocab_size": 40, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 64, "initializer_range": 0.5, "pad_token_id": 0,
}  # fmt: skip
ROWS = [[5, 6, 7, 8], [9], [10, 11]]


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_llama(CONFIGURATION)


def test_rows_are_padded_on_the_left_under_a_mask() -> None:
    ids, mask = padded_left([[1, 2], [3]], pad=0, device=torch.device("cpu"))
    assert (ids.tolist(), mask.tolist()) == ([[1, 2], [0, 3]], [[1, 1], [0, 1]])


def test_a_row_is_continued_in_a_batch_as_alone(model: Any) -> None:
    together = generate_greedily(model, ROWS, 6, ends=(), pad=0)
    assert together == [generate_greedily(model, [row], 6, ends=(), pad=0)[0] for row in ROWS]


def test_the_model_s_own_generation_settings_have_no_say_and_are_kept(model: Any) -> None:
    plain = generate_greedily(model, ROWS, 6, ends=(), pad=0)
    model.generation_config.repetition_penalty = 50.0
    assert generate_greedily(model, ROWS, 6, ends=(), pad=0) == plain
    assert model.generation_config.repetition_penalty == 50.0
    model.generation_config.repetition_penalty = None


def test_tokens_are_cut_at_the_first_end_token() -> None:
    assert up_to_end([4, 5, 1, 6, 1], {1}) == [4, 5]
    assert up_to_end([4, 5], {1}) == [4, 5]
    assert up_to_end([1, 1, 4], {1}) == []
    assert up_to_end([4, 5, 1, 6, 1], {1}, keep_end=True) == [4, 5, 1]


def test_a_row_ends_at_its_end_token(model: Any) -> None:
    plain = generate_greedily(model, ROWS[:1], 6, ends=(), pad=0)[0]
    ended = generate_greedily(model, ROWS[:1], 6, ends={plain[2]}, pad=0)[0]
    assert up_to_end(ended, {plain[2]}) == up_to_end(plain, {plain[2]})


def test_the_tiny_model_is_the_same_each_time_and_leaves_the_random_state_alone() -> None:
    before = torch.random.get_rng_state()
    first, second = (tiny_llama(CONFIGURATION).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(torch.random.get_rng_state(), before)
