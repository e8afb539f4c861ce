"""Phase 4: the second operator against the first, there and back, on states that neither was trained on."""

from typing import TYPE_CHECKING

from projects_common.messages import show_messages

from mlflow_plugin import start_phase
from sentiment_steering.phases.publish import publish
from sentiment_steering.settings import ReversibilitySettings

if TYPE_CHECKING:
    from mlflow_plugin.phase.active import ActivePhase


def main() -> None:
    settings = ReversibilitySettings.from_command_line(__doc__)
    with start_phase() as phase:
        show_messages("sentiment_steering")
        run(phase, settings)


def run(phase: "ActivePhase", settings: ReversibilitySettings) -> None:
    """Do the work of the phase. Nothing heavy is imported before the verdict is known."""
    from sentiment_steering.operators.reversibility import measure
    from sentiment_steering.plots.reversibility import draw
    from sentiment_steering.report.reversibility import describe

    reversibility = measure(phase.input("phase1"), phase.input("phase2"), settings)
    publish(phase, reversibility.figures, describe(reversibility), draw(reversibility))
    phase.output("reversibility.json", reversibility.save)


if __name__ == "__main__":
    main()
