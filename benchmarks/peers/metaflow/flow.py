from pathlib import Path

import shift
import witness
from metaflow import FlowSpec, Parameter, step


class Peers(FlowSpec):
    factor = Parameter("factor", default=2, type=int)

    @step
    def start(self):
        witness.executed("draw")
        self.numbers = [1, 2, 3]
        self.next(self.scale)

    @step
    def scale(self):
        # First draft.
        witness.executed("scale")
        self.scaled = [shift.shifted(self.factor * number) for number in self.numbers]
        self.next(self.total)

    @step
    def total(self):
        witness.executed("total")
        self.sum = sum(self.scaled)
        self.next(self.end)

    @step
    def end(self):
        witness.executed("report")
        Path("report.txt").write_text(f"total {self.sum}")


if __name__ == "__main__":
    Peers()
