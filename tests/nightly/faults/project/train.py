"""A small training loop whose every state is a function of seed and step, and which says what it holds at each step."""

import argparse
import hashlib
import json
import os
import random
import time
from pathlib import Path
from typing import Any

from mlflow_plugin import start_phase


def report(**facts: object) -> None:
    """Append a line to the file that $MLFLOW_TESTS_REPORT names, at once: the process may be killed right after."""
    file = os.open(os.environ["MLFLOW_TESTS_REPORT"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, (json.dumps(facts) + "\n").encode())
    os.close(file)


def digest(state: dict[str, Any]) -> str:
    """sha256 of all that the next step depends on, the random generators included."""
    import torch

    found = hashlib.sha256(repr((state["counts"], random.getstate())).encode())
    for tensor in (state["weights"], *state["moments"], state["frozen"], torch.get_rng_state()):
        found.update(tensor.numpy().tobytes())
    return found.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("seed", "steps", "every", "width"):
        parser.add_argument(f"--{name}", type=int, required=True)
    given = parser.parse_args()
    with start_phase() as phase:
        import torch

        torch.set_num_threads(1)
        torch.manual_seed(given.seed)
        random.seed(given.seed)
        weights = torch.randn(given.width, 64)
        state = {
            "weights": weights,
            "moments": [torch.zeros_like(weights), torch.zeros(())],
            "frozen": torch.randn(given.width, 64),
            "counts": {"seen": 0, "drawn": [0.0]},
        }
        for step in phase.steps(given.steps, state=state, every=given.every):
            report(step=step, digest=digest(state), at=time.monotonic())
            wait_while_held(step)
            gradient = weights - state["frozen"] + 0.1 * torch.randn_like(weights)
            state["moments"][0].mul_(0.9).add_(gradient, alpha=0.1)
            state["moments"][1].add_(gradient.abs().mean())
            weights.sub_(state["moments"][0], alpha=0.3)
            state["counts"]["seen"] += 1
            state["counts"]["drawn"].append(random.random())
            phase.log(loss=float(gradient.square().mean()), drawn=state["counts"]["drawn"][-1])
        phase.output("result.txt", lambda path: path.write_text(digest(state)))
        phase.output("weights.bin", lambda path: path.write_bytes(weights.numpy().tobytes()))
    report(finished=True)


def wait_while_held(step: int) -> None:
    """At the step that $MLFLOW_TESTS_HOLD_AT names, for as long as the file beside the report exists."""
    held = Path(os.environ["MLFLOW_TESTS_REPORT"]).with_name("hold")
    while os.environ.get("MLFLOW_TESTS_HOLD_AT") == str(step) and held.exists():
        time.sleep(0.01)


if __name__ == "__main__":
    main()
