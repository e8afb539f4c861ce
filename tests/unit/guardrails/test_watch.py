"""Alarms are raised for diverging metrics and not for healthy ones: simulated curves, several seeds each."""

import math
import random
from collections.abc import Callable, Iterable

import pytest

from mlflow_plugin.guardrails.watch import Alarm, MetricWatch, is_gradient, is_loss

NAN, INF = float("nan"), float("inf")
SEEDS = range(5)
Curve = Callable[[random.Random, int], list[float]]


def watched(name: str, values: Iterable[float], total: int | None = None) -> list[Alarm]:
    """All alarms of one metric, in a phase whose quality is the accuracy."""
    watch = MetricWatch("accuracy", higher_is_better=True)
    return [alarm for step, value in enumerate(values) for alarm in watch.check(name, value, step, total)]


def exponential(source: random.Random, total: int) -> list[float]:
    levels = [3 * math.exp(-6 * step / total) + 0.5 for step in range(total)]
    return [level * (1 + 0.05 * source.gauss(0, 1)) for level in levels]


def power_law(source: random.Random, total: int) -> list[float]:
    return [5 * (step + 10) ** -0.08 * math.exp(0.05 * source.gauss(0, 1)) for step in range(total)]


def single_samples(source: random.Random, total: int) -> list[float]:
    return [max(0.001, 2.5 * (step + 10) ** -0.1 + 0.3 * source.gauss(0, 1)) for step in range(total)]


def after_a_warm_up(source: random.Random, total: int) -> list[float]:
    start = 0.02 * total
    return [10.8 * max(1.0, step / start) ** -0.15 + 0.1 * source.gauss(0, 1) for step in range(total)]


def below_zero(source: random.Random, total: int) -> list[float]:
    return [-5 * (1 - math.exp(-3 * step / total)) + 0.3 * source.gauss(0, 1) for step in range(total)]


def cosine(source: random.Random, total: int) -> list[float]:
    turn = math.pi / total
    return [
        1 + (1 + math.cos(turn * step)) * math.exp(-step / total) + 0.1 * source.gauss(0, 1) for step in range(total)
    ]


def gradients(source: random.Random, total: int) -> list[float]:
    return [math.exp(0.5 * source.gauss(0, 1)) * (1 + 5 * math.exp(-step / 200)) for step in range(total)]


def accuracies(source: random.Random, total: int) -> list[float]:
    return [1 - 0.6 * (step + 5) ** -0.3 + 0.01 * source.gauss(0, 1) for step in range(total)]


HEALTHY = [
    *(("loss", curve) for curve in (exponential, power_law, single_samples, after_a_warm_up, below_zero, cosine)),
    ("grad_norm", gradients),
    ("accuracy", accuracies),
]


@pytest.mark.parametrize("total", [300, 5000])
@pytest.mark.parametrize(("name", "curve"), HEALTHY, ids=[curve.__name__ for _, curve in HEALTHY])
def test_a_noisy_but_healthy_curve_raises_no_alarm(name: str, curve: Curve, total: int) -> None:
    for seed in SEEDS:
        assert watched(name, curve(random.Random(seed), total), total) == []


@pytest.mark.parametrize(("factor", "noise"), [(3, 0.05), (5, 0.1), (10, 0.2)])
def test_a_spike_in_the_loss_is_reported_once_and_at_its_step(factor: float, noise: float) -> None:
    for seed in SEEDS:
        source = random.Random(seed)
        values = [(3 * math.exp(-step / 150) + 0.5) * (1 + noise * source.gauss(0, 1)) for step in range(600)]
        at = source.randrange(100, 600)
        values[at] *= factor
        alarms = [alarm for alarm in watched("loss", values) if "spike" in alarm.text]
        assert [(alarm.kind, alarm.step, alarm.value) for alarm in alarms] == [("warn", at, values[at])]


def test_a_quality_that_collapses_is_reported_and_one_that_jumps_up_is_not() -> None:
    source = random.Random(0)
    steady = [0.9 + 0.01 * source.gauss(0, 1) for _ in range(100)]
    (alarm,) = watched("accuracy", [*steady, 0.2, 0.2, 0.2, *steady])
    assert alarm.text.startswith("accuracy is 0.2 at step 100: a spike; the previous 64 values were around 0.")
    assert watched("accuracy", [*steady, 0.999]) == []


