"""Validates a merged model: answers to test tasks, graded objectively, against a reference; gates decide by intervals.
Phases `validate` and `validate_1b`, whose baseline is the first.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow_plugin import PhaseError, start_phase
from retraining.presets import AUTO, Settings, add_arguments, settings

if TYPE_CHECKING:
    from mlflow_plugin.phase.active import ActivePhase
    from retraining.base_model import ModelFiles
    from retraining.grading.judge import Judge, Verdict
    from retraining.tasks import Task
    from retraining.validation.answering import Side
    from retraining.validation.gates import Judged
    from retraining.validation.outcomes import Item
    from retraining.validation.references import Baseline, Reference
    from retraining.validation.resemblance import Resemblance

TAKEN = (
    *("preset", "model", "samples", "max_new_tokens", "batch_size", "dtype", "device", "seed"),
    *("reference", "judge_url", "judge_model", "baseline"),
)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--model-phase", default="merge", choices=("merge", "merge_1b"), help="whose model is validated"
    )
    parser.add_argument("--baseline-phase", default="none", help="an earlier validation to compare with, or none")
    parser.add_argument("--checkpoint-every", type=int, default=0, help="batches between checkpoints; 0: as is due")
    add_arguments(parser, *TAKEN)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    with start_phase() as phase:
        run(phase, arguments, settings(arguments))


def run(phase: "ActivePhase", arguments: argparse.Namespace, chosen: Settings) -> None:
    """The work of the phase; nothing heavy is imported before the verdict is known."""
    import mlflow

    from retraining import chat
    from retraining.base_model import find_model, weights_digest
    from retraining.validation import results
    from retraining.validation.answering import Side, answer_all, completions_at_once, tokens_per_second
    from retraining.validation.gates import Gate, overall
    from retraining.validation.references import find_reference

    gates = [Gate(*figures) for figures in chosen.gates]
    tasks = sampled(phase.input("preflight") / "test_tasks.jsonl", chosen)
    base = json.loads((phase.input("preflight") / "base.json").read_text(encoding="utf-8"))
    baseline = find_baseline(phase, arguments.baseline_phase, chosen)
    at_once = completions_at_once(chosen, told=arguments.batch_size != AUTO)
    candidate = Side(
        find_model(str(phase.input(arguments.model_phase) / "model")), tasks, chosen.max_new_tokens, at_once
    )
    prompts = {task.id: chat.prompt_text(candidate.tokenizer, task.prompt) for task in tasks}
    reference = find_reference(chosen, tasks, prompts, base, baseline)
    sides = {"candidate": candidate}
    if reference.model is not None and (unanswered := reference.unanswered(tasks)):
        sides["reference"] = Side(reference.model, unanswered, chosen.max_new_tokens, at_once)
    judge = find_judge(chosen, tasks)
    state = {**{name: side.writing for name, side in sides.items()}, **({} if judge is None else {"judge": judge})}
    every = arguments.checkpoint_every or None
    rounds = answer_all(phase, sides, chosen, state, every)

    graded = grade_items(phase, tasks, prompts, sides, reference)
    items = decide_items(phase, graded, judge, state, rounds, every)
    judged = results.judge_items(items, gates, baseline)
    found = results.by_dataset(items)
    phase.log(results.metrics(found, judged) | {"tokens_per_second": tokens_per_second(sides)})
    verdict = overall(judged)
    resembled = (
        resemblances(phase, arguments, chosen, candidate.files, items, base, baseline) if verdict == "fail" else []
    )
    summary = {
        "verdict": verdict,
        "gates": [one.to_dict() for one in judged],
        "datasets": found,
        "reference": reference.name,
        "missing_reference": list(reference.missing),
        "baseline": baseline.name,
        "resembles": [one.to_dict() for one in resembled],
        "weights_digest": weights_digest(candidate.files.folder),
        "max_new_tokens": chosen.max_new_tokens,
        "seed": chosen.seed,
    }
    mlflow.log_table(results.table(items), "items.json")
    phase.describe(results.description(summary, judged, resembled))
    keep(phase, items, summary)
    if verdict == "fail":
        phase.quarantine(arguments.model_phase, reason_of(phase, judged, resembled))


def sampled(file: Path, chosen: Settings) -> "list[Task]":
    """The test tasks to ask, drawn by the seed from each test set. Raises PhaseError when there are none."""
    import random

    from retraining.tasks import read_tasks

    by_dataset: dict[str, list[Task]] = {}
    for task in sorted(read_tasks(file), key=lambda task: task.id):
        by_dataset.setdefault(task.dataset, []).append(task)
    tasks = []
    for dataset, known in sorted(by_dataset.items()):
        count = chosen.samples_of(dataset) or len(known)
        drawn = random.Random(f"{dataset} {chosen.seed}").sample(known, min(count, len(known)))
        tasks += sorted(drawn, key=lambda task: task.id)
    if not tasks:
        raise PhaseError(f"{file.name} of preflight holds no task, so nothing can be validated. Give it test_data.")
    return tasks


def find_baseline(phase: "ActivePhase", baseline_phase: str, chosen: Settings) -> "Baseline":
    """The results of the earlier phase, else of the file that is named, else none."""
    from retraining.validation.references import Baseline, baseline_of_file, baseline_of_phase

    if baseline_phase != "none":
        return baseline_of_phase(baseline_phase, phase.input(baseline_phase))
    return Baseline() if chosen.baseline == "none" else baseline_of_file(Path(chosen.baseline))


def grade_items(
    phase: "ActivePhase",
    tasks: "Sequence[Task]",
    prompts: Mapping[str, str],
    sides: "Mapping[str, Side]",
    reference: "Reference",
) -> "list[Item]":
    """Every task with both answers, graded."""
    from retraining.grading.objective import grade_all
    from retraining.validation.outcomes import Item

    own, other = sides["candidate"].answers(), dict(reference.answers)
    if "reference" in sides:
        other |= sides["reference"].answers()
    answered = [task for task in tasks if task.id in other]
    texts = [own[task.id].completion for task in tasks] + [other[task.id].completion for task in answered]
    asked = [*tasks, *answered]
    grades = list(phase.progress(grade_all(asked, texts), total=len(asked), description="grading"))
    items = {
        task.id: Item(task, prompts[task.id], own[task.id].completion, own[task.id].cut, graded)
        for task, graded in zip(tasks, grades, strict=False)
    }
    for task, graded in zip(answered, grades[len(tasks) :], strict=True):
        answer = other[task.id]
        items[task.id] = replace(
            items[task.id],
            reference_completion=answer.completion,
            reference_cut=answer.cut,
            reference_grade=graded,
        )
    return list(items.values())


def find_judge(chosen: Settings, tasks: "Sequence[Task]") -> "Judge | None":
    """The judge, where there is something that only a judge can decide. Raises UsageError when it is not named."""
    from retraining.grading.judge import Judge

    if not any(task.kind == "open" for task in tasks) or (chosen.judge_url == "none" and chosen.reference != "judge"):
        return None
    return Judge(chosen.judge_url, chosen.judge_model)


def decide_items(
    phase: "ActivePhase",
    items: "Sequence[Item]",
    judge: "Judge | None",
    state: Mapping[str, Any],
    rounds: int,
    every: int | None,
) -> "list[Item]":
    """The items with their outcomes. What a judge has said is saved now and then, and when it fails, and not asked for
    again.
    """
    from retraining.validation.outcomes import decide

    if judge is None:
        return decide(phase.progress(items, description="comparing"))
    step = rounds

    def asked(*pair: Any) -> "Verdict":
        nonlocal step
        verdict = judge(*pair)
        step += 1
        if phase.checkpoint_due(step, every=every):
            phase.checkpoint(state, step)
        return verdict

    try:
        decided = decide(phase.progress(items, description="comparing"), asked)
    except PhaseError:
        phase.checkpoint(state, step + 1)
        raise
    phase.end_of_steps()
    return decided


def resemblances(
    phase: "ActivePhase",
    arguments: argparse.Namespace,
    chosen: Settings,
    files: "ModelFiles",
    items: "Sequence[Item]",
    base: Mapping[str, Any],
    baseline: "Baseline",
) -> "list[Resemblance]":
    """Which known corruption the failing model resembles. It is loaded once more for that."""
    from mlflow_plugin.progress import report_periodically
    from retraining.validation.resemblance import look_at_all

    with report_periodically(lambda: f"{phase.name}: looking for what the bad result resembles"):
        return look_at_all(
            files,
            chosen,
            items,
            rows=phase.input("preflight") / "train.jsonl" if arguments.model_phase == "merge" else None,
            digests={
                "the base": base.get("weights_digest", ""),
                baseline.name: baseline.results.get("weights_digest", ""),
            },
        )


def reason_of(phase: "ActivePhase", judged: "Sequence[Judged]", resembled: "Sequence[Resemblance]") -> str:
    """Why the model must not be used, in a sentence."""
    failed = "; ".join(f"{one.gate.name}: {one.why}" for one in judged if one.verdict == "fail")
    like = ", ".join(one.name for one in resembled if one.resembles)
    return f"{phase.name} failed: {failed}" + (f"; it resembles: {like}" if like else "")


def keep(phase: "ActivePhase", items: "Sequence[Item]", summary: Mapping[str, Any]) -> None:
    """Declares both outputs; the same answers give the same bytes."""
    lines = "".join(json.dumps(item.row(), ensure_ascii=False) + "\n" for item in items)
    text = json.dumps(summary, indent=2, sort_keys=True) + "\n"
    phase.output("items.jsonl", lambda file: file.write_text(lines, encoding="utf-8"))
    phase.output("results.json", lambda file: file.write_text(text, encoding="utf-8"))


if __name__ == "__main__":
    main()
