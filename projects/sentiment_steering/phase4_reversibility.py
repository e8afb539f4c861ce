"""Phase 4: whether the second operator undoes the first, on states that neither was trained on."""

import argparse
from typing import Any

from mlflow_plugin import start_phase


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    with start_phase() as phase:
        run(phase, arguments)


def run(phase: Any, arguments: argparse.Namespace) -> None:
    """The work of the phase; nothing heavy is imported before the verdict is known."""
    from projects.sentiment_steering.reversibility import (
        measure_round_trips,
        reversibility_document,
        reversibility_figures,
    )
    from projects.sentiment_steering.storage import load_operators, load_states, write_json

    encoded = load_states(phase.input("phase1"))
    trips = measure_round_trips(load_operators(phase.input("phase2")), encoded)
    figures = reversibility_figures(trips, arguments.seed)
    phase.log(**figures)
    describe(phase, trips, figures)
    phase.output("reversibility.json", lambda file: write_json(reversibility_document(trips, figures), file))


def describe(phase: Any, trips: Any, figures: Any) -> None:
    """Plots and the description of the run."""
    import mlflow

    from projects.sentiment_steering import plots, report

    mlflow.log_figure(plots.round_trips(trips), "plots/round_trips.png")
    phase.describe(report.phase4(figures))


if __name__ == "__main__":
    main()
