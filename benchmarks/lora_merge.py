"""Measure merging a LoRA adapter against reading and writing files of the same size, and its memory.

python -m benchmarks.lora_merge [--gigabytes 1.3] [--rounds 8]

The weights are random, bfloat16, in the shapes of an 8B Llama's layers; rank 64 on all seven projections. Both ways
read the base and write as many bytes: once from and to the page cache, once from and to the disk (the cache is emptied
before, and the writes are waited for). The logits that the phase compares afterwards are another matter: they take two
passes of a model over eight prompts.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.limits import Limit
from benchmarks.timing import Timing, heading, row, side_by_side

PROJECT = Path(__file__).resolve().parents[1] / "projects/lora_retraining"
sys.path.insert(0, str(PROJECT))

GIGABYTES, ROUNDS, RANK = 1.3, 8, 64
ALLOWED, ALLOWED_MEMORY = 1.2, 1.3
SHAPES = {
    "self_attn.q_proj": (4096, 4096),
    "self_attn.k_proj": (1024, 4096),
    "self_attn.v_proj": (1024, 4096),
    "self_attn.o_proj": (4096, 4096),
    "mlp.gate_proj": (14336, 4096),
    "mlp.up_proj": (14336, 4096),
    "mlp.down_proj": (4096, 14336),
}
_COPIED = 1 << 22


def make_base(folder: Path, gigabytes: float) -> list[Any]:
    """Write layers of random bfloat16 weights, one file each, until the size is reached; return their headers."""
    import torch
    from projects_common.models.headers import read_headers
    from safetensors.torch import save_file

    layer_bytes = 2 * sum(rows * columns for rows, columns in SHAPES.values())
    layers = max(1, round(gigabytes * 1e9 / layer_bytes))
    weight_map = {}
    for layer in range(layers):
        names = {f"model.layers.{layer}.{module}.weight": shape for module, shape in SHAPES.items()}
        file = f"model-{layer + 1:05d}-of-{layers:05d}.safetensors"
        save_file({name: 0.02 * torch.randn(shape).bfloat16() for name, shape in names.items()}, folder / file)
        weight_map |= dict.fromkeys(names, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return read_headers(folder)


def make_changes(headers: list[Any]) -> dict[str, Any]:
    """Make a random change of each weight, about a thousandth of it."""
    import torch
    from lora_retraining.merging.adapter import LowRankChange

    return {
        header.name: LowRankChange(
            header.name, torch.randn(header.shape[0], RANK) * 1e-3, torch.randn(RANK, header.shape[1]) * 1e-3
        )
        for header in headers
    }


def copy(sources: list[Path], folder: Path) -> None:
    """Read the files and write them again, through one buffer."""
    buffer = memoryview(bytearray(_COPIED))
    for source in sources:
        with open(source, "rb", buffering=0) as read, open(folder / source.name, "wb", buffering=0) as write:
            while count := read.readinto(buffer):
                write.write(buffer[:count])


def forget(files: list[Path]) -> None:
    """Drop files from the page cache."""
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def sync(folder: Path) -> None:
    for file in folder.glob("*.safetensors"):
        with open(file, "rb+") as stream:
            os.fsync(stream.fileno())


def timed(folder: Path, gigabytes: float, rounds: int) -> tuple[dict[str, Timing], int]:
    """Time both ways with and without the page cache; return the bytes of the base, too."""
    import torch
    from lora_retraining.merging.blocks import write_merged

    base, copied, merged = (folder / name for name in ("base", "copied", "merged"))
    for place in (base, copied, merged):
        place.mkdir()
    headers = make_base(base, gigabytes)
    changes = make_changes(headers)
    sources = sorted({header.file for header in headers})
    sync(base)

    def merge() -> None:
        write_merged(headers, changes, merged, torch.bfloat16, torch.device("cpu"))

    def to_disk(place: Path, way: object) -> None:
        forget(sources)
        way()
        sync(place)

    cases = {
        "read and write, cache": lambda: copy(sources, copied),
        "merge, cache": merge,
        "read and write, disk": lambda: to_disk(copied, lambda: copy(sources, copied)),
        "merge, disk": lambda: to_disk(merged, merge),
    }
    return side_by_side(cases, rounds), sum(header.bytes for header in headers)


CHILD = """
import json, sys
from pathlib import Path
import peft, torch, transformers
from lora_retraining.base_model.loading import find_model
from projects_common.models.loading import load_model
from projects_common.models.headers import read_headers
from lora_retraining.merging.logits import compare_logits
from lora_retraining.merging.merged_model import DTYPES, merge_adapter, stored_dtype

