"""Form batches of rows of tokens: several rows in one sequence, or rows of like length side by side."""

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from transformers.trainer_pt_utils import LengthGroupedSampler

from lora_retraining.data.chat import IGNORED, Row


def pack(rows: Sequence[Row], max_length: int) -> list[dict[str, list[int]]]:
    """Join the rows to sequences of at most `max_length` tokens, each row into the fullest that still has room.

    Best-fit decreasing needs at most 11/9 of the fewest sequences possible plus one (Johnson 1973). `position_ids`
    start from 0 with each row: by them attention tells one row from the next.
    """
    open_by_room: dict[int, list[list[Row]]] = {}
    rooms: list[int] = []  # The keys of `open_by_room`, sorted.
    packed: list[list[Row]] = []
    for row in sorted(rows, key=lambda row: -len(row["input_ids"])):
        length = len(row["input_ids"])
        place = bisect_left(rooms, length)
        if place == len(rooms):
            sequence: list[Row] = []
            packed.append(sequence)
            room = max_length
        else:
            room = rooms[place]
            sequence = open_by_room[room].pop()
            if not open_by_room[room]:
                del open_by_room[room], rooms[place]
        sequence.append(row)
        if (left := room - length) > 0:
            if left not in open_by_room:
                insort(rooms, left)
            open_by_room.setdefault(left, []).append(sequence)
    return [_joined(sequence) for sequence in packed]


def _joined(rows: Iterable[Row]) -> dict[str, list[int]]:
    joined: dict[str, list[int]] = {"input_ids": [], "labels": [], "position_ids": []}
    for row in rows:
        joined["input_ids"] += row["input_ids"]
        # Nothing predicts a row's first token: before it stands the end of another row.
        joined["labels"] += [IGNORED, *row["labels"][1:]]
        joined["position_ids"] += range(len(row["input_ids"]))
    return joined


def collate(rows: Sequence[Row], padding: int) -> dict[str, torch.Tensor]:
    """Return a batch of int64 tensors of shape (rows, longest), padded at the end, where nothing is learnt.

    Packed rows get no attention mask: transformers keeps rows apart by their positions only without one
    (`masking_utils.find_packed_sequence_indices`), and padding is one more row to it.
    """
    longest = max(len(row["input_ids"]) for row in rows)
    fill = {"input_ids": padding, "labels": IGNORED}
    batch = {
        name: torch.tensor([[*row[name], *[value] * (longest - len(row[name]))] for row in rows])
        for name, value in fill.items()
    }
    lengths = [len(row["input_ids"]) for row in rows]
    if "position_ids" in rows[0]:
        batch["position_ids"] = torch.tensor(
            [[*row["position_ids"], *range(longest - length)] for row, length in zip(rows, lengths, strict=True)]
        )
    else:
        batch["attention_mask"] = torch.tensor([[1] * length + [0] * (longest - length) for length in lengths])
    return batch


class ShuffledGroups(LengthGroupedSampler):
    """Rows of like length in one batch, the batches in random order.

    transformers' own order goes from the longest rows of 50 batches to the shortest, again and again: what is learnt
    from one kind of rows is half forgotten at the other. The first batch stays first: it has the longest row, so too
    little memory shows at once. `batch_size` counts the rows of one step.
    """

    def __iter__(self) -> Iterator[int]:
        indices = list(super().__iter__())
        batches = [indices[start : start + self.batch_size] for start in range(0, len(indices), self.batch_size)]
        between = batches[1:-1]  # The last may be smaller, and stays last, or it would shift all behind it.
        order = torch.randperm(len(between), generator=self.generator).tolist()
        shuffled = [*batches[:1], *(between[place] for place in order), *batches[1:][-1:]]
        return iter([index for batch in shuffled for index in batch])


def keeps_rows_apart(model: Any, device: torch.device) -> bool:
    """Tell if this model's attention sees nothing of the rows before in a packed sequence.

    Two sequences of two rows differ in their first row: the logits of the second must be the same to the bit.
    """

    def logits_behind(first: list[int]) -> torch.Tensor:
        rows = [{"input_ids": ids, "labels": ids} for ids in (first, [3, 1, 2, 1, 3])]
        batch = collate([_joined(rows)], 0)
        del batch["labels"]
        seen: torch.Tensor = model(**{name: tensor.to(device) for name, tensor in batch.items()}).logits
        return seen[:, len(first) :]

    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            return torch.equal(logits_behind([1, 2, 3, 4]), logits_behind([9, 8, 7, 6]))
    finally:
        model.train(training)
