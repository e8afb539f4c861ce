"""The verdict table, every row and every combination of rows, against a second statement of it."""

import itertools
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_plugin.decision.estimate import Estimate
from mlflow_plugin.decision.facts import Candidate, Evidence, Generations, Handover, superseded_run
from mlflow_plugin.decision.rules import decide, force
from mlflow_plugin.decision.superseding import is_costly
from mlflow_plugin.decision.verdict import SupersededRun, Verdict
from mlflow_plugin.project.judging import Gate, Quality
from mlflow_plugin.project.project import AskAbove, Phase
from mlflow_plugin.store.run import PhaseRun

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TRAIN = Phase(
    "train",
    "python train.py",
    {},
    needs=("collect",),
    quality=Quality("fidelity", good=0.85, poor=0.70),
    gates=(Gate.parse("held_out > 0.5"),),
    max_age_seconds=3600.0,
)
GOOD = {"fidelity": 0.9, "held_out": 0.8, "phase.duration_seconds": 660.0, "phase.cost_usd": 0.43}
COLLECT = PhaseRun("5eed5eed00", "collect", completed_at=NOON)
EARLIER = PhaseRun("0ddba11000", "train", completed_at=NOON - timedelta(hours=1), metrics=GOOD)

# What a run of the same identity may look like: its fields, then what was found out about it.
STATES: dict[str, tuple[dict, dict]] = {
    "good": ({"metrics": GOOD}, {}),
    "borderline": ({"metrics": GOOD | {"fidelity": 0.8}}, {}),
    "poor": ({"metrics": GOOD | {"fidelity": 0.3}}, {}),
    "gate failed": ({"metrics": GOOD | {"held_out": 0.1}}, {}),
    "NaN": ({"metrics": GOOD | {"fidelity": math.nan}}, {}),
    "never logged": ({"metrics": {"held_out": 0.8}}, {}),
    "good, quarantined": ({"metrics": GOOD}, {"quarantine_reason": "train c0ffee is quarantined: wrong data"}),
    "good, outputs lost": ({"metrics": GOOD}, {"faults": ("operators.bin is gone",)}),
    "good, folder gone": (
        {"metrics": GOOD, "output_digest": "cd" * 32},
        {"faults": ("operators.bin is gone",), "unreachable": "/mnt/runs/0"},
    ),
    "good, assumed": ({"metrics": GOOD}, {"assumed": ("train c0ffee has no parameter `dropout`",)}),
    "good, beside": ({"metrics": GOOD, "beside": "decide=beside", "output_digest": "ab" * 32}, {}),
    "live": ({"completed_at": None, "checkpoint": "step-000010"}, {"live": True, "resumable": True}),
    "live, quarantined": (
        {"completed_at": None},
        {"live": True, "quarantine_reason": "collect is quarantined: wrong data"},
    ),
    "interrupted": ({"completed_at": None, "checkpoint": "step-000010"}, {"resumable": True}),
    "interrupted, quarantined": (
        {"completed_at": None, "checkpoint": "step-000010"},
        {"resumable": True, "quarantine_reason": "collect is quarantined: wrong data"},
    ),
    "died early": ({"completed_at": None, "status": "FAILED"}, {}),
}
STALE = ("none", "good", "borderline", "poor", "quarantined", "outputs lost", "same inputs")


def candidate(state: str, number: int = 0, phase: Phase = TRAIN) -> Candidate:
    fields, found = STATES[state]
    run = PhaseRun(
        f"c0ffee{number:02d}{list(STATES).index(state):02d}",
        phase.name,
        **{"completed_at": NOON - timedelta(hours=number), "inputs": {"collect": COLLECT.run_id}, **fields},
    )
    return Candidate(run, **found)


def stale_candidates(kind: str) -> list[Candidate]:
    if kind == "none":
        return []
    state = {"quarantined": "good, quarantined", "outputs lost": "good, outputs lost"}.get(kind, kind)
    one = candidate("good" if kind == "same inputs" else state, 50)
    used = COLLECT.run_id if kind == "same inputs" else "0ddba11000"
    return [replace(one, run=replace(one.run, inputs={"collect": used}))]


