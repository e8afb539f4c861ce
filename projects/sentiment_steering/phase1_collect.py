"""Phase 1: hidden states of labelled sentences, at a layer where sentiment shows, as complex unit vectors."""

import argparse
from pathlib import Path
from typing import Any

from mlflow_plugin import start_phase


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--preset", default="smollm2", help="tiny, smollm2, gpt2, qwen2.5-3b, qwen2.5-7b, Hub id or folder"
    )
    parser.add_argument("--data", default="auto", help="auto, rotten_tomatoes, or prompts for the file")
    parser.add_argument("--prompts", type=Path, default=Path("projects/sentiment_steering/prompts.tsv"))
    parser.add_argument("--pairs", type=int, default=100, help="training pairs")
    parser.add_argument("--held-out", type=int, default=50, help="held-out pairs")
    parser.add_argument("--layer", default="auto", help="auto, or a number from 0")
    parser.add_argument("--pooling", default="last", choices=("last", "mean"))
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
    from projects.sentiment_steering.collection import collect_groups, pick_layer
    from projects.sentiment_steering.data import load_sentences, split_pairs
    from projects.sentiment_steering.models import load_model
    from projects.sentiment_steering.storage import Origin, encode_groups, save_states, states_document, write_json

    sentences = load_sentences(arguments.data, arguments.prompts, arguments.preset)
    split = split_pairs(sentences, arguments.pairs, arguments.held_out, arguments.seed)
    language_model = load_model(arguments.preset, arguments.device)
    layers, groups = collect_groups(language_model, split, arguments, phase.progress)
    choice = pick_layer(layers, groups, arguments.seed)
    chosen = {name: states[layers.index(choice.layer)] for name, states in groups.items()}
    origin = Origin(arguments.preset, choice.layer, arguments.pooling, language_model.width, arguments.seed)
    encoded = encode_groups(chosen, origin)
    describe(phase, encoded, chosen, layers, choice)
    phase.output("states.safetensors", lambda file: save_states(encoded, file))
    document = states_document(origin, layers=layers, layer_accuracies=choice.accuracies)
    phase.output("states.json", lambda file: write_json(document, file))
    phase.output("sentences.json", lambda file: write_json(split.texts(), file))


def describe(phase: Any, encoded: Any, chosen: Any, layers: Any, choice: Any) -> None:
    """Logs the figures of the phase, its plots and its description."""
    import mlflow

    from projects.sentiment_steering import plots, report
    from projects.sentiment_steering.collection import state_figures

    figures = state_figures(encoded, chosen, choice)
    phase.log(**figures)
    mlflow.log_figure(plots.layer_accuracy(layers, choice), "plots/layers.png")
    mlflow.log_figure(plots.state_map(chosen), "plots/states.png")
    phase.describe(
        report.phase1(encoded.origin, figures, {name: len(part) for name, part in chosen.items()}, len(layers))
    )


if __name__ == "__main__":
    main()
