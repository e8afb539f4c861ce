"""Test tasks in training data: found when they are the same or nearly so, and nothing else."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lora_retraining.data.overlap import NEAR, Overlap, find_overlap

BAKER = (
    "A baker sells 12 loaves each morning at 3 dollars a loaf and 8 cakes each afternoon at 15 dollars a cake. Flour "
    "costs her 20 dollars a day and the rent of her stall is 35 dollars. How much does the baker earn in 6 days?"
)
TRAIN = (
    "A train leaves the harbour at noon and travels 80 miles an hour. Another one follows two hours later and is "
    "faster by 20 miles an hour. After how many hours has the second train caught up with the first?"
)
TESTS = {"test/baker": BAKER, "test/train": TRAIN}


def kinds(text: str, tests: dict[str, str] = TESTS) -> dict[str, str]:
    return {overlap.test_id: overlap.kind for overlap in find_overlap({"row": text}, tests)}


@pytest.mark.parametrize("text", [BAKER, BAKER.upper(), BAKER.replace(".", " !").replace("\n", " "), f"  {BAKER}\n"])
def test_the_same_words_are_exact_whatever_their_case_and_punctuation(text: str) -> None:
    assert find_overlap({"row": text}, TESTS) == [Overlap("row", "test/baker", "exact", 1.0)]


@pytest.mark.parametrize(
    "text",
    [
        BAKER.replace("12", "17").replace("15", "1,150.50").replace("6", "9"),
        BAKER.replace("baker", "grocer", 1).replace("stall", "shop"),
        f"Answer in one number. {BAKER} Think step by step.",
        BAKER.partition(" and the rent")[0] + ". How much does the baker earn in 6 days?",
    ],
    ids=["other numbers", "a few other words", "inside a longer text", "a clause less"],
)
def test_nearly_the_same_is_near(text: str) -> None:
    assert kinds(text) == {"test/baker": "near"}


@pytest.mark.parametrize(
    "text",
    [
        "A gardener sells 12 roses each morning at 3 dollars a rose. How much does the gardener earn in 6 days?",
        "How much does the baker earn in 6 days?",
        "",
        "!!!",
        "Bake.",
    ],
)
def test_other_questions_are_neither(text: str) -> None:
    assert kinds(text) == {}


def test_what_all_tasks_of_a_set_begin_with_counts_for_little() -> None:
    frame = "You are an expert Python programmer, and here is your task: Write a function to {}. Test it well, please."
    things = (
        "sort a heap",
        "reverse a string",
        "add two matrices",
        "count vowels",
        "find the median",
        "merge two lists",
    )
    tests = {thing: frame.format(thing) for thing in things}
    assert kinds(frame.format("rotate an image"), tests) == {}
    assert kinds(frame.format("sort a heap quickly"), tests) == {"sort a heap": "near"}


def test_every_pair_is_listed_in_the_order_of_the_training_texts() -> None:
    rows = {"b": f"{TRAIN} {BAKER}", "a": TRAIN, "c": "nothing of the kind"}
    found = [(overlap.train_id, overlap.test_id, overlap.kind) for overlap in find_overlap(rows, TESTS)]
    assert found == [("b", "test/baker", "near"), ("b", "test/train", "near"), ("a", "test/train", "exact")]


def test_test_texts_that_are_the_same_are_all_listed() -> None:
    assert kinds(BAKER, {"one": BAKER, "two": BAKER.lower()}) == {"one": "exact", "two": "exact"}


def test_without_texts_nothing_is_found() -> None:
    assert find_overlap({}, TESTS) == find_overlap({"row": BAKER}, {}) == []
    assert find_overlap({"row": "?"}, {"empty": ""}) == [Overlap("row", "empty", "exact", 1.0)]


WORDS = st.lists(st.sampled_from(["red", "tree", "moon", "river", "7", "12", "stone"]), max_size=12).map(" ".join)


@given(st.lists(WORDS, max_size=6), st.lists(WORDS, max_size=6))
@settings(max_examples=200, deadline=None)
def test_leaving_out_what_cannot_be_near_changes_nothing(train: list[str], test: list[str]) -> None:
    """Against the measure itself, computed for every pair."""
    rows, tests = (
        {f"{name}{place}": text for place, text in enumerate(texts)} for name, texts in (("r", train), ("t", test))
    )
    found = {(overlap.train_id, overlap.test_id): overlap.similarity for overlap in find_overlap(rows, tests)}
    expected = {(r, t) for r, text in rows.items() for t in tests if _containment(text, tests[t], test) >= NEAR}
    sure = {pair for pair in expected if _containment(rows[pair[0]], tests[pair[1]], test) > NEAR + 1e-9}
    assert sure <= found.keys()
    assert all(_containment(rows[r], tests[t], test) >= NEAR - 1e-9 for r, t in found if tests[t])


def _containment(row: str, test: str, tests: list[str]) -> float:
    from math import log

    def weight(shingle: Any) -> float:
        return log(1 + len(tests) / sum(shingle in _shingles(other) for other in tests))

    total = sum(weight(shingle) for shingle in _shingles(test))
    shared = sum(weight(shingle) for shingle in _shingles(test) & _shingles(row))
    return shared / total if total else float(row == test)


def _shingles(text: str) -> set[tuple[str, ...]]:
    words = ["0" if word.isdigit() else word for word in text.split()]
    if len(words) < 3:
        return {tuple(words)} if words else set()
    return {tuple(words[start : start + 3]) for start in range(len(words) - 2)}
