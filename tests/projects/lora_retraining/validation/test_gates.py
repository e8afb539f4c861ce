"""Gates decide by intervals: fifty samples seldom decide what five hundred would."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lora_retraining.settings import PRESETS
from lora_retraining.validation.gates import Counts, Gate, judge, judge_all, overall
from projects_common.statistics import Pairs

TIES = Gate("gsm8k", "ties", 0.60, 0.50)
CODE_WINS = Gate("code", "wins", 0.40, 0.30)


def compared(wins: int, ties: int, losses: int) -> Counts:
    return Counts(compared=wins + ties + losses, wins=wins, ties=ties, losses=losses)


def test_the_published_corruption_fails_both_gates_with_fifty_samples() -> None:
    """28% ties on GSM8K and 12% wins on code: what merging an adapter of a 4-bit base came to."""
    assert judge(TIES, compared(2, 14, 34)).verdict == "fail"
    assert judge(CODE_WINS, compared(6, 0, 44)).verdict == "fail"


def test_a_point_above_success_is_undecided_while_the_interval_reaches_a_red_flag() -> None:
    judged = judge(TIES, compared(3, 31, 16))
    assert judged.interval is not None
    assert judged.interval.point == 0.62
    assert judged.verdict == "undecided"
    assert not judged.is_red_flag
    assert judged.more_samples is not None
    assert judged.more_samples > 0
    assert f"{judged.more_samples:,} more samples" in judged.why


@given(st.integers(31, 49))
def test_as_many_more_samples_as_named_decide_at_the_same_rate(ties: int) -> None:
    judged = judge(TIES, compared(0, ties, 50 - ties))
    if judged.verdict == "undecided":
        assert judged.more_samples is not None
        total = 50 + judged.more_samples
        # Whole samples: at the rate, rounded to the side that helps.
        later = judge(TIES, compared(0, -(-ties * total // 50), total + (ties * total // -50)))
        assert later.verdict == "pass"


def test_an_interval_short_of_success_fails_although_above_the_red_flag() -> None:
    judged = judge(TIES, compared(0, 550, 450))
    assert judged.verdict == "fail"
    assert not judged.is_red_flag


def test_of_losses_fewer_are_better() -> None:
    gate = Gate("all", "losses", 0.20, 0.40)
    assert judge(gate, compared(90, 0, 10)).verdict == "pass"
    assert judge(gate, compared(40, 0, 60)).verdict == "fail"
    assert judge(gate, compared(40, 0, 60)).is_red_flag
    assert judge(gate, compared(37, 0, 13)).verdict == "undecided"


def test_a_gain_is_judged_on_the_same_items() -> None:
    gate = Gate("math", "gain", 0.10, 0.0)
    assert judge(gate, Counts(against_reference=Pairs(20, 60, 5, 15))).verdict == "pass"
    assert judge(gate, Counts(against_reference=Pairs(60, 5, 10, 25))).verdict == "fail"
    assert judge(gate, Counts(against_reference=Pairs(10, 6, 3, 5))).verdict == "undecided"


def test_within_ten_per_cent_of_a_baseline_on_the_same_items() -> None:
    gate = Gate("all", "baseline_ratio", 0.9, 0.9)
    assert judge(gate, Counts(graded=400, right=300, against_baseline=Pairs(298, 2, 2, 98))).verdict == "pass"
    assert judge(gate, Counts(graded=400, right=200, against_baseline=Pairs(200, 0, 100, 100))).verdict == "fail"


def test_within_ten_per_cent_of_a_baseline_on_other_items() -> None:
    gate = Gate("all", "baseline_ratio", 0.9, 0.9)
    assert judge(gate, Counts(graded=1000, right=800, baseline=(800, 1000))).verdict == "pass"
    assert judge(gate, Counts(graded=1000, right=500, baseline=(800, 1000))).verdict == "fail"
    assert judge(gate, Counts(graded=50, right=40, baseline=(40, 50))).verdict == "undecided"


def test_a_baseline_that_shares_few_items_is_compared_as_a_whole() -> None:
    counts = Counts(graded=1000, right=800, against_baseline=Pairs(1, 0, 1, 0), baseline=(800, 1000))
    judged = judge(Gate("all", "baseline_ratio", 0.9, 0.9), counts)
    assert (judged.verdict, judged.samples) == ("pass", 1000)


def test_a_ratio_to_nothing_can_be_written_as_json() -> None:
    judged = judge(Gate("all", "baseline_ratio", 0.9, 0.9), Counts(graded=50, right=1, baseline=(0, 50)))
    assert json.loads(json.dumps(judged.to_dict(), allow_nan=False))["value"] is None


def test_nothing_is_lost_of_a_baseline_that_had_nothing_right() -> None:
    assert judge(Gate("all", "baseline_ratio", 0.9, 0.9), Counts(against_baseline=Pairs(0, 0, 0, 9))).verdict == "pass"


def test_what_cannot_be_measured_is_undecided_never_passed() -> None:
    for measure in ("accuracy", "wins", "ties", "gain", "baseline_ratio"):
        judged = judge(Gate("math", measure, 0.5, 0.4), Counts())
        assert (judged.verdict, judged.samples, judged.more_samples) == ("undecided", 0, None)


def test_a_rate_that_equals_success_passes_in_time_and_never_fails_by_rounding() -> None:
    judged = judge(Gate("all", "accuracy", 0.7, 0.5), Counts(graded=10, right=7))
    assert judged.verdict == "undecided"
    assert judged.more_samples is not None


def test_the_overall_verdict_is_the_worst() -> None:
    good, open_, bad = (judge(TIES, compared(0, ties, 1000 - ties)) for ties in (800, 600, 100))
    assert (good.verdict, open_.verdict, bad.verdict) == ("pass", "pass", "fail")
    unsure = judge(TIES, compared(0, 6, 4))
    assert unsure.verdict == "undecided"
    assert overall([good, open_]) == "pass"
    assert overall([good, unsure]) == "undecided"
    assert overall([good, unsure, bad]) == "fail"
    assert overall([]) == "pass"


def test_gates_that_cannot_be_are_refused() -> None:
    from mlflow_plugin.errors import UsageError

    for dataset, measure, success, red_flag in (("all", "speed", 1, 0), ("all", "wins", 0.3, 0.4)):
        with pytest.raises(UsageError):
            Gate(dataset, measure, success, red_flag)
    with pytest.raises(UsageError):
        Gate("all", "losses", 0.4, 0.3)


def test_the_gates_of_every_preset_can_be_judged() -> None:
    for settings in PRESETS.values():
        gates = [Gate(*figures) for figures in settings.gates]
        assert len(judge_all(gates, lambda _: Counts())) == len(settings.gates)
