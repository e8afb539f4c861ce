"""Completions: cut at token positions, the same in a batch as alone."""

import pytest
from sentiment_steering.intervention.completions import complete
from sentiment_steering.states.models import LanguageModel

OPENINGS = [
    "The last scene left me",
    "Compared with the book, the film is",
    "My review of this movie in one sentence: it is",
]


def test_a_completion_ends_before_the_end_token(tiny: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = complete(tiny, OPENINGS[:1], new_tokens=6).written[0]
    monkeypatch.setattr(tiny.model.generation_config, "eos_token_id", whole[3])
    assert complete(tiny, OPENINGS[:1], new_tokens=6).written[0] == whole[: whole.index(whole[3])]


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
