"""Phase 2: two unitary operators, from positive to negative states and back, judged on held-out pairs."""

import argparse
from typing import Any

from mlflow_plugin import start_phase


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--method", default="procrustes", choices=("procrustes", "cayley"))
    parser.add_argument("--epochs", type=int, default=100, help="gradient steps of the Cayley method")
    parser.add_argument("--learning-rate", type=float, default=0.01, help="of the Cayley method")
    parser.add_argument("--mu", default="auto", help="pull towards the identity: auto (cross-validated), or a number")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    with start_phase() as phase:
        run(phase, arguments)


def run(phase: Any, arguments: argparse.Namespace) -> None:
    """The work of the phase; nothing heavy is imported before the verdict is known."""
    from projects.sentiment_steering.storage import load_states, save_operators
    from projects.sentiment_steering.training import operator_figures, train

    encoded = load_states(phase.input("phase1"))
    trained = train(encoded, arguments, phase)
    figures, fidelities = operator_figures(trained, encoded, arguments.seed)
    phase.log(**figures)
    describe(phase, arguments, trained, figures, fidelities)
    phase.output("operators.safetensors", lambda file: save_operators(trained.to_negative, trained.to_positive, file))


def describe(phase: Any, arguments: argparse.Namespace, trained: Any, figures: Any, fidelities: Any) -> None:
    """Plots and the description of the run."""
    import mlflow

    from projects.sentiment_steering import plots, report

    mlflow.log_figure(plots.held_out_fidelities(fidelities), "plots/fidelity.png")
    mlflow.log_figure(plots.rotation_angles(trained.to_negative), "plots/angles.png")
    if trained.validation:
        mlflow.log_figure(plots.cross_validation(trained.validation, trained.mu), "plots/mu.png")
    mlflow.log_figure(plots.training_course(trained.course), "plots/course.png")
    phase.describe(report.phase2(arguments.method, trained.mu, figures))


if __name__ == "__main__":
    main()
