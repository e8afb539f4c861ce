"""Scores: signs, agreement of batch and single, and the labels that a classifier must have."""

import math
from pathlib import Path

import pytest
import torch
from sentiment_steering.intervention.scores import classifier_scores, label_tokens, read_completions, vader_scores
from sentiment_steering.states.models import LanguageModel
from transformers import BertConfig, BertForSequenceClassification

from mlflow_plugin.errors import PhaseError


def tokens(tiny: LanguageModel, *texts: str) -> list[list[int]]:
    return [tiny.tokenizer(text)["input_ids"] for text in texts]


def test_vader_tells_praise_from_blame() -> None:
    praise, blame, nothing = vader_scores(["a superb, delightful film", "a dreadful, boring mess", "the door is brown"])
    assert praise > 0.5
    assert blame < -0.5
    assert nothing == 0


def test_log_odds_follow_the_sentiment_of_what_was_written(tiny: LanguageModel) -> None:
    openings = tokens(tiny, "The script is", "The script is")
    reading = read_completions(tiny, openings, tokens(tiny, "superb superb superb", "dull dull dull"))
    assert reading.log_odds[0] > reading.log_odds[1]


def test_a_batch_reads_as_single_texts_do(tiny: LanguageModel) -> None:
    openings = tokens(tiny, "The script is", "After two hours in the cinema, I left feeling", "it")
    written = tokens(tiny, "dull", "warm and joyful", "is a charming picture")
    together = read_completions(tiny, openings, written, batch_size=3)
    alone = read_completions(tiny, openings, written, batch_size=1)
    assert together.log_odds == pytest.approx(alone.log_odds, abs=1e-4)
    assert together.perplexity == pytest.approx(alone.perplexity, rel=1e-4)


def test_perplexity_counts_the_completion_and_nothing_else(tiny: LanguageModel) -> None:
    opening, completion = tokens(tiny, "The script is", "dull and lazy")
    with torch.inference_mode():
        chances = tiny.model(torch.tensor([opening + completion])).logits[0].log_softmax(-1)
    surprise = [-float(chances[len(opening) - 1 + place, token]) for place, token in enumerate(completion)]
    reading = read_completions(tiny, [opening], [completion])
    assert reading.perplexity == pytest.approx([math.exp(sum(surprise) / len(surprise))], rel=1e-4)


def test_an_empty_completion_is_read_too(tiny: LanguageModel) -> None:
    reading = read_completions(tiny, tokens(tiny, "The script is"), [[]])
    assert reading.perplexity == [1.0]
    assert math.isfinite(reading.log_odds[0])


def test_praise_and_blame_are_told_apart_by_their_first_tokens(tiny: LanguageModel) -> None:
    praise, blame = label_tokens(tiny)
    assert tiny.tokenizer.convert_ids_to_tokens([praise, blame]) == ["good", "bad"]


def save_classifier(folder: Path, tiny: LanguageModel, labels: dict[int, str]) -> str:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tiny.tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        id2label=labels,
        label2id={label: index for index, label in labels.items()},
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    tiny.tokenizer.save_pretrained(folder)
    return str(folder)


def test_a_classifier_scores_by_its_own_labels(tiny: LanguageModel, tmp_path: Path) -> None:
    texts = ["a superb film", "a dull film"]
    usual = save_classifier(tmp_path / "usual", tiny, {0: "NEGATIVE", 1: "POSITIVE"})
    swapped = save_classifier(tmp_path / "swapped", tiny, {0: "positive", 1: "negative"})
    scores = classifier_scores(usual, texts, torch.device("cpu"))
    assert all(-1 <= score <= 1 for score in scores)
    assert classifier_scores(swapped, texts, torch.device("cpu")) == pytest.approx([-score for score in scores])


def test_a_classifier_without_telling_labels_or_without_files_is_refused(tiny: LanguageModel, tmp_path: Path) -> None:
    silent = save_classifier(tmp_path / "silent", tiny, {0: "LABEL_0", 1: "LABEL_1"})
    with pytest.raises(PhaseError, match="label_0, label_1"):
        classifier_scores(silent, ["fine"], torch.device("cpu"))
    with pytest.raises(PhaseError, match="cannot be loaded"):
        classifier_scores(str(tmp_path / "nothing"), ["fine"], torch.device("cpu"))
