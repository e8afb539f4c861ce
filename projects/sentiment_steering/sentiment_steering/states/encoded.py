"""Hold encoded states and their origin, and store them: tensors as safetensors, everything else as JSON."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from projects_common.files import read_json
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mlflow_plugin.errors import PhaseError
from sentiment_steering.states.encoding import Encoding

GROUPS = ("train_positive", "train_negative", "held_out_positive", "held_out_negative")


@dataclass(frozen=True)
class Origin:
    """Name the model, the layer and the pooling that states come from, and the seed of their encoding."""

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
    """Hold unit vectors (n, dimension) complex64 and lengths (n,) float32 of each group of GROUPS."""

    states: Mapping[str, Tensor]
    norms: Mapping[str, Tensor]
    origin: Origin

    def pairs(self, part: str, direction: str = "to_negative") -> tuple[Tensor, Tensor]:
        """Return (start, target) of a part, `train` or `held_out`, for the direction `to_negative` or `to_positive`."""
        positive, negative = self.states[f"{part}_positive"], self.states[f"{part}_negative"]
        return (positive, negative) if direction == "to_negative" else (negative, positive)

    def hidden(self, group: str) -> Tensor:
        """Return the hidden states (n, width) float32 that were encoded."""
        return self.origin.encoding.decode(self.states[group], self.norms[group])

    def save(self, file: Path) -> None:
        """Write unit vectors and lengths as safetensors. Equal content gives equal bytes."""
        tensors = {f"{name}.states": torch.view_as_real(self.states[name]).contiguous() for name in GROUPS}
        save_file(tensors | {f"{name}.norm": self.norms[name].contiguous() for name in GROUPS}, file)


def encode_groups(hidden: Mapping[str, Tensor], origin: Origin) -> EncodedStates:
    """Encode the hidden states (n, width) of every group. Raises PhaseError when one has no direction."""
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


def load_states(folder: Path) -> EncodedStates:
    """Read states.safetensors and states.json. Raises PhaseError when phase 1 of this version wrote neither."""
    tensors = read_tensors(folder / "states.safetensors")
    meta = read_json(folder / "states.json")
    try:
        states = {name: torch.view_as_complex(tensors[f"{name}.states"]) for name in GROUPS}
        norms = {name: tensors[f"{name}.norm"] for name in GROUPS}
        return EncodedStates(states, norms, Origin(**meta["origin"]))
    except (KeyError, TypeError) as error:
        raise unreadable(folder, "states", "phase1", error) from None


def states_document(origin: Origin, **more: Any) -> dict[str, Any]:
    """Return the content of states.json: the origin, and further facts for people."""
    return {"origin": asdict(origin), "dimension": origin.encoding.dimension, **more}


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file. Raises PhaseError when it is missing or damaged."""
    try:
        return dict(load_file(file))
    except (OSError, SafetensorError) as error:
        raise PhaseError(f"{file} cannot be read: {error}. Run the phase that writes it again.") from None


def unreadable(folder: Path, content: str, phase: str, error: Exception) -> PhaseError:
    """Return the error for outputs that another version wrote."""
    return PhaseError(f"{folder} holds no {content} that this version can read ({error}). Run {phase} again.")
