import json
import sys

import shift
import witness

from mlflow_plugin import start_phase

with start_phase() as phase:
    # First draft.
    witness.executed("scale")
    factor = int(sys.argv[1])
    numbers = json.loads((phase.input("draw") / "numbers.json").read_text())
    scaled = [shift.shifted(factor * number) for number in numbers]
    phase.output("scaled.json", lambda path: path.write_text(json.dumps(scaled)))
