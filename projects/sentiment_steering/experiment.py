"""Writing under a condition, and scoring what was written."""

import argparse
from collections.abc import Sequence

from projects.sentiment_steering.conditions import Condition
from projects.sentiment_steering.generation import Completions, complete
from projects.sentiment_steering.models import LanguageModel
from projects.sentiment_steering.outcomes import Outcome
from projects.sentiment_steering.sentiment import classifier_scores, read_completions, vader_scores


def run_condition(
    language_model: LanguageModel,
    condition: Condition,
    openings: Sequence[str],
    layer: int,
    arguments: argparse.Namespace,
) -> Outcome:
    """Completes every opening under the condition and scores what was written; the scorer itself is not steered."""
    written = complete(
        language_model, openings, arguments.new_tokens, layer, condition.intervention, arguments.batch_size
    )
    return _scored(language_model, condition, openings, written, arguments)


def _scored(
    language_model: LanguageModel,
    condition: Condition,
    openings: Sequence[str],
    written: Completions,
    arguments: argparse.Namespace,
) -> Outcome:
    texts = written.texts(language_model)
    whole = [f"{opening} {text.strip()}" for opening, text in zip(openings, texts, strict=True)]
    reading = read_completions(language_model, written.openings, written.written, arguments.batch_size)
    scores = {"log_odds": reading.log_odds, "vader": vader_scores(whole)}
    if arguments.classifier != "none":
        scores["classifier"] = classifier_scores(arguments.classifier, whole, language_model.device)
    change = written.change
    share = change.changed / max(change.tokens, 1)
    return Outcome(condition, texts, scores, reading.perplexity, change.mean, share, change.norm_error)
