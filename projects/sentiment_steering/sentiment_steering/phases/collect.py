"""Phase 1: hidden states of labelled sentences, at a layer where sentiment can be read, as complex unit vectors."""

from typing import TYPE_CHECKING

from projects_common.messages import show_messages

from mlflow_plugin import start_phase
from sentiment_steering.phases.publish import publish
from sentiment_steering.settings import CollectSettings

if TYPE_CHECKING:
    from mlflow_plugin.phase.active import ActivePhase


def main() -> None:
    settings = CollectSettings.from_command_line(__doc__)
    with start_phase() as phase:
        show_messages("sentiment_steering")
        run(phase, settings)


def run(phase: "ActivePhase", settings: CollectSettings) -> None:
    """Do the work of the phase. Nothing heavy is imported before the verdict is known."""
    from sentiment_steering.plots.collection import draw
    from sentiment_steering.report.collection import describe
    from sentiment_steering.states.collection import collect

    collected = collect(settings, phase.progress)
    publish(phase, collected.figures, describe(collected), draw(collected))
    phase.output("states.safetensors", collected.encoded.save)
    phase.output("states.json", collected.save_document)
    phase.output("sentences.json", collected.save_sentences)


if __name__ == "__main__":
    main()
