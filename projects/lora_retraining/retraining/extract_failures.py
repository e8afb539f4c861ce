"""Lets the merged model solve tasks of train splits, and hands on those that it fails. Phase `extract_failures`."""

import argparse
import json
import os
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlflow_plugin import PhaseError, start_phase
from mlflow_plugin.progress import say
from retraining.presets import AUTO, Settings, add_arguments, settings

if TYPE_CHECKING:
    from mlflow_plugin.phase.active import ActivePhase
    from retraining.failures import Attempt
    from retraining.tasks import Task
    from retraining.validation.answering import Side

TAKEN = ("preset", "failure_tasks", "max_new_tokens", "batch_size", "dtype", "device", "seed")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
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

    from retraining import failures
    from retraining.base_model import find_model, weights_digest
    from retraining.tasks import read_tasks
    from retraining.validation.answering import Side, answer_all, completions_at_once

    known = read_tasks(phase.input("preflight") / "train_tasks.jsonl")
    tests = read_tasks(phase.input("preflight") / "test_tasks.jsonl")
    tasks, in_test_sets = failures.without_test_tasks(drawn(known, chosen), tests)
    if in_test_sets:
        say(f"{phase.name}: {len(in_test_sets)} tasks stand in a test set and are left out, such as {in_test_sets[0]}")
    if not tasks:
        raise PhaseError(
            f"{phase.name}: preflight has handed on no task of a train split that could be graded. Give it data with "
            "answers or tests, such as openai/gsm8k."
        )
    at_once = completions_at_once(chosen, told=arguments.batch_size != AUTO)
    side = Side(find_model(str(phase.input("merge") / "model")), tasks, chosen.max_new_tokens, at_once)
    answer_all(phase, {"merged": side}, chosen, {"merged": side.writing}, arguments.checkpoint_every or None)
    attempts = graded(phase, side, chosen.max_new_tokens)
    kept = failures.deduplicated([attempt for attempt in attempts if attempt.failed])
    model = weights_digest(side.files.folder)
    summary = failures.summarised(attempts, kept, in_test_sets, model)
    phase.log(
        failures=len(kept), failure_rate=summary["failed"] / len(attempts), attempted=len(attempts),
        duplicates=summary["duplicates"], undecided=summary["undecided"],
    )  # fmt: skip
    mlflow.log_table(failures.table(attempts), "items.json")
    phase.describe(failures.description(summary, chosen.max_new_tokens, os.environ["PHASE_INPUT_MERGE"]))
    if not kept:
        say(f"{phase.name}: there is nothing to train on. {failures.none_failed(summary, chosen.max_new_tokens)}")
    rows = "".join(json.dumps(failures.failure_row(attempt, model), ensure_ascii=False) + "\n" for attempt in kept)
    phase.output("combined_losses.jsonl", lambda file: file.write_text(rows, encoding="utf-8"))
    text = json.dumps(summary, indent=2, sort_keys=True) + "\n"
    phase.output("failures.json", lambda file: file.write_text(text, encoding="utf-8"))


def drawn(tasks: "Sequence[Task]", chosen: Settings) -> "list[Task]":
    """The tasks that something objective can grade; of more than `failure_tasks` that many, drawn by the seed."""
    gradable = [task for task in tasks if task.kind != "open"]
    if not chosen.failure_tasks or len(gradable) <= chosen.failure_tasks:
        return gradable
    positions = random.Random(f"failures {chosen.seed}").sample(range(len(gradable)), chosen.failure_tasks)
    return [gradable[position] for position in sorted(positions)]


def graded(phase: "ActivePhase", side: "Side", max_new_tokens: int) -> "list[Attempt]":
    """What the model wrote to each task, with its grade."""
    from retraining.failures import Attempt
    from retraining.grading.objective import grade_all

    written = side.answers()
    answers = [written[task.id] for task in side.tasks]
    grades = grade_all(side.tasks, [answer.completion for answer in answers])
    attempts = []
    for task, answer, grade in zip(
        side.tasks, answers, phase.progress(grades, total=len(answers), description="grading"), strict=True
    ):
        too_short = answer.cut and len(side.tokenizer(task.answer)["input_ids"]) >= max_new_tokens
        attempts.append(Attempt(task, answer.completion, answer.cut, grade, too_short))
    return attempts


if __name__ == "__main__":
    main()
