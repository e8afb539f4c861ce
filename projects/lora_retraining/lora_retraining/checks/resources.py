"""Compare the machine with the needs of the training: the device, memory, disks, packages."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlparse

import psutil

from lora_retraining.checks.checklist import Check
from lora_retraining.checks.memory import in_words
from mlflow_plugin.machine.limits import memory_limit

if TYPE_CHECKING:
    import torch

NEEDS_GPU = 1_000_000_000
"""Parameters from which training on a CPU would take weeks."""
PACKAGES = {"torch": "2.6", "transformers": "5.3", "peft": "0.17", "accelerate": "1.0", "safetensors": "0.4"}
"""The oldest versions that are supported."""
_NARROW = 1.1
"""Free room below so many times the need is a warning."""


def check_packages(least: Mapping[str, str] = PACKAGES) -> Check:
    """Check the versions of the packages that training depends on."""
    from packaging.version import Version

    versions = {name: _version(name) for name in least}
    wrong = [
        f"{name} {versions[name] or 'is missing'}, needed from {least[name]} on"
        for name in least
        if not versions[name] or Version(versions[name]) < Version(least[name])
    ]
    detail = "; ".join(wrong) or ", ".join(f"{name} {version}" for name, version in versions.items())
    return Check("packages", "fail" if wrong else "pass", detail, "Install the project's extra: lora." if wrong else "")


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def check_device(device: "torch.device", parameters: int) -> Check:
    """Require a GPU for a model of a billion parameters and more. Check CUDA and bfloat16."""
    import torch

    if device.type == "cuda":
        gpus = ", ".join(torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count()))
        seen = f"{gpus}, CUDA {torch.version.cuda}"
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Check("device", "pass", seen)
        return Check("device", "warn", f"{seen}, without bfloat16", "Training takes float32: slower, twice the memory.")
    if parameters < NEEDS_GPU or device.type != "cpu":
        return Check("device", "pass", f"{device.type.upper()}, enough for {parameters / 1e6:,.0f} million parameters")
    why = "this torch is built without CUDA" if torch.version.cuda is None else "torch finds no CUDA device"
    return Check(
        "device",
        "fail",
        f"{parameters / 1e9:.1f} billion parameters on a CPU: {why}",
        "Train on a machine with a CUDA GPU (an A100 80 GB takes an 8B model), or take a smaller model.",
    )


def free_device_memory(device: "torch.device") -> int:
    """Return the bytes free on a device; on all GPUs, over which a model is spread, if none is named."""
    import torch

    if device.type == "cuda":
        numbers = range(torch.cuda.device_count()) if device.index is None else [device.index]
        return sum(torch.cuda.mem_get_info(number)[0] for number in numbers)
    return free_main_memory()


def free_main_memory() -> int:
    """Return the bytes of main memory that this process may still take, within the machine and its control group."""
    available = int(psutil.virtual_memory().available)
    limit = memory_limit()
    return available if limit is None else min(available, max(0, limit.limit - limit.used))


def check_memory(
    training: Mapping[str, int] | None, merging: int, free_on_device: int, free_in_main: int, *, gpu: bool
) -> Check:
    """Compare needs and free memory, all in bytes. `training` is by part, None for an unknown architecture."""
    words = f"training takes {in_words(training)}" if training else "the memory of training is not known for this model"
    needed = sum(training.values()) if training else 0
    seen = f"{words}, of {free_on_device / 2**30:.3g} GiB free on the {'GPU' if gpu else 'CPU'}"
    seen += f"; merging takes {merging / 2**30:.3g} of {free_in_main / 2**30:.3g} GiB of main memory"
    if needed > free_on_device:
        missing = (needed - free_on_device) / 2**30
        remedy = f"{missing:.1f} GiB are missing: take a smaller batch_size and more accumulation, a smaller max_length"
        return Check("memory", "fail", seen, f"{remedy}, gradient_checkpointing=true or a bigger device.")
    if merging > free_in_main:
        remedy = f"{(merging - free_in_main) / 2**30:.1f} GiB of main memory are missing to merge: end other programs"
        return Check("memory", "fail", seen, f"{remedy}, or take merge_dtype=bfloat16.")
    if not training or _NARROW * needed > free_on_device or _NARROW * merging > free_in_main:
        return Check(
            "memory", "warn", seen, "That is close: a batch that does not fit is halved, and the training continues."
        )
    return Check("memory", "pass", seen)


def check_disk(needs: Mapping[str, tuple[Path, int]]) -> Check:
    """Compare needs (purpose -> folder and bytes) with the free disk. Folders on one disk share its room."""
    by_disk: dict[int, tuple[Path, int, list[str]]] = {}
    for what, (folder, size) in needs.items():
        place = _existing(folder)
        _, total, parts = by_disk.get(os.stat(place).st_dev, (place, 0, []))
        by_disk[os.stat(place).st_dev] = (place, total + size, [*parts, f"{what} {size / 1e9:.3g}"])
    lines, missing, close = [], [], False
    for place, total, parts in by_disk.values():
        free = shutil.disk_usage(place).free
        lines.append(f"{total / 1e9:.3g} of {free / 1e9:.3g} GB free on the disk of {place} ({', '.join(parts)})")
        close |= _NARROW * total > free
        if total > free:
            missing.append(f"{(total - free) / 1e9:.3g} GB are missing on the disk of {place}")
    if missing:
        remedy = f"{'; '.join(missing)}: make room (mlflow-phases gc), or set TMPDIR or the artifact store elsewhere."
        return Check("disk", "fail", "; ".join(lines), remedy)
    return Check("disk", "warn" if close else "pass", "; ".join(lines), "That is close: make room." if close else "")


def _existing(folder: Path) -> Path:
    return next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())


def disk_needs(adapter: int, model: int, artifact_uri: str) -> dict[str, tuple[Path, int]]:
    """Return the folder and bytes that one round (train, merge) writes, by purpose.

    Checkpoints hold the adapter and Adam's two moments. Three stay, and one more is written before the oldest goes. A
    merged model lies in a temporary folder before it is stored. Both are made twice: phase 1B is a second round.

    Args:
        adapter: Bytes of the adapter.
        model: Bytes of the merged model.
        artifact_uri: The artifact store; its disk counts if it is local.
    """
    temporary = Path(tempfile.gettempdir())
    needs = {"model and adapter on their way": (temporary, model + 4 * adapter)}
    if store := local_folder(artifact_uri):
        needs["adapters and checkpoints"] = (store, 2 * (adapter + 4 * 3 * adapter))
        needs["merged models"] = (store, 2 * model)
    return needs


def local_folder(artifact_uri: str) -> Path | None:
    """Return the folder of a local artifact store, None for a remote one."""
    parsed = urlparse(artifact_uri)
    return Path(unquote(parsed.path)) if parsed.scheme in ("", "file") else None