def test_a_lasting_divergence_is_reported_once_per_window() -> None:
    alarms = watched("loss", [1.0] * 100 + [1.5**step for step in range(1, 60)])
    assert len(alarms) == 1


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.05])
def test_a_loss_that_no_longer_falls_is_reported_once(noise: float) -> None:
    for seed in SEEDS:
        source = random.Random(seed)
        values = [(3 * math.exp(-step / 200) + 0.5) * (1 + noise * source.gauss(0, 1)) for step in range(4000)]
        (alarm,) = watched("loss", values, 4000)
        assert alarm.kind == "warn"
        assert "a plateau; over the last" in alarm.text


def test_a_curve_that_never_moves_is_a_plateau_also_where_the_length_of_the_loop_is_not_known() -> None:
    alarms = watched("accuracy", [0.5] * 3000)
    assert [alarm.step for alarm in alarms] == [1007]


def test_a_second_plateau_after_progress_is_reported_again() -> None:
    steps = [5.0] * 1500 + [5.0 - 0.002 * step for step in range(1500)] + [2.0] * 9000
    assert len(watched("loss", steps, len(steps) // 4)) == 2


def test_neither_learning_rates_nor_counters_raise_an_alarm_of_their_own() -> None:
    watch = MetricWatch("accuracy")
    for step in range(3000):
        rate = 1e-3 if step < 1000 else 1.0
        assert watch.check("learning_rate", rate, step) == watch.check("epoch", step // 500, step) == []


def validations(seed: int, noise: float, rise: float) -> list[Alarm]:
    """Alarms of 100 epochs of ten steps; the validation loss rises by so much an epoch after the 40th."""
    source, watch, alarms = random.Random(seed), MetricWatch(), []
    for epoch in range(100):
        falling = 2 * math.exp(-epoch / 20)
        for step in range(10 * epoch, 10 * epoch + 10):
            alarms += watch.check("train_loss", (falling + 0.1) * (1 + noise * source.gauss(0, 1)), step, 1000)
        value = (falling + 0.5 + rise * max(0, epoch - 40)) * (1 + noise * source.gauss(0, 1))
        alarms += watch.check("eval/loss", value, 10 * epoch + 9, 1000)
    return alarms


@pytest.mark.parametrize("noise", [0.01, 0.05, 0.1])
def test_a_validation_loss_that_rises_while_the_training_loss_falls_is_reported_once(noise: float) -> None:
    for seed in SEEDS:
        (alarm,) = validations(seed, noise, rise=0.03)
        assert (alarm.kind, alarm.metric) == ("warn", "eval/loss")
        assert "overfitting; its minimum was" in alarm.text
        assert alarm.step is not None
        assert alarm.step > 400


@pytest.mark.parametrize("noise", [0.01, 0.05, 0.1])
def test_a_validation_loss_that_falls_with_the_training_loss_raises_no_alarm(noise: float) -> None:
    assert [validations(seed, noise, rise=0.0) for seed in SEEDS] == [[]] * len(SEEDS)


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("name", ["loss", "train/loss", "eval_loss", "NLL", "grad_norm", "gradNorm", "accuracy", "gap"])
def test_a_non_finite_loss_gradient_quality_or_gate_metric_stops(name: str, value: float) -> None:
    watch = MetricWatch("accuracy", vital=["gap"])
    assert watch.check(name, 0.5, 6) == []
    (alarm,) = watch.check(name, value, 7)
    assert (alarm.kind, alarm.metric, alarm.step) == ("stop", name, 7)
    assert alarm.text == f"{name} is {value} at step 7: the training has diverged"


def test_another_non_finite_metric_is_reported_once_until_it_is_finite_again() -> None:
    alarms = watched("perplexity", [1.0, INF, INF, NAN, 2.0, NAN])
    assert [(alarm.kind, alarm.step) for alarm in alarms] == [("warn", 1), ("warn", 5)]
    assert alarms[0].text == "perplexity is inf at step 1"


def test_losses_and_gradients_are_recognized_by_the_words_of_a_name() -> None:
    losses = ["loss", "Loss", "trainLoss", "loss_2", "epoch.loss", "val-loss", "NLLLoss", "nll"]
    others = ["lossless", "glossary", "loss_scale", "loss_weight", "gradual", "perplexity", "accuracy", "lr", ""]
    assert [name for name in losses + others if is_loss(name)] == losses
    assert [name for name in ["grad", "gradient/max", "gradNorm", *others] if is_gradient(name)] == [
        "grad",
        "gradient/max",
        "gradNorm",
    ]


def test_whole_numbers_and_missing_steps_are_taken() -> None:
    watch = MetricWatch()
    assert watch.check("loss", 1, None) == []
    assert watch.check("loss", NAN, None)[0].text == "loss is nan: the training has diverged"
