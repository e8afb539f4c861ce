import json
import sys
from pathlib import Path

import shift
import witness

# First draft.
witness.executed("scale")
factor = int(sys.argv[1])
scaled = [shift.shifted(factor * number) for number in json.loads(Path("numbers.json").read_text())]
Path("scaled.json").write_text(json.dumps(scaled))