def evidence(
    states: tuple[str, ...] = (),
    *,
    stale: str = "none",
    old: bool = False,
    downstream: bool = False,
    replaced: bool = False,
    cheap: bool = False,
    missing: bool = False,
    phase: Phase = TRAIN,
) -> Evidence:
    later = Phase("steer", "python steer.py", {}, needs=("train",), quality=Quality("shift", 0.1, 0.0))
    built_on_it = PhaseRun("ab0de00000", "steer", completed_at=NOON, metrics={"shift": 0.4})
    current = PhaseRun("beef000000", phase.name, completed_at=NOON, metrics=GOOD)
    return Evidence(
        phase=phase,
        same=[candidate(state, number, phase) for number, state in enumerate(states)],
        missing_inputs=["collect"] if missing else [],
        inputs={} if missing else {"collect": COLLECT},
        input_ages={"collect 5eed5eed": 7200.0 if old else 60.0},
        stale=lambda: stale_candidates(stale),
        current=lambda: current if downstream else None,
        downstream=lambda: [superseded_run(later, built_on_it)] if downstream else [],
        estimate=lambda: Estimate(660.0, 600.0, 700.0, 3, True, 0.43),
        downstream_estimate=lambda: [("steer", Estimate(900.0, 800.0, 1000.0, 1, True, 0.52))] if downstream else [],
        input_runs=lambda run_id: PhaseRun(run_id, "collect", completed_at=NOON - timedelta(minutes=11)),
        replaced=lambda: EARLIER if replaced else None,
        ask_above=AskAbove(60.0, 10.0) if cheap else AskAbove(),
    )


def table(
    states: tuple[str, ...], stale: str, old: bool, downstream: bool, missing: bool, replaced: bool, cheap: bool
) -> tuple[str, str]:
    """The verdict table once more: action and the rule that speaks, from the names of what was found."""
    if missing:
        return "run", "missing"
    good = next((state for state in states if state in ("good", "good, beside")), "")
    if good:
        promoted = good == "good, beside" and downstream and not cheap
        return ("ask", "old") if old else ("ask", "beside") if promoted else ("reuse", "same")
    if "live" in states:
        return "wait", "live"
    first_that_speaks = {
        "interrupted": ("resume", "interrupted"),
        "borderline": ("ask", "borderline"),
        "gate failed": ("ask", "gate"),
        "NaN": ("ask", "unknown"),
        "never logged": ("ask", "unknown"),
    }
    for state in states:
        if state in first_that_speaks:
            return first_that_speaks[state]
    for state, kind in (("good, assumed", "assumed"), ("good, folder gone", "unseen")):
        if state in states:
            return "ask", kind
    if stale in ("good", "borderline") and not cheap:
        return "ask", "stale"
    if old:
        return "ask", "old"
    if (downstream or replaced) and not cheap and not (downstream and "good, outputs lost" in states):
        return "ask", "downstream"
    return "run", "nothing"


def check_promises(verdict: Verdict, given: Evidence) -> None:
    """Check the properties of every verdict."""
    assert verdict.reasons
    assert all(reason.strip() for reason in verdict.reasons)
    found = {one.run.run_id: one for one in (*given.same, *given.stale())}
    about = found.get(verdict.run_id or "")
    if verdict.action in ("reuse", "resume", "wait"):
        assert about in given.same
    if about is not None:
        assert not about.quarantine_reason
        assert bool(about.faults) == (verdict.kind == "unseen")
    if verdict.action == "reuse":
        assert about.run.complete
        assert given.phase.grade(about.run.metrics) == "good"
    if verdict.action != "ask":
        assert not verdict.options
        return
    assert [option.letter for option in verdict.options] == list("ABCD")[: len(verdict.options)]
    (stop,) = [option for option in verdict.options if option.decide == "fail"]
    assert (stop.reruns, stop.supersedes, stop.action) == ((), (), "")
    if verdict.kind not in ("old", "unseen"):
        assert stop == verdict.options[-1]
    first = verdict.options[0]
    assert (first.letter, first.decide) == ("A", "fail" if verdict.kind == "unseen" else "reuse")
    # Keeping computes and supersedes nothing, but for old inputs on which nothing was computed yet.
    assert first.supersedes == ()
    assert first.reruns == (() if verdict.run_id else (given.phase.name,))
    again = verdict.option("rerun")
    if again is not None:
        assert again.supersedes == verdict.invalidates
        assert again.reruns == (() if verdict.kind == "beside" else (given.phase.name,))
    else:
        assert verdict.kind == "old"


