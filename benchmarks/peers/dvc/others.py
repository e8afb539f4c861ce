import json
import sys
from pathlib import Path

import witness

phase = sys.argv[1]
witness.executed(phase)
if phase == "draw":
    Path("numbers.json").write_text("[1, 2, 3]")
elif phase == "total":
    Path("total.json").write_text(str(sum(json.loads(Path("scaled.json").read_text()))))
else:
    Path("report.txt").write_text(f"total {Path('total.json').read_text()}")
