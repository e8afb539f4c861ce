"""What a written model must be: every tensor of the base, in the promised dtype and size, and the same tokenizer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from retraining.headers import FLOAT_BYTES, TensorHeader, read_headers


@dataclass(frozen=True)
class Verification:
    """What the files on disk say. `problems` are sentences; none when all is well."""

    parameters: int
    tensor_bytes: int
    expected_bytes: int
    dtypes: Mapping[str, int]
    problems: tuple[str, ...]

    @property
    def size_matches(self) -> bool:
        return self.tensor_bytes == self.expected_bytes


def verify(folder: Path, base: Sequence[TensorHeader], dtype: str, base_folder: Path) -> Verification:
    """Reads back the headers of a merged model and compares them with the base's; `dtype` is F32 or BF16.

    The expected size is parameters x bytes of one number, for the tensors of the base, to the byte; beyond these a
    file has its header. Raises PhaseError when a file is missing or cut short.
    """
    written = {header.name: header for header in read_headers(folder)}
    wanted = {header.name: header for header in base}
    problems = []
    for name in sorted(wanted.keys() ^ written.keys()):
        problems.append(f"{name} is {'missing' if name in wanted else 'not in the base'}")
    for name in sorted(wanted.keys() & written.keys()):
        kind = dtype if wanted[name].dtype in FLOAT_BYTES else wanted[name].dtype
        if (written[name].shape, written[name].dtype) != (wanted[name].shape, kind):
            problems.append(f"{name} is {written[name].dtype} {written[name].shape}, not {kind} {wanted[name].shape}")
    expected = sum(h.count * FLOAT_BYTES[dtype] if h.dtype in FLOAT_BYTES else h.bytes for h in base)
    problems += [f"{name} differs from the base's" for name in _differing_files(folder, base_folder)]
    dtypes: dict[str, int] = {}
    for header in written.values():
        dtypes[header.dtype] = dtypes.get(header.dtype, 0) + header.count
    tensor_bytes = sum(file.stat().st_size - _header_bytes(file) for file in {h.file for h in written.values()})
    parameters = sum(header.count for header in written.values())
    return Verification(parameters, tensor_bytes, expected, dict(sorted(dtypes.items())), tuple(problems))


def _header_bytes(file: Path) -> int:
    with open(file, "rb") as stream:
        return 8 + int.from_bytes(stream.read(8), "little")


def _differing_files(folder: Path, base_folder: Path) -> list[str]:
    return [
        file.name
        for file in tokenizer_files(base_folder)
        if not (folder / file.name).is_file() or (folder / file.name).read_bytes() != file.read_bytes()
    ]


def tokenizer_files(folder: Path) -> list[Path]:
    """The files that make up a tokenizer, with its chat template."""
    patterns = (
        *("tokenizer*", "*.jinja", "vocab.*", "merges.txt", "*.model"),
        *("special_tokens_map.json", "added_tokens.json"),
    )
    found = {file for pattern in patterns for file in folder.glob(pattern) if file.is_file()}
    return sorted(found)