SMALL_WORLD = [states for length in (0, 1, 2) for states in itertools.product(STATES, repeat=length)]


@pytest.mark.parametrize("cheap", [False, True])
@pytest.mark.parametrize(("downstream", "replaced"), itertools.product([False, True], repeat=2))
@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("stale", STALE)
def test_every_combination_of_rows_gets_the_verdict_of_the_table(stale, old, downstream, replaced, cheap):
    for states in SMALL_WORLD:
        rows = {"stale": stale, "old": old, "downstream": downstream, "replaced": replaced, "cheap": cheap}
        given_now = evidence(states, **rows)
        verdict = decide(given_now)
        assert (verdict.action, verdict.kind) == table(states, missing=False, **rows), states
        check_promises(verdict, given_now)


@pytest.mark.parametrize("states", SMALL_WORLD[:20])
def test_a_missing_input_comes_before_everything_else(states):
    verdict = decide(evidence(states, stale="good", downstream=True, missing=True))
    assert (verdict.action, verdict.kind) == ("run", "missing")


@given(
    states=st.lists(st.sampled_from(sorted(STATES)), max_size=8).map(tuple),
    stale=st.sampled_from(STALE),
    old=st.booleans(),
    downstream=st.booleans(),
    replaced=st.booleans(),
    cheap=st.booleans(),
)
def test_longer_histories_get_the_verdict_of_the_table(states, **rows):
    given_now = evidence(states, **rows)
    verdict = decide(given_now)
    assert (verdict.action, verdict.kind) == table(states, missing=False, **rows)
    check_promises(verdict, given_now)


@given(
    value=st.none() | st.floats(),
    bounds=st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)),
    higher_is_better=st.booleans(),
)
def test_a_run_is_reused_when_good_run_again_when_poor_and_asked_about_between(value, bounds, higher_is_better):
    poor, good = sorted(bounds) if higher_is_better else sorted(bounds, reverse=True)
    phase = Phase("train", "python train.py", {}, quality=Quality("loss", good, poor, higher_is_better))
    run = PhaseRun("c0ffee12", "train", completed_at=NOON, metrics={} if value is None else {"loss": value})
    verdict = decide(Evidence(phase, same=[Candidate(run)]))
    if value is None or not math.isfinite(value):
        assert (verdict.action, verdict.kind) == ("ask", "unknown")
    elif (value >= good) if higher_is_better else (value <= good):
        assert (verdict.action, verdict.quality) == ("reuse", value)
    elif (value < poor) if higher_is_better else (value > poor):
        assert verdict.action == "run"
    else:
        assert (verdict.action, verdict.kind) == ("ask", "borderline")


def test_a_phase_without_quality_is_reused_when_complete_however_small_its_result():
    phase = replace(TRAIN, quality=None, gates=())
    verdict = decide(Evidence(phase, same=[Candidate(PhaseRun("c0ffee12", "train", completed_at=NOON))]))
    assert (verdict.action, verdict.run_id, verdict.quality) == ("reuse", "c0ffee12", None)


def test_the_newest_good_run_is_reused_also_behind_a_newer_one_that_is_not_good():
    given_now = evidence(("borderline", "good", "good"))
    assert decide(given_now).run_id == given_now.same[1].run.run_id