def peak():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024
base, adapter, folder = find_model("smollm2"), Path(sys.argv[1]), Path(sys.argv[2])
size = sum(header.bytes for header in read_headers(base.folder))
imported = peak()
merged = merge_adapter(adapter, base, folder, "float32", override=("base_digest",))
written = peak()
prompts = [list(range(100, 180))] * 8
compare_logits(merged.files, base, adapter, prompts, torch.float32, torch.float32, torch.device("cpu"))
print(json.dumps({"size": size, "written": written - imported, "compared": peak() - imported}))
"""


def memory(folder: Path) -> dict[str, int]:
    """Return the bytes of SmolLM2, and the growth of a process that merged it and compared logits."""
    import torch
    from lora_retraining.base_model.loading import find_model
    from lora_retraining.settings import PROJECTIONS
    from peft import LoraConfig, get_peft_model
    from projects_common.models.loading import load_model

    model = load_model(find_model("smollm2"), torch.float32, "cpu")
    get_peft_model(model, LoraConfig(r=16, target_modules=list(PROJECTIONS))).save_pretrained(str(folder / "adapter"))
    del model
    command = [sys.executable, "-c", CHILD, str(folder / "adapter"), str(folder / "model")]
    path = os.pathsep.join([str(PROJECT), str(PROJECT.parents[1])])
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, "PYTHONPATH": path}
    )
    return json.loads(done.stdout.splitlines()[-1])


def measure(gigabytes: float = GIGABYTES, rounds: int = ROUNDS) -> str:
    """Return Markdown tables: seconds of both ways in one run, and memory against the size of the model."""
    import torch

    from mlflow_plugin.machine.threads import leave_busy_cores_alone

    leave_busy_cores_alone()  # As the phase does.
    with tempfile.TemporaryDirectory() as folder:
        timings, size = timed(Path(folder), gigabytes, rounds)
    lines = [
        f"Merging {size / 1e9:.2f} GB of bfloat16, rank {RANK}, {os.cpu_count()} cores, {torch.get_num_threads()} "
        f"threads, fastest of {rounds} rounds:",
        "",
        heading("from and to", "read and write", "merge", "ratio", "limit"),
    ]
    for place in ("cache", "disk"):
        plain, merge = (timings[f"{way}, {place}"].fastest for way in ("read and write", "merge"))
        ratio = Limit(f"merge / read and write, {place}", merge / plain, ALLOWED)
        lines.append(row(place, f"{plain:.2f} s", f"{merge:.2f} s", f"{ratio:.2f}", ratio.allowed))
    with tempfile.TemporaryDirectory() as folder:
        bytes_by_stage = memory(Path(folder))
    lines += ["", f"Memory beyond imports, SmolLM2 in float32 ({bytes_by_stage['size'] / 1e6:.0f} MB), rank 16:", ""]
    lines += [heading("until", "grown by", "of the model's size", "limit")]
    for until, name in (("the files are written", "written"), ("logits are compared", "compared")):
        grown = bytes_by_stage[name]
        ratio = Limit(f"memory until {until} / the model", grown / bytes_by_stage["size"], ALLOWED_MEMORY)
        lines.append(row(until, f"{grown / 1e6:.0f} MB", f"{ratio:.2f}", ratio.allowed))
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=GIGABYTES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    print(measure(arguments.gigabytes, arguments.rounds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
