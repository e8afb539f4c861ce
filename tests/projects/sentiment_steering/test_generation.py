"""Completions: cut at token positions, the same in a batch as alone."""

import pytest

from projects.sentiment_steering.generation import complete, cut_completion
from projects.sentiment_steering.models import LanguageModel

OPENINGS = [
    "The last scene left me",
    "Compared with the book, the film is",
    "My review of this movie in one sentence: it is",
]


def test_a_completion_begins_after_the_prompt_and_ends_before_the_end_token() -> None:
    assert cut_completion([9, 9, 4, 5, 1, 6, 1], prompt_length=2, ends={1}) == [4, 5]
    assert cut_completion([9, 9, 4, 5], prompt_length=2, ends={1}) == [4, 5]
    assert cut_completion([9, 1, 1, 4], prompt_length=2, ends={1}) == []


def test_nothing_of_the_opening_leaks_into_the_completion(tiny: LanguageModel) -> None:
    # Decoded, the opening differs from what was written ("me ." for "me."), so that a cut by string length would leak.
    written = complete(tiny, OPENINGS, new_tokens=4)
    for opening, ids, completion in zip(OPENINGS, written.openings, written.written, strict=True):
        assert tiny.tokenizer(opening)["input_ids"] == ids
        assert len(completion) <= 4
    assert len(written.texts(tiny)) == 3


@pytest.mark.parametrize("batch_size", [1, 2])
def test_the_company_in_a_batch_does_not_matter(tiny: LanguageModel, batch_size: int) -> None:
    whole = complete(tiny, OPENINGS, new_tokens=6)
    assert complete(tiny, OPENINGS, new_tokens=6, batch_size=batch_size).written == whole.written
