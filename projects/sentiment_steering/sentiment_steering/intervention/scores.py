"""Score the sentiment of texts in three ways, positive for praise and negative for blame, and their fluency."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mlflow_plugin.errors import PhaseError
from sentiment_steering.states.models import LanguageModel
from sentiment_steering.states.sentences import READING_SUFFIX

PRAISE, BLAME = " good", " bad"


@dataclass(frozen=True)
class Reading:
    """Hold the unsteered model's log P(good) - log P(bad) after each text, and the perplexity of its completion."""

    log_odds: list[float]
    perplexity: list[float]


@torch.inference_mode()
def read_completions(
    language_model: LanguageModel,
    openings: Sequence[Sequence[int]],
    written: Sequence[Sequence[int]],
    batch_size: int = 16,
) -> Reading:
    """Return both measures from one pass over opening + completion + READING_SUFFIX, all as token ids.

    The perplexity of an empty completion is 1.
    """
    suffix = language_model.tokenizer(READING_SUFFIX, add_special_tokens=False)["input_ids"]
    praise, blame = label_tokens(language_model)
    log_odds: list[float] = []
    perplexity: list[float] = []
    for start in range(0, len(openings), batch_size):
        rows = [(list(opening), list(completion)) for opening, completion in zip(openings, written, strict=True)][
            start : start + batch_size
        ]
        logits, lengths = _logits(language_model, [opening + completion + suffix for opening, completion in rows])
        for row, (opening, completion) in enumerate(rows):
            judgement = logits[row, lengths[row] - 1]
            log_odds.append(float(judgement[praise] - judgement[blame]))
            predicted = logits[row, len(opening) - 1 : len(opening) + len(completion) - 1]
            perplexity.append(_perplexity(predicted, completion))
    return Reading(log_odds, perplexity)


def label_tokens(language_model: LanguageModel) -> tuple[int, int]:
    """Return the first tokens of PRAISE and BLAME. Raises PhaseError when the tokenizer does not tell them apart."""
    praise, blame = (
        language_model.tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in (PRAISE, BLAME)
    )
    if praise == blame:
        raise PhaseError(f"the tokenizer begins {PRAISE!r} and {BLAME!r} with the same token; log-odds cannot be read.")
    return praise, blame


def vader_scores(texts: Sequence[str]) -> list[float]:
    """Return the compound scores of the VADER lexicon (Hutto and Gilbert 2014), -1 to 1."""
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    analyzer = SentimentIntensityAnalyzer()
    return [float(analyzer.polarity_scores(text)["compound"]) for text in texts]


def classifier_scores(name: str, texts: Sequence[str], device: torch.device) -> list[float]:
    """Return P(positive) - P(negative) by a text classifier from the Hub or a folder.

    Raises:
        PhaseError: it cannot be loaded, or it has no labels `positive` and `negative`.
    """
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
        model = AutoModelForSequenceClassification.from_pretrained(name, use_safetensors=True).to(device).eval()
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise PhaseError(
            f"the classifier {name!r} cannot be loaded: {reason} Give a Hub id, a folder, or none."
        ) from None
    labels = {str(label).lower(): index for index, label in model.config.id2label.items()}
    positive = next((index for label, index in labels.items() if label.startswith("pos")), None)
    negative = next((index for label, index in labels.items() if label.startswith("neg")), None)
    if positive is None or negative is None:
        raise PhaseError(
            f"the classifier {name!r} has the labels {', '.join(labels)}; it needs `positive` and `negative`."
        )
    scores = []
    for text in texts:
        batch = tokenizer(text or " ", truncation=True, return_tensors="pt").to(device)
        with torch.inference_mode():
            probabilities = model(**batch).logits[0].float().softmax(-1)
        scores.append(float(probabilities[positive] - probabilities[negative]))
    return scores


def _logits(language_model: LanguageModel, tokens: list[list[int]]) -> tuple[Tensor, list[int]]:
    padded = language_model.tokenizer.pad({"input_ids": tokens}, padding_side="right", return_tensors="pt")
    batch = padded.to(language_model.device)
    output = language_model.model(**{name: batch[name] for name in ("input_ids", "attention_mask")}, use_cache=False)
    return output.logits, [len(row) for row in tokens]


def _perplexity(logits: Tensor, completion: list[int]) -> float:
    if not completion:
        return 1.0
    chosen = torch.tensor(completion, device=logits.device)
    return float(torch.nn.functional.cross_entropy(logits.float(), chosen).exp())