def test_reuse_says_when_a_newer_input_gives_the_same_bytes():
    given_now = evidence(("good",))
    one = given_now.same[0]
    same = [replace(one, run=replace(one.run, inputs={"collect": "0ddba11000"}))]
    reasons = decide(replace(given_now, same=same)).reasons
    assert "collect 5eed5eed of 2026-03-01 12:00:00 UTC gives the same bytes as 0ddba110" in reasons[1]


def test_a_stale_question_names_both_inputs_with_their_times():
    verdict = decide(evidence(stale="good"))
    assert "of 2026-03-01 11:49:00 UTC; the latest collect is 5eed5eed of 2026-03-01 12:00:00 UTC" in verdict.reasons[0]
    assert "was made from collect 0ddba110" in verdict.reasons[0]


def test_a_pinned_older_input_is_called_chosen_and_not_latest():
    older = PhaseRun(COLLECT.run_id, "collect", completed_at=NOON - timedelta(hours=5))
    verdict = decide(replace(evidence(stale="good"), inputs={"collect": older}))
    assert "the chosen collect is 5eed5eed" in verdict.reasons[0]


def test_a_stale_run_in_between_says_both():
    reasons = decide(evidence(stale="borderline")).reasons
    assert len(reasons) == 2
    assert reasons[1] == "its fidelity 0.8 lies between poor (0.7) and good (0.85)"


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ("borderline", "its fidelity 0.8 lies between poor (0.7) and good (0.85)"),
        ("gate failed", "gate 'held_out > 0.5' failed: 0.1 against 0.5"),
        ("NaN", "its quality is not known: metric 'fidelity' is nan"),
        ("never logged", "its quality is not known: metric 'fidelity' was never logged; log it to that run, or answer"),
    ],
)
def test_a_question_says_what_is_wrong_with_the_run_that_exists(state, why):
    assert decide(evidence((state,))).reasons[1] == why


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ("poor", "is poor: the bound is 0.7"),
        ("good, quarantined", "is not reused: train c0ffee is quarantined: wrong data"),
        ("good, outputs lost", "lost its outputs: operators.bin is gone"),
        ("died early", "did not finish and left no checkpoint"),
    ],
)
def test_running_again_says_why_the_earlier_run_does_not_count(state, why):
    verdict = decide(evidence((state,)))
    assert verdict.action == "run"
    assert why in verdict.reasons[0]


def test_of_several_starts_that_did_not_finish_the_newest_is_named():
    reasons = decide(evidence(("died early", "died early", "poor"))).reasons
    assert [reason.split(" of ")[0] for reason in reasons] == [
        f"train {candidate(state, number).run.short}" for number, state in ((0, "died early"), (2, "poor"))
    ]


def test_a_first_run_says_that_there_is_none_yet_and_a_changed_one_what_changed():
    assert decide(evidence()).reasons == ("train has not been run yet",)
    changed = replace(evidence(), nearest=lambda: "train c0ffee12 differs in epochs (10 -> 20)")
    assert decide(changed).reasons == ("train c0ffee12 differs in epochs (10 -> 20)",)


def test_lost_outputs_are_made_again_without_asking_although_good_runs_hang_on_them():
    verdict = decide(evidence(("good, outputs lost",), downstream=True))
    assert (verdict.action, verdict.options) == ("run", ())


def test_lost_outputs_that_nothing_good_was_made_from_are_no_reason_to_throw_good_runs_away():
    given_now = evidence(("good, outputs lost",), downstream=True)
    current = replace(given_now.current(), output_digest="ab" * 32)
    for digest, kind in (("ab" * 32, "nothing"), ("cd" * 32, "downstream")):
        damaged = replace(given_now.same[0], run=replace(given_now.same[0].run, output_digest=digest))
        assert decide(replace(given_now, same=[damaged], current=lambda: current)).kind == kind


def test_a_quarantined_run_with_lost_outputs_is_no_repair():
    given_now = evidence(("good, outputs lost",), downstream=True)
    both = replace(given_now.same[0], quarantine_reason="train c0ffee is quarantined: wrong data")
    assert decide(replace(given_now, same=[both])).kind == "downstream"


