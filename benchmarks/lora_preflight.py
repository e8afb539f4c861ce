"""Time the checks of preflight on a model of eight billion parameters, in four sparse files of Llama 3.1 8B's layout.

python -m benchmarks.lora_preflight
"""

import json
import struct
import sys
import tempfile
from pathlib import Path

from benchmarks.limits import Limit
from benchmarks.timing import heading, row, side_by_side

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "projects" / "lora_retraining"))

HIDDEN, INTERMEDIATE, LAYERS, KEYS, VOCABULARY = 4096, 14336, 32, 1024, 128256
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": HIDDEN,
    "intermediate_size": INTERMEDIATE,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": VOCABULARY,
    "tie_word_embeddings": False,
    "dtype": "bfloat16",
}
SHARDS = 4
ROUNDS, SECONDS = 10, 3.0


def tensors() -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of the published model's weights."""
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (VOCABULARY, HIDDEN),
        "model.norm.weight": (HIDDEN,),
        "lm_head.weight": (VOCABULARY, HIDDEN),
    }
    for layer in range(LAYERS):
        place = f"model.layers.{layer}"
        shapes |= {
            f"{place}.self_attn.q_proj.weight": (HIDDEN, HIDDEN),
            f"{place}.self_attn.k_proj.weight": (KEYS, HIDDEN),
            f"{place}.self_attn.v_proj.weight": (KEYS, HIDDEN),
            f"{place}.self_attn.o_proj.weight": (HIDDEN, HIDDEN),
            f"{place}.mlp.gate_proj.weight": (INTERMEDIATE, HIDDEN),
            f"{place}.mlp.up_proj.weight": (INTERMEDIATE, HIDDEN),
            f"{place}.mlp.down_proj.weight": (HIDDEN, INTERMEDIATE),
            f"{place}.input_layernorm.weight": (HIDDEN,),
            f"{place}.post_attention_layernorm.weight": (HIDDEN,),
        }
    return shapes


def write_sparse_model(folder: Path) -> int:
    """Write headers, and holes in place of 16 GB of weights; return the apparent size of the files."""
    shapes = list(tensors().items())
    weight_map, total = {}, 0
    for shard in range(SHARDS):
        name = f"model-{shard + 1:05}-of-{SHARDS:05}.safetensors"
        header, end = {}, 0
        for tensor, shape in shapes[shard::SHARDS]:
            size = 2 * shape[0] * (shape[1] if len(shape) == 2 else 1)
            header[tensor] = {"dtype": "BF16", "shape": shape, "data_offsets": (end, end + size)}
            weight_map[tensor] = name
            end += size
        text = json.dumps(header).encode()
        with open(folder / name, "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            file.truncate(8 + len(text) + end)
        total += end
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return total


def measure() -> str:
    """Return a Markdown table: the checks of a base model of 8 billion parameters, in seconds."""
    from lora_retraining.base_model.loading import find_model
    from lora_retraining.checks import memory
    from lora_retraining.checks.base_precision import check_base_precision
    from lora_retraining.settings import PRESETS
    from projects_common.models.headers import read_headers

    settings, gpu = PRESETS["llama-3.1-8b"], memory.Precision(2, 2, cuda=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "llama-3.1-8b"
        folder.mkdir()
        size = write_sparse_model(folder)
        files, headers = find_model(str(folder)), read_headers(folder)
        sizes = memory.architecture(files.config)
        assert sizes is not None
        check = check_base_precision(str(folder), files)
        if check.status != "pass":
            raise RuntimeError(check.detail)
        timings = side_by_side(
            {
                "headers of four files": lambda: read_headers(folder),
                "base_precision: names, settings, headers, size, a sample of the weights": lambda: check_base_precision(
                    str(folder), files
                ),
                "estimate of memory": lambda: memory.training_memory(sizes, headers, settings, 2048, gpu),
            },
            ROUNDS,
        )
        parts = memory.training_memory(sizes, headers, settings, 2048, gpu)
    lines = [
        f"### Preflight on 8 billion parameters, {size / 1e9:.1f} GB in {SHARDS} files",
        "",
        heading("what", "median"),
    ]
    lines += [row(name, f"{1000 * timing.median:,.1f} ms") for name, timing in timings.items()]
    whole = Limit("preflight of 8 billion parameters", sum(one.median for one in timings.values()), SECONDS, " s")
    lines += ["", f"Together {whole:.2f}, {whole.allowed}."]
    lines += ["", f"Estimate at rank 64, batches of 8 x 2,048 tokens, on a GPU: {memory.in_words(parts)}"]
    return "\n".join(lines)


if __name__ == "__main__":
    print(measure())
