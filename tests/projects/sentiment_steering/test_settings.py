"""Parameters: read as texts, and refused with the name of each at fault."""

from typing import Any

import pytest
from sentiment_steering.settings import CollectSettings, InterveneSettings, TrainSettings, parse_strengths

from mlflow_plugin.errors import UsageError


def test_auto_is_the_bundled_file_for_the_tiny_model_and_else_rotten_tomatoes() -> None:
    assert CollectSettings.read({"data": "auto", "preset": "tiny"}).data == "prompts"
    assert CollectSettings.read({"data": "auto", "preset": "some/model"}).data == "rotten_tomatoes"
    assert CollectSettings.read({"data": "rotten_tomatoes", "preset": "tiny"}).data == "rotten_tomatoes"


def test_a_layer_is_a_number_or_auto() -> None:
    assert CollectSettings.read({"layer": "1"}).layer == 1
    assert CollectSettings.read({"layer": "auto"}).layer == "auto"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pairs", "3"), ("held_out", "1"), ("layer", "middle"), ("layer", "-1"), ("pooling", "first"), ("data", "imdb"),
        ("batch_size", "0"), ("seed", "-1"),
    ],
)  # fmt: skip
def test_an_impossible_value_of_phase_1_is_named(name: str, value: str) -> None:
    with pytest.raises(UsageError, match=f"^{name}='{value}': "):
        CollectSettings.read({name: value})


def test_strengths_are_sorted_and_must_hold_zero_and_more() -> None:
    assert parse_strengths("3, 0,1.5") == (0.0, 1.5, 3.0)
    assert InterveneSettings.read({"strengths": "6,0,2"}).strengths == (0.0, 2.0, 6.0)
    for wrong in ("1,2", "0", "0,x", "", "0,-1", "0,inf", "0,nan"):
        with pytest.raises(UsageError, match="strengths="):
            InterveneSettings.read({"strengths": wrong})


@pytest.mark.parametrize(("method", "mu"), [("procrustes", "0"), ("procrustes", "-1"), ("cayley", "-1")])
def test_a_mu_that_the_method_cannot_use_is_refused(method: str, mu: str) -> None:
    with pytest.raises(UsageError, match=f"{method} takes"):
        TrainSettings.read({"method": method, "mu": mu})


@pytest.mark.parametrize("mu", ["much", "nan", "inf"])
def test_a_mu_that_is_no_number_is_refused(mu: str) -> None:
    with pytest.raises(UsageError, match="mu="):
        TrainSettings.read({"mu": mu})


@pytest.mark.parametrize(("method", "mu", "value"), [("procrustes", "0.05", 0.05), ("cayley", "0", 0.0)])
def test_a_mu_that_the_method_can_use_is_a_number(method: str, mu: str, value: Any) -> None:
    assert TrainSettings.read({"method": method, "mu": mu}).mu == value


def test_every_fault_is_named_at_once() -> None:
    with pytest.raises(UsageError) as refusal:
        CollectSettings.read({"pairs": "3", "pooling": "first", "layer": "middle"})
    assert all(f"{name}=" in str(refusal.value) for name in ("pairs", "pooling", "layer"))
