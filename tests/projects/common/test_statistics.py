"""Intervals: values known from the papers and from SciPy, and what holds for all of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from projects_common.statistics import (
    Pairs,
    bootstrap,
    independent_ratio,
    paired_difference,
    samples_to_decide,
    wilson,
)
from scipy.stats import binomtest

counts = st.integers(0, 300).flatmap(lambda samples: st.tuples(st.integers(0, samples), st.just(samples)))
tables = st.builds(Pairs, *[st.integers(0, 200)] * 4).filter(lambda pairs: pairs.count > 0)


@pytest.mark.parametrize(
    ("successes", "samples", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_limits_that_newcombe_lists(successes: int, samples: int, low: float, high: float) -> None:
    """Table I of Newcombe 1998, "Two-sided confidence intervals for the single proportion", method 3."""
    interval = wilson(successes, samples)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=5e-5)


@given(counts)
def test_wilson_is_that_of_scipy_for_whole_counts(count: tuple[int, int]) -> None:
    successes, samples = count
    if samples:
        expected = binomtest(successes, samples).proportion_ci(method="wilson")
        interval = wilson(successes, samples)
        assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


@given(counts)
def test_wilson_holds_its_estimate_and_mirrors_failures(count: tuple[int, int]) -> None:
    successes, samples = count
    interval, mirrored = wilson(successes, samples), wilson(samples - successes, samples)
    assert 0 <= interval.low <= interval.point <= interval.high <= 1
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((interval.low, interval.high), abs=1e-9)


@given(counts, st.floats(1.01, 50))
def test_more_samples_at_the_same_rate_narrow_an_interval(count: tuple[int, int], factor: float) -> None:
    successes, samples = count
    if samples:
        few, many = wilson(successes, samples), wilson(successes * factor, samples * factor)
        assert many.high - many.low <= few.high - few.low + 1e-12


def test_counts_that_cannot_be_are_refused() -> None:
    for successes, samples in ((3, 2), (-1, 2), (0, -1)):
        with pytest.raises(ValueError, match="cannot be"):
            wilson(successes, samples)


@pytest.mark.parametrize(
    ("pairs", "low", "high"),
    [
        (Pairs(36, 12, 2, 0), 0.0569, 0.3404),
        (Pairs(18, 12, 2, 18), 0.0562, 0.3290),
        (Pairs(53, 0, 0, 1), -0.0729, 0.0729),
        (Pairs(59, 6, 16, 80), -0.1186, -0.0046),
    ],
)
def test_paired_differences_are_those_of_method_10(pairs: Pairs, low: float, high: float) -> None:
    """The first three of Newcombe 1998 (paired data); the last, of Cavo et al. 2012, as the R package
    contingencytables has it.
    """
    interval = paired_difference(pairs)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=5e-5)


@given(tables)
def test_a_paired_difference_holds_its_estimate_and_turns_round_with_its_sides(pairs: Pairs) -> None:
    interval = paired_difference(pairs)
    turned = paired_difference(Pairs(pairs.both, pairs.second, pairs.first, pairs.neither))
    assert -1 <= interval.low <= interval.point <= interval.high <= 1
    assert (-turned.high, -turned.low) == pytest.approx((interval.low, interval.high), abs=1e-9)


def test_without_samples_an_interval_says_nothing() -> None:
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0, 1)
    nothing = paired_difference(Pairs(0, 0, 0, 0))
    assert (nothing.low, nothing.high) == (-1, 1)


@given(counts, counts)
def test_a_ratio_holds_its_estimate(first: tuple[int, int], second: tuple[int, int]) -> None:
    ratio = independent_ratio(wilson(*first), wilson(*second))
    assert 0 <= ratio.low <= ratio.point <= ratio.high


def test_a_ratio_of_equal_rates_is_one_and_may_be_more_or_less() -> None:
    ratio = independent_ratio(wilson(60, 100), wilson(60, 100))
    assert ratio.point == 1
    assert ratio.low * ratio.high == pytest.approx(1, abs=0.01)
    assert independent_ratio(wilson(60, 100), wilson(0, 100)).high == float("inf")


@given(st.integers(1, 100), st.integers(1, 10_000))
def test_the_number_of_samples_that_would_decide_is_the_least(samples: int, needed: int) -> None:
    more = samples_to_decide(samples, lambda factor: factor * samples >= needed - 1e-6)
    assert more == max(0, needed - samples)


def test_what_no_number_of_samples_decides_is_said() -> None:
    assert samples_to_decide(50, lambda _: False) is None


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=40))
@settings(max_examples=50, deadline=None)
def test_the_interval_lies_about_the_mean_and_within_the_values(values: list[float]) -> None:
    interval = bootstrap(values)
    assert min(values) - 1e-9 <= interval.low <= interval.high <= max(values) + 1e-9
    assert interval.point == pytest.approx(np.mean(values))
    assert bootstrap(values) == interval


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    draw = np.random.default_rng(0)
    covered = 0
    for seed in range(200):
        interval = bootstrap(draw.normal(1.0, 1.0, 40), seed, draws=500)
        covered += interval.low <= 1.0 <= interval.high
    assert 0.87 <= covered / 200 <= 0.99


def test_an_interval_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing to average"):
        bootstrap([])
