"""Phase 3: the model writes while its hidden states are steered, and the sentiment of the text is measured."""

from typing import TYPE_CHECKING

from projects_common.messages import show_messages

from mlflow_plugin import start_phase
from sentiment_steering.phases.publish import publish
from sentiment_steering.settings import InterveneSettings

if TYPE_CHECKING:
    from mlflow_plugin.phase.active import ActivePhase


def main() -> None:
    settings = InterveneSettings.from_command_line(__doc__)
    with start_phase() as phase:
        show_messages("sentiment_steering")
        run(phase, settings)


def run(phase: "ActivePhase", settings: InterveneSettings) -> None:
    """Do the work of the phase. Nothing heavy is imported before the verdict is known."""
    from sentiment_steering.intervention.experiment import intervene
    from sentiment_steering.plots.intervention import draw
    from sentiment_steering.report.intervention import describe

    experiment = intervene(phase.input("phase1"), phase.input("phase2"), settings, phase.progress)
    publish(phase, experiment.figures, describe(experiment), draw(experiment))
    phase.output("results.json", experiment.save_results)
    phase.output("completions.json", experiment.save_completions)


if __name__ == "__main__":
    main()
