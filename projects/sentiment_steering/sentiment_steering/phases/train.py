"""Phase 2: two unitary operators, from positive to negative states and back, judged on held-out pairs."""

from typing import TYPE_CHECKING

from projects_common.messages import show_messages

from mlflow_plugin import start_phase
from sentiment_steering.phases.publish import publish
from sentiment_steering.settings import TrainSettings

if TYPE_CHECKING:
    from mlflow_plugin.phase.active import ActivePhase


def main() -> None:
    settings = TrainSettings.from_command_line(__doc__)
    with start_phase() as phase:
        show_messages("sentiment_steering")
        run(phase, settings)


def run(phase: "ActivePhase", settings: TrainSettings) -> None:
    """Do the work of the phase. Nothing heavy is imported before the verdict is known."""
    from sentiment_steering.operators.training import train
    from sentiment_steering.plots.training import draw
    from sentiment_steering.report.training import describe

    trained = train(phase.input("phase1"), settings, loop=phase)
    publish(phase, trained.figures, describe(trained), draw(trained))
    phase.output("operators.safetensors", trained.operators.save)


if __name__ == "__main__":
    main()
