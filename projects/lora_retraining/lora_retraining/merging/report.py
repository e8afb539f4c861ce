"""Report a merge: metrics, merge.json, the table of layers, and the run's description."""

from typing import Any

from lora_retraining.merging.logits import LogitComparison
from lora_retraining.merging.merged_model import MergedModel
from lora_retraining.merging.rounding import LOST_ATTENTION, total_row

WORST = 5


def metrics(merged: MergedModel, logits: LogitComparison) -> dict[str, float]:
    """Return the figures that gates and people look at. Truths are 1 or 0."""
    total = total_row(list(merged.written.layers))
    figures = {
        "merge_logit_difference": logits.difference,
        "merge_logit_tolerance": logits.tolerance,
        "merge_kl_divergence": logits.divergence,
        "merge_same_choice": logits.same_choice,
        "merge_nonfinite": float(sum(merged.written.nonfinite.values())),
        "merge_size_matches": float(merged.verification.size_matches),
        "merge_base_matches": float(merged.base_matches),
        "merge_problems": float(len(merged.verification.problems)),
        "merge_parameters": float(merged.verification.parameters),
        "merge_bytes": float(merged.verification.tensor_bytes),
        "merge_relative_change": float(total["relative_change"]),
        "merge_share_changed": float(total["share_changed"]),
        "merge_lost_to_rounding": float(total["lost_to_rounding"]),
    }
    return figures if logits.noise is None else {**figures, "merge_logit_noise": logits.noise}


def as_data(merged: MergedModel, reference: str, logits: LogitComparison) -> dict[str, Any]:
    """Return the content of merge.json: the same bytes for the same merge on the same machine, without times."""
    rows = [layer.row() for layer in merged.written.layers]
    verification = merged.verification
    return {
        "adapter": {
            "base": dict(merged.adapter.base),
            "rank": merged.adapter.config.get("r"),
            "alpha": merged.adapter.config.get("lora_alpha"),
            "modules": len(rows),
        },
        "base": {"source": merged.base.source, "revision": merged.base.revision, "matches": merged.base_matches},
        "dtype": merged.dtype,
        "files": {
            "parameters": verification.parameters,
            "bytes": verification.tensor_bytes,
            "expected_bytes": verification.expected_bytes,
            "numbers_by_dtype": dict(verification.dtypes),
            "problems": list(verification.problems),
            "nonfinite": dict(merged.written.nonfinite),
        },
        "logits": {
            "compared_with": f"{reference} + adapter",
            "positions": logits.positions,
            "difference": _digits(logits.difference),
            "tolerance": _digits(logits.tolerance),
            "kl_divergence": _digits(logits.divergence),
            "same_choice": _digits(logits.same_choice),
            "noise_of_dtype": None if logits.noise is None else _digits(logits.noise),
        },
        "rounding": {
            "total": total_row(list(merged.written.layers)),
            "base_lost_to_rounding": _digits(merged.written.base_rounding),
            "worst": sorted(rows, key=lambda row: (-row["lost_to_rounding"], row["module"]))[:WORST],
        },
        "layers": rows,
    }


def _digits(value: float) -> float:
    return float(f"{value:.3g}")


def table(data: dict[str, Any]) -> dict[str, list[Any]]:
    """Return the layers by column, as `mlflow.log_table` takes them."""
    rows = data["layers"]
    return {name: [row[name] for row in rows] for name in rows[0]}


def rounding_sentence(data: dict[str, Any]) -> str:
    """Say how much of the change the written dtype loses, and the remedy if it is much."""
    total = data["rounding"]["total"]
    sentence = (
        f"Rounding to {data['dtype']} loses {total['lost_to_rounding']:.2%} of the change (Frobenius norm); "
        f"{total['share_unmoved']:.2%} of the weights stay as they were although they should change"
    )
    if total["measured"] < total["weights"]:
        sentence += f", as measured on {total['measured'] / total['weights']:.0%} of the changed weights"
    worst = data["rounding"]["worst"][0]
    if total["lost_to_rounding"] < LOST_ATTENTION:
        return f"{sentence}."
    advice = f"; worst {worst['module']} with {worst['lost_to_rounding']:.2%}. That is above {LOST_ATTENTION:.0%}"
    if data["dtype"] == "float32":
        return f"{sentence}{advice}: the change is too small beside the weights. Train longer or with a higher alpha."
    return f"{sentence}{advice}: -P merge_dtype=float32 keeps it, at twice the size."


def description(data: dict[str, Any]) -> str:
    """Describe the merge for the run's page, as Markdown."""
    logits, files, total = data["logits"], data["files"], data["rounding"]["total"]
    within = "within" if logits["difference"] <= logits["tolerance"] else "**above**"
    own = "its own base" if data["base"]["matches"] else "**a base that is not its own**"
    lines = [
        f"Rank {data['adapter']['rank']} adapter merged into {own}, {data['base']['source']}, as {data['dtype']}.",
        "",
        f"- {files['parameters']:,} parameters, {files['bytes']:,} bytes of {files['expected_bytes']:,} expected; "
        f"{len(files['problems'])} problems, {sum(files['nonfinite'].values())} numbers NaN or Inf",
        f"- logits against {logits['compared_with']}: largest difference {logits['difference']:.2e} of the largest "
        f"logit, {within} the tolerance {logits['tolerance']:.2e}; KL divergence {logits['kl_divergence']:.2e} nats, "
        f"the same token in {logits['same_choice']:.1%} of {logits['positions']} positions",
        f"- {data['adapter']['modules']} layers changed by {total['relative_change']:.2%} of their norm; "
        f"{total['share_changed']:.1%} of their weights differ",
        f"- {rounding_sentence(data)}",
    ]
    if files["problems"]:
        lines += ["", *(f"- **{problem}**" for problem in files["problems"][:10])]
    return "\n".join(lines)
