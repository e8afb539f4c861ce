"""Sentences: no text on both sides, none in both parts, the same draw for the same seed."""

from pathlib import Path

import pytest
from sentiment_steering.states import sentences
from sentiment_steering.states.sentences import (
    BUNDLED_OPENINGS,
    BUNDLED_PROMPTS,
    Sentences,
    load_sentences,
    read_openings,
    read_prompt_file,
    split_pairs,
)

from mlflow_plugin.errors import PhaseError


def numbered(count: int) -> Sentences:
    return Sentences([f"good {index}" for index in range(count)], [f"bad {index}" for index in range(count)])


def test_training_and_held_out_sentences_never_meet() -> None:
    texts = split_pairs(numbered(30), pairs=20, held_out=10, seed=1).texts()
    assert [len(part) for part in texts.values()] == [20, 20, 10, 10]
    assert len({text for part in texts.values() for text in part}) == 60


def test_the_seed_decides_the_draw() -> None:
    first, again, other = (split_pairs(numbered(30), 10, 5, seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_more_pairs_than_there_are_sentences_are_refused() -> None:
    with pytest.raises(PhaseError, match=r"25 training and 6 held-out pairs .* only 30"):
        split_pairs(numbered(30), 25, 6, seed=0)


def test_repeated_and_contradictory_texts_are_left_out(tmp_path: Path) -> None:
    file = tmp_path / "prompts.tsv"
    file.write_text("# notes\npositive\tfine\npositive\tfine\nnegative\tso so\npositive\tso so\n\nnegative\tpoor\n")
    assert read_prompt_file(file) == Sentences(["fine"], ["poor"])


@pytest.mark.parametrize("line", ["positive fine", "neutral\tfine", "positive\t  "])
def test_a_malformed_line_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "prompts.tsv"
    file.write_text(f"positive\tfine\n{line}\n")
    with pytest.raises(PhaseError, match="line 2"):
        read_prompt_file(file)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PhaseError, match=r"missing\.tsv"):
        read_prompt_file(tmp_path / "missing.tsv")


def test_the_bundled_files_serve_the_default_numbers_of_pairs() -> None:
    sentences = read_prompt_file(BUNDLED_PROMPTS)
    assert min(len(sentences.positive), len(sentences.negative)) >= 150
    assert len(read_openings(BUNDLED_OPENINGS)) == 16


def test_rotten_tomatoes_rows_alone_are_taken_from_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "reviews.csv"
    file.write_text("text,label,source\nfine film,1,rotten_tomatoes\npoor film,0,rotten_tomatoes\nlong one,1,imdb\n")
    monkeypatch.setattr(sentences, "packaged_file", lambda wanted: file)
    assert load_sentences("rotten_tomatoes", BUNDLED_PROMPTS) == Sentences(["fine film"], ["poor film"])
