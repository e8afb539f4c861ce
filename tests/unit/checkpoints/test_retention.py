"""Retention: the policy decides which checkpoints stay, and a file that one of them needs is never deleted."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from mlflow_plugin.checkpoints.retention import Removal, StoredCheckpoint, plan_removal
from mlflow_plugin.project.judging import Quality
from mlflow_plugin.project.project import CheckpointPolicy
from mlflow_plugin.store.manifest import FileEntry, Manifest

ACCURACY = Quality("accuracy", 0.9, 0.5)
LOSS = Quality("loss", 0.1, 0.5, higher_is_better=False)
LAST = CheckpointPolicy(keep_last=1, keep_best=0)


def name_of(step: int) -> str:
    return f"step-{step:06d}"


def saved(step: int, *needs: int, known_bad: bool = False, **metrics: float) -> StoredCheckpoint:
    """A checkpoint of three files that also needs the tensors of some earlier steps; a file has as many bytes as its
    step, a manifest one.
    """
    name = name_of(step)
    own = {f"{name}/{file}": step for file in ("state.json", "tensors.safetensors")}
    references = {f"{name_of(earlier)}/tensors.safetensors": earlier for earlier in needs}
    return StoredCheckpoint(
        name, step, {**own, f"{name}/manifest.json": 1}, own | references, metrics, known_bad=known_bad
    )


def after(checkpoints: list[StoredCheckpoint], removal: Removal, deleted: int | None = None) -> list[StoredCheckpoint]:
    """The files that are left once the first `deleted` files, or all, are gone."""
    gone = set(removal.files[:deleted])
    left = []
    for one in checkpoints:
        files = {path: size for path, size in one.files.items() if path not in gone}
        complete = one.complete and f"{one.name}/manifest.json" in files
        left.append(
            StoredCheckpoint(
                one.name,
                one.step,
                files,
                one.needs if complete else {},
                one.metrics if complete else {},
                complete,
                one.known_bad,
            )
        )
    return [one for one in left if one.files]


def kept_steps(checkpoints: list[StoredCheckpoint], policy: CheckpointPolicy, quality: Quality | None) -> list[int]:
    return [int(name.removeprefix("step-")) for name in plan_removal(checkpoints, policy, quality).kept]


def test_the_last_ones_stay_whatever_order_they_are_listed_in() -> None:
    checkpoints = [saved(step) for step in (30, 10, 40, 20)]
    assert kept_steps(checkpoints, CheckpointPolicy(keep_last=2, keep_best=0), None) == [30, 40]
    assert plan_removal(checkpoints, CheckpointPolicy(keep_last=9), None) == Removal(
        ("step-000010", "step-000020", "step-000030", "step-000040"), (), (), 0
    )


def test_steps_are_compared_as_numbers() -> None:
    assert kept_steps([saved(999999), saved(1000000)], LAST, None) == [1000000]


def test_the_best_by_quality_stay_and_of_equals_the_newer() -> None:
    checkpoints = [saved(step, accuracy=value) for step, value in ((1, 0.5), (2, 0.8), (3, 0.8), (4, 0.2), (5, 0.3))]
    policy = CheckpointPolicy(keep_last=1, keep_best=1)
    assert kept_steps(checkpoints, policy, ACCURACY) == [3, 5]
    assert kept_steps(checkpoints, CheckpointPolicy(keep_last=1, keep_best=3), ACCURACY) == [1, 2, 3, 5]
    assert kept_steps(checkpoints, policy, None) == [5]


def test_where_lower_is_better_the_lowest_is_the_best_and_what_is_not_finite_is_none() -> None:
    values = {1: float("-inf"), 2: 0.3, 3: 0.2, 4: float("nan"), 5: 0.9}
    checkpoints = [*(saved(step, loss=value) for step, value in values.items()), saved(6, other=0.0)]
    assert kept_steps(checkpoints, CheckpointPolicy(keep_last=1, keep_best=1), LOSS) == [3, 6]


def test_of_every_so_many_steps_the_first_at_or_after_the_multiple_stays() -> None:
    checkpoints = [saved(step) for step in (5, 95, 100, 150, 230, 299, 401, 430, 450)]
    policy = CheckpointPolicy(keep_last=1, keep_best=0, keep_every=100)
    assert kept_steps(checkpoints, policy, None) == [100, 230, 401, 450]


def test_a_file_that_a_kept_checkpoint_needs_stays_and_the_rest_of_its_folder_goes() -> None:
    checkpoints = [saved(10), saved(20, 10), saved(30, 10)]
    removal = plan_removal(checkpoints, LAST, None)
    assert removal == Removal(
        kept=("step-000030",),
        checkpoints=("step-000010", "step-000020"),
        files=(
            "step-000010/manifest.json",
            "step-000020/manifest.json",
            "step-000010/state.json",
            "step-000020/state.json",
            "step-000020/tensors.safetensors",
        ),
        bytes=1 + 1 + 10 + 20 + 20,
    )
    assert plan_removal(after(checkpoints, removal), LAST, None).files == ()


def test_the_rest_of_a_removed_checkpoint_goes_once_no_checkpoint_needs_it() -> None:
    first = plan_removal(checkpoints := [saved(10), saved(20, 10)], LAST, None)
    later = plan_removal([*after(checkpoints, first), saved(30)], LAST, None)
    assert later.checkpoints == ("step-000010", "step-000020")
    assert "step-000010/tensors.safetensors" in later.files


def test_a_checkpoint_that_is_known_bad_or_lacks_a_file_is_not_counted_as_the_newest() -> None:
    cut = saved(40, 35)
    bad = saved(50, known_bad=True)
    aborted = StoredCheckpoint("step-000060", 60, {"step-000060/state.json": 60}, complete=False)
    removal = plan_removal([saved(10), saved(20), cut, bad, aborted], LAST, None)
    assert removal.kept == ("step-000020",)
    assert removal.checkpoints == ("step-000010", "step-000040", "step-000050", "step-000060")


def test_a_file_of_another_size_than_its_manifest_says_makes_a_checkpoint_invalid() -> None:
    truncated = saved(20)
    truncated = StoredCheckpoint(truncated.name, 20, {**truncated.files, "step-000020/state.json": 3}, truncated.needs)
    assert kept_steps([saved(10), truncated], LAST, None) == [10]


def test_a_manifest_says_what_its_checkpoint_needs() -> None:
    entry = FileEntry("0" * 64, 7)
    manifest = Manifest({"state.json": entry}, 20, {"loss": 1.0}, references={"step-000010/tensors.safetensors": entry})
    checkpoint = StoredCheckpoint.of("step-000020", manifest)
    assert checkpoint.needs == {"step-000020/state.json": 7, "step-000010/tensors.safetensors": 7}
    assert checkpoint.files == {"step-000020/state.json": 7, "step-000020/manifest.json": len(manifest.to_json())}
    assert (checkpoint.step, checkpoint.metrics, checkpoint.complete) == (20, {"loss": 1.0}, True)


@st.composite
def runs(draw: st.DrawFn) -> list[StoredCheckpoint]:
    """Any history: checkpoints that need files of earlier ones, some bad, some cut short, some with files missing."""
    steps = sorted(draw(st.sets(st.integers(1, 300), min_size=1, max_size=9)))
    checkpoints = []
    for index, step in enumerate(steps):
        needs = draw(st.sets(st.sampled_from(steps[:index]))) if index else set()
        one = saved(step, *needs, known_bad=draw(st.integers(0, 5)) == 0, accuracy=draw(st.floats()))
        lost = draw(st.sets(st.sampled_from(sorted(one.files)))) if draw(st.integers(0, 3)) == 0 else set()
        files = {path: size for path, size in one.files.items() if path not in lost}
        complete = f"{one.name}/manifest.json" in files
        checkpoints.append(
            StoredCheckpoint(one.name, step, files, one.needs if complete else {}, one.metrics, complete, one.known_bad)
        )
    return checkpoints


policies = st.builds(
    CheckpointPolicy,
    keep_last=st.integers(1, 4),
    keep_best=st.integers(0, 3),
    keep_every=st.none() | st.integers(1, 100),
)


def valid(checkpoints: list[StoredCheckpoint]) -> set[str]:
    present = {path: size for one in checkpoints for path, size in one.files.items()}
    return {
        one.name
        for one in checkpoints
        if one.complete and not one.known_bad and all(present.get(path) == size for path, size in one.needs.items())
    }


@settings(max_examples=300, derandomize=True, deadline=None)
@given(runs(), policies, st.sampled_from([None, ACCURACY]), st.data())
def test_wherever_a_removal_is_cut_short_what_is_kept_stays_whole(
    checkpoints: list[StoredCheckpoint], policy: CheckpointPolicy, quality: Quality | None, data: st.DataObject
) -> None:
    removal = plan_removal(checkpoints, policy, quality)
    before = valid(checkpoints)
    assert set(removal.kept) <= before
    assert not before or max(before) in removal.kept
    cut = after(checkpoints, removal, data.draw(st.integers(0, len(removal.files))))
    assert set(removal.kept) <= valid(cut)
    # What still has its manifest has all the files that it had before.
    assert {one.name for one in cut if one.complete} & before <= valid(cut)


@settings(max_examples=300, derandomize=True, deadline=None)
@given(runs(), policies, st.sampled_from([None, ACCURACY]))
def test_a_removal_frees_what_it_says_and_leaves_nothing_for_a_second_one(
    checkpoints: list[StoredCheckpoint], policy: CheckpointPolicy, quality: Quality | None
) -> None:
    removal = plan_removal(checkpoints, policy, quality)
    left = after(checkpoints, removal)
    sizes = [sum(sum(one.files.values()) for one in there) for there in (checkpoints, left)]
    assert removal.bytes == sizes[0] - sizes[1]
    assert len(set(removal.files)) == len(removal.files)
    again = plan_removal(left, policy, quality)
    assert (again.kept, again.files, again.bytes) == (removal.kept, (), 0)


@settings(max_examples=100, derandomize=True, deadline=None)
@given(runs(), policies)
def test_removing_after_each_save_never_costs_the_newest_what_it_needs(
    checkpoints: list[StoredCheckpoint], policy: CheckpointPolicy
) -> None:
    there: list[StoredCheckpoint] = []
    for step in itertools.accumulate([7] * 12):
        newest = max(valid(there), default=None)
        needs = [int(path[5:11]) for one in there if one.name == newest for path in one.needs if "tensors" in path]
        there.append(saved(step, *needs[-2:]))
        there = after(there, plan_removal(there, policy, ACCURACY))
        assert name_of(step) in valid(there)
