"""Measure how much faster batches are than single completions, at equal results: SmolLM2 on generated tasks."""

import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.limits import Limit
from benchmarks.timing import heading, row

PROJECT = Path(__file__).resolve().parents[1] / "projects" / "lora_retraining"
TASKS = 48
NEW_TOKENS = 24
BATCH_SIZE = 16
RATIO = 3.0


def measure() -> str:
    """Write the same completions both ways; return a Markdown table."""
    sys.path.insert(0, str(PROJECT))
    import torch
    from lora_retraining.base_model.loading import find_model
    from lora_retraining.data.generator import generated_tasks
    from lora_retraining.data.tasks import Task
    from projects_common.models.loading import load_model, load_tokenizer

    files = find_model("smollm2")
    model, tokenizer = load_model(files, "float32", "cpu"), load_tokenizer(files)
    tasks: list[Task] = generated_tasks("test", TASKS, seed=0)
    prompts = [task.prompt for task in tasks]
    _written(model, tokenizer, prompts[:2], BATCH_SIZE)  # Warms up.
    alone, alone_tokens, alone_seconds = _written(model, tokenizer, prompts, 1)
    together, tokens, seconds = _written(model, tokenizer, prompts, BATCH_SIZE)
    faster = Limit("one by one / batches of completions", alone_seconds / seconds, RATIO, at_least=True)
    equal = sum(one == other for one, other in zip(alone, together, strict=True))
    lines = [
        f"SmolLM2-135M-Instruct in float32, {torch.get_num_threads()} threads, {TASKS} generated tasks, at most "
        f"{NEW_TOKENS} new tokens each.\n",
        heading("completions", "seconds", "tokens a second", "ratio", "equal completions"),
        row("one by one", f"{alone_seconds:.1f}", f"{alone_tokens / alone_seconds:.0f}", "1", ""),
        row(
            f"batches of {BATCH_SIZE}",
            f"{seconds:.1f}",
            f"{tokens / seconds:.0f}",
            f"{faster:.1f} as fast, {faster.allowed}",
            f"{equal} of {TASKS}",
        ),
    ]
    return "\n".join(lines)


def _written(model: Any, tokenizer: Any, prompts: list[str], batch_size: int) -> tuple[list[list[int]], int, float]:
    """Return the token ids of each completion, their number, and the seconds."""
    from lora_retraining.validation.generation import GenerationState, end_ids, padding_id, prompt_ids

    ids = [prompt_ids(tokenizer, prompt) for prompt in prompts]
    ends = end_ids(tokenizer, model.generation_config.eos_token_id)
    writing = GenerationState(ids, ends, NEW_TOKENS, batch_size)
    began = time.perf_counter()
    while writing.waiting:
        writing.advance(model, padding_id(tokenizer))
    return writing.written, writing.tokens, time.perf_counter() - began


if __name__ == "__main__":
    print(f"## Validation\n\n{measure()}")