def test_a_downstream_question_lists_what_is_lost_and_prices_all_that_must_be_computed_again():
    verdict = decide(evidence(downstream=True))
    assert [loss.run_id for loss in verdict.invalidates] == ["ab0de00000"]
    assert verdict.reasons[0] == "running train would make 1 good downstream run stale: it was made from beef0000"
    keep, again, beside, cancel = verdict.options
    assert keep.keeps == ("steer ab0de000, shift 0.4, finished 2026-03-01 12:00:00 UTC",)
    assert again.title == "Run train again; steer becomes stale (recomputing it would take about 15 min and $0.52)"
    assert (again.reruns, again.seconds, again.cost_usd) == (("train",), 660.0, 0.43)
    assert (beside.decide, beside.reruns, beside.supersedes) == ("beside", ("train",), ())
    assert beside.title.startswith("Run train beside: train beef0000 of ")
    assert (cancel.letter, cancel.decide, cancel.reruns) == ("D", "fail", ())


def test_in_a_pipeline_the_option_says_which_later_phases_are_computed_too():
    again = decide(replace(evidence(downstream=True), following=["steer"])).option("rerun")
    assert (again.title, again.reruns, again.seconds) == ("Run train again, then steer", ("train", "steer"), 1560.0)
    assert again.cost_usd == pytest.approx(0.95)
    assert "computes train, steer: about 26 min and $0.95" in again.price()


@pytest.mark.parametrize("downstream", [False, True])
def test_the_incident_asks_with_and_without_a_phase_downstream(downstream):
    model = replace(EARLIER, metrics=GOOD | {"fidelity": 0.989, "phase.cost_usd": 0.163})
    verdict = decide(replace(evidence(downstream=downstream), replaced=lambda: model))
    assert (verdict.action, verdict.kind, verdict.run_id) == ("ask", "downstream", model.run_id)
    assert "would supersede train 0ddba110 of 2026-03-01 11:00:00 UTC with fidelity 0.989" in verdict.reasons[0]
    assert verdict.option("beside") is None
    assert [run.phase for run in verdict.invalidates] == ["train", "steer"][: 1 + downstream]


def test_a_cheap_run_says_in_one_line_what_it_supersedes_and_what_becomes_stale():
    verdict = decide(evidence(downstream=True, replaced=True, cheap=True))
    assert verdict.action == "run"
    assert verdict.reasons[-1] == (
        "this supersedes train 0ddba110 and makes steer ab0de000 stale; computing them again takes 26 min and $0.95"
    )
    assert [run.phase for run in verdict.invalidates] == ["train", "steer"]


amounts = st.none() | st.floats(0, 1e7)


@given(
    taken=st.lists(st.tuples(amounts, amounts), max_size=5),
    limit=st.builds(AskAbove, st.floats(0, 1e5), st.floats(0, 1e5) | st.just(math.inf)),
)
def test_it_asks_exactly_when_recomputing_takes_more_than_either_limit_or_an_unknown_amount(taken, limit):
    runs = [
        SupersededRun("steer", f"ab{number}", None, "", NOON, seconds, usd)
        for number, (seconds, usd) in enumerate(taken)
    ]
    current = PhaseRun("beef000000", "train", completed_at=NOON, metrics=GOOD)
    phase = replace(TRAIN, max_age_seconds=None)
    verdict = decide(Evidence(phase, current=lambda: current, downstream=lambda: runs, ask_above=limit))

    def above(amounts: list[float | None], bound: float) -> bool:
        return bound != math.inf and (bound == 0 or None in amounts or sum(amounts) > bound)

    asks = above([seconds for seconds, _ in taken], limit.minutes * 60) or above([usd for _, usd in taken], limit.usd)
    assert verdict.action == ("ask" if runs and asks else "run")
    assert verdict.invalidates == tuple(runs)


@given(st.lists(st.tuples(st.floats(0, 1e4), st.floats(0, 1e3)), max_size=4), st.floats(0, 1e4), st.floats(0, 1e3))
def test_what_is_asked_about_is_asked_about_too_when_more_would_be_superseded(taken, seconds, usd):
    runs = [SupersededRun("steer", f"ab{n}", None, "", NOON, time, cost) for n, (time, cost) in enumerate(taken)]
    more = [*runs, SupersededRun("steer", "more", None, "", NOON, seconds, usd)]
    fewer_asked, more_asked = (is_costly(Evidence(TRAIN), some) for some in (runs, more))
    assert more_asked or not fewer_asked


