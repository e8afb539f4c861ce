"""Operators beside their controls, and round trips."""

import pytest
from sentiment_steering.operators.evaluation import operator_fidelities, round_trip
from sentiment_steering.operators.pair import OperatorPair
from sentiment_steering.operators.reversibility import measure_round_trips, reversibility_figures
from sentiment_steering.states.encoded import EncodedStates


def test_controls_stand_beside_the_operator_on_the_same_held_out_pairs(
    encoded: EncodedStates, operators: OperatorPair
) -> None:
    found = operator_fidelities(operators.to_negative, encoded.pairs("train"), encoded.pairs("held_out"), seed=0)
    assert {name: len(values) for name, values in found.items()} == {
        "train": 24, "held_out": 12, "identity": 12, "centroid": 12, "random_unitary": 12,
    }  # fmt: skip
    assert float(found["random_unitary"].mean()) < 0.3 < float(found["identity"].mean())
    assert float(found["held_out"].mean()) > float(found["identity"].mean())


def test_the_way_back_by_the_adjoint_loses_only_rounding(encoded: EncodedStates, operators: OperatorPair) -> None:
    figures = reversibility_figures(measure_round_trips(operators, encoded), seed=0)
    assert figures["adjoint_error"] < 1e-12
    assert figures["round_trip_fidelity_adjoint_positive"] == pytest.approx(1, abs=1e-6)


def test_twice_the_same_way_is_no_way_back(encoded: EncodedStates, operators: OperatorPair) -> None:
    turned = operators.to_negative.power(20)
    trip = round_trip(turned, turned, encoded.pairs("held_out")[0])
    assert float(trip.fidelities.mean()) < 0.999
    assert trip.product_error > 0.01
