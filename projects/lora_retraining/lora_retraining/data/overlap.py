"""Find test tasks in training data, word for word or nearly, so that no test set becomes training data.

A text is compared as the set of its shingles: runs of three words, case and punctuation dropped, every number read as
the same, since a problem with other numbers is still the same problem. How much of a test text stands in a training
text is Broder's containment (On the resemblance and containment of documents, 1997), so that it is found inside a
longer text too. Each shingle counts by how rare it is among the test texts (inverse document frequency, Spärck Jones
1972): what all tasks of a set begin with tells nothing.

The threshold: a problem of GSM8K with three of its 45 words replaced is found in 88 of 100 cases, two in 97; of its
1,319 test problems one pair, on the same lockers, is taken for each other. MBPP's train split holds 14 pairs with its
test split, apart by a word or by their numbers; "first" for "last occurrence" stays below. Lee et al. (Deduplicating
training data makes language models better, 2022) compare whole documents by 5-word shingles; problems of some 15 words
need shorter ones.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from mlflow_plugin.progress import progress

SHINGLE = 3
"""Words in a shingle."""
NEAR = 0.7
"""From this weighted containment on a training text is called near to a test text."""

_WORD = re.compile(r"\d[\d,.]*|\w+")
Shingles = set[tuple[str, ...]]


@dataclass(frozen=True)
class Overlap:
    """A training text that holds a test text. `similarity` is the weighted containment, 0 to 1; 1 if it is exact."""

    train_id: str
    test_id: str
    kind: Literal["exact", "near"]
    similarity: float


def find_overlap(train_texts: Mapping[str, str], test_texts: Mapping[str, str]) -> list[Overlap]:
    """Return every pair of a training text and a test text that are the same or nearly so, in the order of
    `train_texts`.

    Only the test texts are indexed: memory grows with their size, time with that of the training texts. One core
    compares some 8,000 texts of 90 words a second with 2,300 test texts. Scripts that put no space between words are
    compared word for word only.
    """
    index = _Index(test_texts)
    overlaps: list[Overlap] = []
    for train_id, text in progress(
        train_texts.items(), len(train_texts), "looking for test tasks in the training data"
    ):
        overlaps += [Overlap(train_id, *match) for match in index.matches(text)]
    return overlaps


class _Index:
    """The test texts by their words and by their rarest shingles."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._ids = list(texts)
        self._exact: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
        self._shingles: list[Shingles] = []
        for number, text in enumerate(texts.values()):
            words = _words(text)
            self._exact[tuple(words)].append(number)
            self._shingles.append(_shingles(words))
        texts_with = Counter(shingle for shingles in self._shingles for shingle in shingles)
        self._weight = {shingle: math.log(1 + len(texts) / count) for shingle, count in texts_with.items()}
        self._total = [self._weigh(shingles) for shingles in self._shingles]
        self._candidates: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
        for number in range(len(self._ids)):
            for shingle in self._telling(number):
                self._candidates[shingle].append(number)

    def matches(self, text: str) -> list[tuple[str, Literal["exact", "near"], float]]:
        """Return (test id, kind, similarity) of every test text that this training text holds."""
        words = _words(text)
        exact = self._exact.get(tuple(words), [])
        overlaps: list[tuple[str, Literal["exact", "near"], float]] = [(self._ids[n], "exact", 1.0) for n in exact]
        shingles = _shingles(words)
        candidates = {number for shingle in shingles for number in self._candidates.get(shingle, ())}
        for number in sorted(candidates.difference(exact)):
            similarity = self._weigh(shingles & self._shingles[number]) / self._total[number]
            if similarity >= NEAR:
                overlaps.append((self._ids[number], "near", min(1.0, similarity)))
        return overlaps

    def _weigh(self, shingles: Shingles) -> float:
        return sum(self._weight[shingle] for shingle in shingles)

    def _telling(self, number: int) -> Iterator[tuple[str, ...]]:
        """Yield the rarest shingles of a test text, so many that a text with none of them cannot be near.

        Prefix filtering (Chaudhuri et al., A primitive operator for similarity joins, 2006): what all tasks of a set
        share never makes a candidate.
        """
        left = self._total[number]
        for shingle in sorted(self._shingles[number], key=lambda shingle: (-self._weight[shingle], shingle)):
            if left < NEAR * self._total[number]:
                return
            yield shingle
            left -= self._weight[shingle]


def _words(text: str) -> list[str]:
    """Return words and numbers in lower case; a number with its separators (1,200.50) is one."""
    return [word.rstrip(",.") for word in _WORD.findall(text.casefold())]


def _shingles(words: list[str]) -> Shingles:
    masked = ["0" if word[0].isdecimal() else word for word in words]
    if len(masked) < SHINGLE:
        return {tuple(masked)} if masked else set()
    return set(zip(*(masked[start:] for start in range(SHINGLE)), strict=False))
