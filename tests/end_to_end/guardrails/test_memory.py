"""A process that really has no more memory. What is done about it is tested in tests/unit/guardrails/test_memory.py."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.end_to_end

REAL = """
import resource, sys
import torch
from mlflow_plugin.guardrails.memory import BatchSize
torch.set_num_threads(1)
torch.manual_seed(0)
weights = torch.randn(1 << 10, requires_grad=True)
inputs = torch.randn(64, 1 << 10)

def step(size, accumulation):
    weights.grad = None
    for part, share in batch.parts():
        # 64 samples at once need 256 MiB for each tensor that is kept for the gradient, 8 samples 32 MiB.
        wide = (inputs[part] * weights).repeat(1, 1 << 10)
        (wide.sin().square().mean() * share).backward()
    return weights.grad.sum().item()

batch = BatchSize(8, 8)
expected = batch.fit(step)
now = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + (400 << 20),) * 2)
batch = BatchSize(64)
found = batch.fit(step)
print(batch.size, batch.accumulation, abs(found - expected) < 1e-4 * abs(expected) + 1e-6)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the limit is set by what Linux says of a process")
def test_a_real_want_of_memory_is_survived() -> None:
    result = subprocess.run([sys.executable, "-c", REAL], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    size, accumulation, right = result.stdout.split()
    assert int(size) < 64
    assert int(size) * int(accumulation) == 64
    assert right == "True"
    assert "allocate memory" in result.stderr
