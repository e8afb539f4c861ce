"""Phase 3: the model writes while its hidden states are steered, and the sentiment of what it writes is measured."""

import argparse
from pathlib import Path
from typing import Any

from mlflow_plugin import start_phase


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strengths", default="0,2,6", help="powers of the operator, 0 among them")
    parser.add_argument("--openings", type=Path, default=Path("projects/sentiment_steering/openings.txt"))
    parser.add_argument("--new-tokens", type=int, default=24)
    parser.add_argument(
        "--classifier", default="none", help="a text classifier of the Hub or a folder, for a third score"
    )
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    with start_phase() as phase:
        run(phase, arguments)


def run(phase: Any, arguments: argparse.Namespace) -> None:
    """The work of the phase; nothing heavy is imported before the verdict is known."""
    from projects.sentiment_steering.conditions import make_conditions, parse_strengths
    from projects.sentiment_steering.data import read_openings
    from projects.sentiment_steering.experiment import run_condition
    from projects.sentiment_steering.models import load_model
    from projects.sentiment_steering.outcomes import check_activations
    from projects.sentiment_steering.storage import load_operators, load_states, write_json

    strengths = parse_strengths(arguments.strengths)
    openings = read_openings(arguments.openings)
    encoded = load_states(phase.input("phase1"))
    operators = load_operators(phase.input("phase2"))
    language_model = load_model(encoded.origin.preset, arguments.device)
    conditions = make_conditions(encoded, operators, strengths, arguments.seed)
    outcomes = [
        run_condition(language_model, condition, openings, encoded.origin.layer, arguments)
        for condition in phase.progress(conditions, total=len(conditions), description="writing")
    ]
    check_activations(outcomes)
    describe(phase, outcomes, openings, arguments.seed)
    phase.output("results.json", lambda file: write_json([outcome.document() for outcome in outcomes], file))
    texts = {outcome.condition.name: outcome.texts for outcome in outcomes}
    phase.output("completions.json", lambda file: write_json({"openings": openings, "completions": texts}, file))


def describe(phase: Any, outcomes: Any, openings: list[str], seed: int) -> None:
    """Logs the figures of the phase, its plots and its description."""
    import mlflow

    from projects.sentiment_steering import plots, report
    from projects.sentiment_steering.outcomes import separations, steering_figures

    figures = steering_figures(outcomes, seed)
    phase.log(figures)
    found = separations(outcomes, seed)
    mlflow.log_figure(plots.separation_by_strength(found), "plots/separation.png")
    mlflow.log_figure(plots.scores_and_fluency(outcomes), "plots/fluency.png")
    phase.describe(report.phase3(outcomes, openings, found, figures))


if __name__ == "__main__":
    main()
