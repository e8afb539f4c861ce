"""How many processes share the batches of a step, and how large each share is."""

from pathlib import Path

import pytest
import torch
from lora_retraining.settings import read_settings
from lora_retraining.training import plan

from mlflow_plugin.errors import UsageError


def test_a_step_stays_as_large_however_many_share_it() -> None:
    given = read_settings({"preset": "llama-3.1-8b"})

    shares = {count: plan.divided(given, count) for count in (1, 2, 4, 8, 32)}

    divided = {count: (one.batch_size, one.accumulation) for count, one in shares.items()}
    assert divided == {1: (8, 4), 2: (8, 2), 4: (8, 1), 8: (4, 1), 32: (1, 1)}
    with pytest.raises(UsageError, match=r"32 sequences of a step .* Pass a divisor of 32"):
        plan.divided(given, 3)


@pytest.mark.parametrize(("gpus", "gibibytes", "wanted"), [(0, 0, 1), (1, 80, 1), (4, 80, 4), (6, 80, 4), (4, 0.5, 1)])
def test_one_process_trains_on_each_gpu_that_the_model_fits_on(
    gpus: int, gibibytes: float, wanted: int, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from types import SimpleNamespace

    from lora_retraining.base_model.loading import find_model
    from projects_common.models.headers import read_headers

    size = int(gibibytes * 2**30)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda gpu: SimpleNamespace(total_memory=size))
    monkeypatch.setattr(plan, "precision_of", lambda chosen, device: (torch.bfloat16, True))

    chosen = read_settings({"preset": "tiny", "batch_size": "8"})

    assert plan.choose_processes(chosen, find_model("tiny").config, read_headers(tiny_folder)) == wanted