def test_a_run_beside_supersedes_nothing_and_asks_nothing_about_costs():
    verdict = decide(replace(evidence(downstream=True, replaced=True, stale="good"), beside="decide=beside"))
    assert (verdict.action, verdict.kind, verdict.invalidates) == ("run", "beside", ())
    assert verdict.beside == "decide=beside"
    assert "`latest` stays as it is (decide=beside)" in verdict.reasons


def test_a_run_beside_is_reused_beside_and_by_others_when_little_becomes_stale():
    for given_now, words in (
        (replace(evidence(("good, beside",), downstream=True), beside="decide=beside"), "`latest` stays as it is"),
        (evidence(("good, beside",), downstream=True, cheap=True), "becomes the latest"),
    ):
        verdict = decide(given_now)
        assert verdict.action == "reuse"
        assert words in " ".join(verdict.reasons)


def test_the_checkpoint_of_other_code_is_asked_about_whatever_it_costs():
    interrupted = PhaseRun("dead000000", "train", checkpoint="step-000090", started_at=NOON)
    offered = Candidate(interrupted, resumable=True, differs="the code of train.py")
    verdict = decide(replace(evidence(cheap=True), edited=lambda: offered))
    assert (verdict.action, verdict.kind) == ("ask", "edited")
    resume, over, cancel = verdict.options
    assert (resume.decide, resume.action, resume.run_id) == ("reuse", "resume", "dead000000")
    assert resume.title.startswith("Go on from step-000090 of train dead0000")
    assert (over.title, over.action, cancel.decide) == ("Start train over", "run", "fail")
    assert decide(replace(evidence(("good",)), edited=lambda: offered)).action == "reuse"


def test_an_interrupted_run_of_which_a_parameter_is_not_known_is_not_resumed_unasked():
    known = candidate("interrupted")
    verdict = decide(replace(evidence(), same=[replace(known, assumed=("train has no parameter `dropout`",))]))
    assert (verdict.kind, verdict.options[0].action) == ("assumed", "resume")


def test_inputs_of_two_generations_are_asked_about_and_the_outdated_one_is_named():
    mixed = Generations(("b was made from a 1, c from a 2",), ("c",))
    verdict = decide(replace(evidence(cheap=True), generations=lambda: mixed))
    assert (verdict.action, verdict.kind) == ("ask", "generations")
    use, stop = verdict.options
    assert (use.title, use.action) == ("Use the inputs as they are and run train", "run")
    assert (stop.title, stop.decide, stop.renews) == ("Stop, and update c first", "fail", ("c",))


HANDED = Handover(("collect 1 logged nothing",), ("data.csv was made by hand",))


@pytest.mark.parametrize(("state", "action"), [("", "run"), ("interrupted", "resume"), ("poor", "run")])
def test_before_it_computes_on_files_that_are_not_known_to_be_its_inputs_it_asks(state: str, action: str):
    before = decide(evidence((state,) if state else (), cheap=True))
    verdict = decide(replace(evidence((state,) if state else (), cheap=True), handover=lambda: HANDED))
    assert (before.action, verdict.action, verdict.kind, verdict.run_id) == (action, "ask", "handover", before.run_id)
    assert verdict.reasons == (*HANDED.unknown, *HANDED.by_hand, *before.reasons)
    go_on, cancel = verdict.options
    assert (go_on.decide, go_on.action, cancel.decide) == ("reuse", action, "fail")
    assert go_on.title == f"Move aside what was made by hand and {action} train"
    assert verdict.invalidates == go_on.supersedes == before.invalidates


def test_a_reuse_a_forced_run_and_another_question_stand_as_they_are():
    for state in ("good", "live", "borderline"):
        given_now = evidence((state,))
        assert decide(replace(given_now, handover=lambda: HANDED)) == decide(given_now)
    assert force(replace(evidence(), handover=lambda: HANDED)).action == "run"


