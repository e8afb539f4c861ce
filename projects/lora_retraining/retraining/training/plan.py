"""How many steps a training takes, counted before it begins."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from retraining.presets import Settings
from retraining.training.batches import Row, count_tokens


@dataclass(frozen=True)
class Plan:
    """What is going to be trained, counted before it begins."""

    rows: int
    sequences: int
    """Rows, or with packing what several rows are joined to."""
    tokens: int
    supervised_tokens: int
    batch_size: int
    accumulation: int
    """Batches of one process in a step."""
    processes: int
    epochs: float
    steps_per_epoch: int
    steps: int
    """Of the optimizer, in all epochs."""
    warmup_steps: int
    learning_rate: float
    packing: str

    def sentence(self) -> str:
        return (
            f"{self.rows:,} rows in {self.sequences:,} sequences ({self.packing}), {self.tokens:,} tokens, "
            f"{self.supervised_tokens:,} of them learnt; {self.batch_size} x {self.accumulation} sequences a step"
            f"{f' in each of {self.processes} processes' if self.processes > 1 else ''} make "
            f"{self.steps_per_epoch:,} steps an epoch and {self.steps:,} in {self.epochs:g} epochs, "
            f"{self.warmup_steps} of them to warm up"
        )


def make_plan(rows: Sequence[Row], sequences: int, settings: Settings, processes: int = 1) -> Plan:
    """The steps as the Trainer takes them: what is left at the end of an epoch is a smaller step of its own. Batches
    and accumulation of the settings are those of one process.
    """
    batches = math.ceil(math.ceil(sequences / settings.batch_size) / processes)
    steps_per_epoch = max(1, math.ceil(batches / settings.accumulation))
    steps = math.ceil(settings.epochs * steps_per_epoch)
    tokens, supervised = count_tokens(rows)
    return Plan(
        rows=len(rows),
        sequences=sequences,
        tokens=tokens,
        supervised_tokens=supervised,
        batch_size=settings.batch_size,
        accumulation=settings.accumulation,
        processes=processes,
        epochs=settings.epochs,
        steps_per_epoch=steps_per_epoch,
        steps=steps,
        warmup_steps=min(settings.warmup_steps, steps // 10),
        learning_rate=settings.learning_rate,
        packing=settings.packing,
    )
