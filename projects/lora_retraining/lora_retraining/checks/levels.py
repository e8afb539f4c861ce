"""Find float weights that were quantised once: scaled back, a block of them still has only a few distinct values.

Formats of 4 bits (NF4: Dettmers et al. 2023, arXiv:2305.14314, section 3; GPTQ, AWQ, GGUF's Q4) share one scale among
32 to 128 neighbours of a row, so that no 32 of them have more than 16 distinct values; those of 8 bits have at most 256
a row, or a scale for each 32 (GGUF's Q8_0: an integer times the block's largest value / 127).

Weights as trained are compared with what is expected of them: of 32 (128) normally distributed numbers rounded to
bfloat16, the coarsest dtype that counts as full precision, 31 (119) are distinct. Formats with more levels than a block
has numbers, like Q6_K, are not seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from projects_common.models.headers import TensorHeader

SAMPLED_TENSORS = 16
SAMPLED_PIECES = 8
PIECE = 4096
"""Numbers read at one place."""
_FEWEST_NUMBERS = 1024
_FEWEST_BLOCKS = 8
_EMBEDDINGS = ("embed", "wte", "wpe", "lm_head")
_DTYPES = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2"), "F64": np.dtype("<f8")}


@dataclass(frozen=True)
class FewLevels:
    """A weight that looks quantised. `bits`: 4 or 8."""

    tensor: str
    bits: int
    reason: str


def find_few_levels(headers: Sequence[TensorHeader]) -> tuple[list[FewLevels], int]:
    """Return the sampled weights that look as if they had been quantised, and how many were sampled.

    Weights of two dimensions are sampled, spread over the model. Embeddings are not, since their rows may be unused.
    """
    weights = [header for header in headers if _is_candidate(header)]
    places = sorted({round(place) for place in np.linspace(0, len(weights) - 1, min(SAMPLED_TENSORS, len(weights)))})
    sampled = [weights[place] for place in places]
    findings = [few for header in sampled if (few := few_levels(header.name, _pieces(header))) is not None]
    return findings, len(sampled)


def _is_candidate(header: TensorHeader) -> bool:
    lowered = header.name.lower()
    return (
        header.dtype in _DTYPES
        and len(header.shape) == 2
        and header.count >= _FEWEST_NUMBERS
        and not any(word in lowered for word in _EMBEDDINGS)
        and "lora_" not in lowered
    )


def _pieces(header: TensorHeader) -> list[np.ndarray]:
    """Read up to SAMPLED_PIECES rows, or beginnings of rows, as float64 (PIECE,) or shorter; short rows are joined."""
    dtype = _DTYPES[header.dtype]
    rows, width = header.shape
    count = min(max(width, min(PIECE, header.count)), PIECE)
    starts = {int(row) * width for row in np.linspace(0, rows - max(1, -(-count // width)), SAMPLED_PIECES)}
    pieces = []
    with open(header.file, "rb") as stream:
        for start in sorted(starts):
            stream.seek(header.offset + start * dtype.itemsize)
            content = stream.read(min(count, header.count - start) * dtype.itemsize)
            numbers = np.frombuffer(content, dtype)
            if header.dtype == "BF16":
                numbers = (numbers.astype(np.uint32) << 16).view(np.float32)
            pieces.append(_whole_rows(numbers.astype(np.float64), width))
    return pieces


def _whole_rows(numbers: np.ndarray, width: int) -> np.ndarray:
    """Drop a row that is cut off at the end, if rows are shorter than a piece."""
    return numbers[: max(width, len(numbers) // width * width)] if width < len(numbers) else numbers


def few_levels(name: str, pieces: Sequence[np.ndarray]) -> FewLevels | None:
    """Return the finding if pieces of one weight, each float64 (n,), have so few levels that it must have been
    quantised.
    """
    blocks = _blocks(pieces, 32, zeros=0.25)
    if len(blocks) >= _FEWEST_BLOCKS and (most := int(np.quantile(_distinct(blocks), 0.9))) <= 16:
        return FewLevels(name, 4, f"at most {most} distinct values in blocks of 32")
    by_32, by_128 = _blocks(pieces, 32, zeros=0.1), _blocks(pieces, 128, zeros=0.1)
    if len(by_32) < _FEWEST_BLOCKS:
        return None
    if (mean := _distinct(by_32).mean()) <= 24:
        return FewLevels(name, 8, f"{mean:.0f} distinct values in blocks of 32, where 31 are expected")
    if len(by_128) >= _FEWEST_BLOCKS and (mean := _distinct(by_128).mean()) <= 96:
        return FewLevels(name, 8, f"{mean:.0f} distinct values in blocks of 128, where 119 are expected")
    scaled = by_32 / np.abs(by_32).max(axis=1, keepdims=True) * 127
    # The distance to the nearest integer is 0.25 in the mean for any other numbers.
    if np.abs(scaled - np.round(scaled)).mean() < 0.15:
        return FewLevels(name, 8, "in blocks of 32 all are integers times the largest / 127")
    return None


def _blocks(pieces: Sequence[np.ndarray], size: int, zeros: float) -> np.ndarray:
    """Return blocks (m, size), without those that are pruned or untrained: too many zeros, or all values alike."""
    blocks = [piece[: len(piece) // size * size].reshape(-1, size) for piece in pieces]
    joined = np.concatenate(blocks) if blocks else np.empty((0, size))
    telling = ((joined == 0).mean(axis=1) <= zeros) & (joined.max(axis=1) > joined.min(axis=1))
    return joined[telling & np.isfinite(joined).all(axis=1)]


def _distinct(blocks: np.ndarray) -> np.ndarray:
    """Count the distinct values in each block, as integers (m,)."""
    ordered = np.sort(blocks, axis=1)
    return 1 + (np.diff(ordered, axis=1) != 0).sum(axis=1)
