"""What the phases hand on: states and operators as safetensors, everything else as JSON. Same content, same bytes."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mlflow_plugin.errors import PhaseError
from projects.sentiment_steering.encoding import Encoding
from projects.sentiment_steering.operators import LowRankUnitary

GROUPS = ("train_positive", "train_negative", "held_out_positive", "held_out_negative")


@dataclass(frozen=True)
class Origin:
    """Where states come from: the model, the layer and pooling, and the seed of the encoding."""

    preset: str
    layer: int
    pooling: str
    width: int
    encoding_seed: int

    @property
    def encoding(self) -> Encoding:
        return Encoding(self.width, self.encoding_seed)


@dataclass(frozen=True)
class EncodedStates:
    """Unit vectors (n, dimension) complex64 and lengths (n,) float32 of each group of GROUPS, and their origin."""

    states: Mapping[str, Tensor]
    norms: Mapping[str, Tensor]
    origin: Origin

    def pairs(self, part: str, direction: str = "to_negative") -> tuple[Tensor, Tensor]:
        """(source, target) of a part, `train` or `held_out`, for the direction `to_negative` or `to_positive`."""
        positive, negative = self.states[f"{part}_positive"], self.states[f"{part}_negative"]
        return (positive, negative) if direction == "to_negative" else (negative, positive)

    def hidden(self, group: str) -> Tensor:
        """The hidden states (n, width) float32 that were encoded."""
        return self.origin.encoding.decode(self.states[group], self.norms[group])


def encode_groups(hidden: Mapping[str, Tensor], origin: Origin) -> EncodedStates:
    """Encodes the hidden states (n, width) of every group. Raises PhaseError when one has no direction."""
    encoding = origin.encoding
    try:
        encoded = {name: encoding.encode(group) for name, group in hidden.items()}
    except ValueError as error:
        raise PhaseError(f"layer {origin.layer} of {origin.preset}: {error}. Choose another layer.") from None
    return EncodedStates(
        {name: states for name, (states, _) in encoded.items()},
        {name: norm for name, (_, norm) in encoded.items()},
        origin,
    )


def save_states(encoded: EncodedStates, file: Path) -> None:
    tensors = {f"{name}.states": torch.view_as_real(encoded.states[name]).contiguous() for name in GROUPS}
    save_file(tensors | {f"{name}.norm": encoded.norms[name].contiguous() for name in GROUPS}, file)


def load_states(folder: Path) -> EncodedStates:
    """Reads states.safetensors and states.json. Raises PhaseError when either is missing or not what phase 1 writes."""
    tensors = _tensors(folder / "states.safetensors")
    meta = read_json(folder / "states.json")
    try:
        states = {name: torch.view_as_complex(tensors[f"{name}.states"]) for name in GROUPS}
        norms = {name: tensors[f"{name}.norm"] for name in GROUPS}
        return EncodedStates(states, norms, Origin(**meta["origin"]))
    except (KeyError, TypeError) as error:
        raise _foreign(folder, "states", "phase1", error) from None


def states_document(origin: Origin, **more: Any) -> dict[str, Any]:
    """The content of states.json: the origin, and further facts for people."""
    return {"origin": asdict(origin), "dimension": origin.encoding.dimension, **more}


def save_operators(to_negative: LowRankUnitary, to_positive: LowRankUnitary, file: Path) -> None:
    """Both operators, which share their basis, in float64 pairs: as exactly unitary when read as when written."""
    parts = {"basis": to_negative.basis, "to_negative": to_negative.core, "to_positive": to_positive.core}
    save_file({name: torch.view_as_real(part).contiguous() for name, part in parts.items()}, file)


def load_operators(folder: Path) -> tuple[LowRankUnitary, LowRankUnitary]:
    """The operators to negative and to positive. Raises PhaseError when the file is not there or not phase 2's."""
    tensors = _tensors(folder / "operators.safetensors")
    try:
        basis, *cores = (torch.view_as_complex(tensors[name]) for name in ("basis", "to_negative", "to_positive"))
    except KeyError as error:
        raise _foreign(folder, "operators", "phase2", error) from None
    return LowRankUnitary(basis, cores[0]), LowRankUnitary(basis, cores[1])


def write_json(document: Any, file: Path) -> None:
    file.write_text(json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(file: Path) -> Any:
    """Raises PhaseError when the file is missing or no JSON."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PhaseError(f"{file} cannot be read: {error}. Run the phase that writes it again.") from None


def _tensors(file: Path) -> dict[str, Tensor]:
    try:
        return dict(load_file(file))
    except (OSError, SafetensorError) as error:
        raise PhaseError(f"{file} cannot be read: {error}. Run the phase that writes it again.") from None


def _foreign(folder: Path, what: str, phase: str, error: Exception) -> PhaseError:
    return PhaseError(f"{folder} holds no {what} that this version can read ({error}). Run {phase} again.")
