"""Out of memory, injected and real: memory is freed and the step is repeated in smaller parts."""

import errno
import random
import weakref

import numpy as np
import pytest
import torch

from mlflow_plugin.checkpoints.state import collect, restore
from mlflow_plugin.errors import PhaseError, UsageError
from mlflow_plugin.guardrails.memory import BatchSize, free_memory, is_out_of_memory


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes"),
        RuntimeError("HIP out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("std::bad_alloc"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
)
def test_out_of_memory_errors_of_libraries_are_recognized(error: Exception) -> None:
    assert is_out_of_memory(error)


def test_an_array_too_large_for_numpy_counts_as_out_of_memory() -> None:
    with pytest.raises(MemoryError) as caught:
        np.empty(1 << 56)
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"),
        RuntimeError("CUDA error: device-side assert triggered"),
        ValueError("out of memory"),
        OSError(errno.ENOSPC, "No space left on device"),
        KeyboardInterrupt(),
    ],
)
def test_other_errors_are_not(error: BaseException) -> None:
    assert not is_out_of_memory(error)


def failing_above(limit: int, sizes: list[int]):  # type: ignore[no-untyped-def]
    """A step that has memory for so many samples, and writes down what it was called with."""

    def step(size: int, accumulation: int) -> tuple[int, int]:
        sizes.append(size)
        if size > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return size, accumulation

    return step


def test_the_batch_is_halved_and_the_accumulation_doubled_until_it_fits(capsys: pytest.CaptureFixture[str]) -> None:
    sizes: list[int] = []
    recorded: list[tuple[int, int]] = []
    batch = BatchSize(32, changed=lambda batch: recorded.append((batch.size, batch.accumulation)), label="train")
    assert batch.fit(failing_above(8, sizes)) == (8, 4)
    assert sizes == [32, 16, 8]
    assert recorded == [(16, 2), (8, 4)]
    assert batch.fit(failing_above(8, sizes)) == (8, 4)
    assert sizes == [32, 16, 8, 8]
    log = capsys.readouterr().err
    assert "train: out of memory; continuing with 8 samples at once, 4 times a step (CUDA out of memory. Tri" in log
    assert "memory freed: " in log


@pytest.mark.parametrize(("total", "divisions"), [(5, [(3, 2), (2, 3), (1, 5)]), (7, [(4, 2), (2, 4), (1, 7)])])
def test_no_sample_is_lost_where_a_half_is_not_whole(total: int, divisions: list[tuple[int, int]]) -> None:
    for size, accumulation in divisions:
        batch = BatchSize(total)
        assert batch.fit(failing_above(size, [])) == (size, accumulation)
        parts = list(batch.parts())
        assert [index for part, _ in parts for index in range(total)[part]] == list(range(total))
        assert len(parts) == accumulation
        assert sum(share for _, share in parts) == pytest.approx(1)


def test_an_accumulation_that_was_there_before_is_kept() -> None:
    batch = BatchSize(8, accumulation=4)
    assert batch.fit(failing_above(2, [])) == (2, 16)


def test_a_single_sample_that_does_not_fit_ends_with_what_to_do() -> None:
    with pytest.raises(PhaseError, match=r"out of memory with a single sample .*gradient checkpointing") as caught:
        BatchSize(4, label="train").fit(failing_above(0, []))
    assert str(caught.value).startswith("train: ")


def test_another_error_passes_through_and_changes_nothing() -> None:
    batch = BatchSize(4)
    with pytest.raises(ZeroDivisionError):
        batch.fit(lambda size, accumulation: size // 0)
    assert (batch.size, batch.accumulation) == (4, 1)


@pytest.mark.parametrize("sizes", [(0, 1), (4, 0), (-1, 1)])
def test_an_empty_batch_is_refused(sizes: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="must be at least 1, got size"):
        BatchSize(*sizes)


def test_the_memory_of_the_failed_step_is_free_before_it_is_repeated() -> None:
    held: list[weakref.ref[torch.Tensor]] = []

    def step(size: int, accumulation: int) -> bool:
        if size == 1:
            return held[0]() is None
        tensor = torch.zeros(10)
        held.append(weakref.ref(tensor))
        raise MemoryError

    assert BatchSize(2).fit(step)


def test_the_random_states_are_those_from_before_the_failed_step() -> None:
    def draws(size: int, accumulation: int) -> list[float]:
        drawn = [random.random(), float(np.random.rand()), float(torch.rand(()))]
        if size > 1:
            raise MemoryError
        return drawn

    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(0)
    expected = draws(1, 1)
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(0)
    assert BatchSize(4).fit(draws) == expected


def trained(size: int, limit: int) -> tuple[dict[str, torch.Tensor], BatchSize]:
    """A small model after five steps on batches of 12 with dropout, begun with parts of this size."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1)).double()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    source = torch.Generator().manual_seed(1)
    batch = BatchSize(size, 12 // size)
    for _ in range(5):
        inputs = torch.randn(12, 6, dtype=torch.double, generator=source)

        def step(size: int, accumulation: int, inputs: torch.Tensor = inputs) -> None:
            optimizer.zero_grad()
            for part, share in batch.parts():
                (model(inputs[part]).square().mean() * share).backward()
                if size > limit:
                    raise RuntimeError("CUDA out of memory")
            optimizer.step()

        batch.fit(step)
    return model.state_dict(), batch


def test_training_that_ran_out_of_memory_equals_training_with_the_small_batch_from_the_start() -> None:
    shrunk, batch = trained(12, limit=3)
    small, _ = trained(3, limit=3)
    assert (batch.size, batch.accumulation) == (3, 4)
    assert all(torch.equal(shrunk[name], small[name]) for name in small)


def test_gradients_of_parts_add_up_to_those_of_the_whole_batch() -> None:
    model = torch.nn.Linear(3, 1).double()
    inputs = torch.randn(5, 3, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    model(inputs).square().mean().backward()
    whole = model.weight.grad.clone()  # type: ignore[union-attr]
    model.zero_grad()
    batch = BatchSize(2, accumulation=3)
    for part, share in batch.parts(5):
        (model(inputs[part]).square().mean() * share).backward()
    assert torch.allclose(model.weight.grad, whole, rtol=1e-12, atol=0)  # type: ignore[arg-type]


def test_a_resumed_loop_begins_with_the_size_that_fits() -> None:
    batch = BatchSize(32)
    batch.fit(failing_above(8, []))
    resumed = BatchSize(32)
    restore({"batch": resumed}, collect({"batch": batch}))
    assert (resumed.size, resumed.accumulation, resumed.total) == (8, 4, 32)


def test_freeing_memory_logs_how_much(capsys: pytest.CaptureFixture[str]) -> None:
    cycle: list[object] = [np.ones(32 << 17)]
    cycle.append(cycle)
    del cycle
    assert free_memory() > 24 << 20
    assert capsys.readouterr().err.startswith("[phases] memory freed: ")
