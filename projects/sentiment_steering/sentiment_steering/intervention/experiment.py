"""Let the model write under every condition, and score the text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from projects_common.controls import Claim
from projects_common.files import write_json
from projects_common.loops import Progress, unshown

from sentiment_steering.intervention.completions import complete
from sentiment_steering.intervention.conditions import Condition, make_conditions
from sentiment_steering.intervention.outcomes import (
    Outcome,
    Separations,
    check_activations,
    judge,
    separations,
    steering_figures,
)
from sentiment_steering.intervention.scores import classifier_scores, read_completions, vader_scores
from sentiment_steering.operators.pair import load_operators
from sentiment_steering.settings import InterveneSettings
from sentiment_steering.states.encoded import load_states
from sentiment_steering.states.models import LanguageModel, load_model
from sentiment_steering.states.sentences import read_openings


@dataclass(frozen=True)
class Experiment:
    """Hold the result of phase 3: the outcome of each condition, the separations, the claims and the metrics."""

    openings: list[str]
    outcomes: list[Outcome]
    separations: Separations
    claims: Sequence[Claim]
    figures: Mapping[str, float]

    @classmethod
    def of(cls, openings: list[str], outcomes: list[Outcome], seed: int) -> "Experiment":
        """Measure the outcomes."""
        intervals = separations(outcomes, seed)
        return cls(
            openings, outcomes, intervals, judge(outcomes, intervals, seed), steering_figures(outcomes, intervals, seed)
        )

    def save_results(self, file: Path) -> None:
        """Write results.json: the scores of each condition."""
        write_json([outcome.document() for outcome in self.outcomes], file)

    def save_completions(self, file: Path) -> None:
        """Write completions.json: the text of each condition."""
        texts = {outcome.condition.name: outcome.texts for outcome in self.outcomes}
        write_json({"openings": self.openings, "completions": texts}, file)


def intervene(states: Path, operators: Path, settings: InterveneSettings, progress: Progress = unshown) -> Experiment:
    """Run the experiment with the states of one folder and the operators of another.

    Raises:
        PhaseError: an input is missing or damaged, or an intervention changed no hidden state.
    """
    openings = read_openings(settings.openings)
    encoded = load_states(states)
    pair = load_operators(operators)
    language_model = load_model(encoded.origin.preset, settings.device)
    conditions = make_conditions(encoded, pair, settings.strengths, settings.seed)
    outcomes = [
        run_condition(language_model, condition, openings, encoded.origin.layer, settings)
        for condition in progress(conditions, total=len(conditions), description="writing")
    ]
    check_activations(outcomes)
    return Experiment.of(openings, outcomes, settings.seed)


def run_condition(
    language_model: LanguageModel,
    condition: Condition,
    openings: Sequence[str],
    layer: int,
    settings: InterveneSettings,
) -> Outcome:
    """Complete every opening under a condition and score the text; the scoring model itself is not steered."""
    completions = complete(
        language_model, openings, settings.new_tokens, layer, condition.intervention, settings.batch_size
    )
    texts = completions.texts(language_model)
    whole = [f"{opening} {text.strip()}" for opening, text in zip(openings, texts, strict=True)]
    reading = read_completions(language_model, completions.openings, completions.written, settings.batch_size)
    scores = {"log_odds": reading.log_odds, "vader": vader_scores(whole)}
    if settings.classifier != "none":
        scores["classifier"] = classifier_scores(settings.classifier, whole, language_model.device)
    change = completions.change
    share = change.changed / max(change.tokens, 1)
    return Outcome(condition, texts, scores, reading.perplexity, change.mean, share, change.norm_error)