def test_deleted_runs_are_named_when_the_phase_is_run():
    verdict = decide(replace(evidence(), deleted=lambda: ["train 1 was deleted; `mlflow runs restore --run-id 1`"]))
    assert verdict.reasons[-1].endswith("`mlflow runs restore --run-id 1`")


@pytest.mark.parametrize("state", ["borderline", "gate failed", "NaN"])
def test_running_again_throws_away_the_run_itself_and_what_was_built_on_it(state):
    verdict = decide(evidence((state,), downstream=True))
    assert [loss.phase for loss in verdict.options[1].supersedes] == ["train", "steer"]
    assert verdict.invalidates == verdict.options[1].supersedes


def test_a_run_is_listed_once_among_the_losses():
    given_now = evidence(("borderline",))
    itself = superseded_run(TRAIN, given_now.same[0].run)
    assert decide(replace(given_now, downstream=lambda: [itself])).invalidates == (itself,)


def test_inputs_at_max_age_are_not_yet_old():
    assert decide(replace(evidence(("good",)), input_ages={"collect 5eed5eed": 3600.0})).action == "reuse"
    assert decide(replace(evidence(("good",)), input_ages={"collect 5eed5eed": 3600.1})).kind == "old"


def test_without_max_age_no_input_is_too_old():
    assert decide(evidence(("good",), old=True, phase=replace(TRAIN, max_age_seconds=None))).action == "reuse"


def test_a_question_about_old_inputs_offers_to_go_on_or_to_stop_and_renew_them():
    with_run = decide(evidence(("good",), old=True))
    assert with_run.reasons[0] == "collect 5eed5eed is 2 h 00 min old; max_age is 1 h 00 min"
    assert [option.decide for option in with_run.options] == ["reuse", "fail"]
    assert with_run.options[1].title == "Stop, and update collect first"
    without = decide(evidence(old=True))
    assert without.run_id is None
    assert without.options[0].title == "Use the inputs as they are and run train"


def test_an_answer_is_found_by_letter_and_by_decide_value():
    verdict = decide(evidence(("borderline",)))
    keep, again, cancel = verdict.options
    answers = {"A": keep, "reuse": keep, "B": again, "rerun": again, "C": cancel, "fail": cancel, "D": None, "": None}
    assert {answer: verdict.option(answer) for answer in answers} == answers


def test_a_forced_run_names_the_good_work_that_it_throws_away():
    verdict = force(evidence(("good", "good"), downstream=True))
    assert (verdict.action, verdict.kind) == ("run", "forced")
    assert [loss.phase for loss in verdict.invalidates] == ["train", "steer"]
    assert "decide=rerun" in verdict.reasons[0]
    assert verdict.reasons[1].startswith("supersedes train c0ffee00, fidelity 0.9, finished 2026-03-01 12:00:00 UTC")
    assert "took 11 min, cost $0.43" in verdict.reasons[1]


@pytest.mark.parametrize(
    "state", sorted(set(STATES) - {"good", "borderline", "gate failed", "good, assumed", "good, beside"})
)
def test_a_forced_run_throws_away_nothing_where_nothing_good_was(state):
    verdict = force(evidence((state,)))
    assert (verdict.action, verdict.invalidates) == ("run", ())


def test_a_missing_upstream_is_named():
    verdict = decide(evidence(("good",), missing=True))
    assert verdict.reasons[0].startswith("collect must run first")


def test_slow_questions_are_not_put_to_the_store_when_the_verdict_is_clear():
    def never() -> None:
        raise AssertionError("a finished phase needs no look at what came after it")

    asked = dict.fromkeys(
        (
            "stale",
            "current",
            "downstream",
            "estimate",
            "nearest",
            "replaced",
            "edited",
            "deleted",
            "generations",
            "handover",
        ),
        never,
    )
    settled = replace(evidence(("good",)), **asked)
    assert decide(settled).action == "reuse"
