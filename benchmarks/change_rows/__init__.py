"""Changes after which a phase has to run again, or must not: small projects as plain data.

`ROWS` holds them. `benchmarks.peer_rows` measures them on several tools, and tests may lay them into a folder with
`benchmarks.peer_projects`. The numbers are those of `docs/performance.md`.
"""

from dataclasses import replace

from benchmarks.change_rows import code, named_files, readers, reads, worth
from benchmarks.change_rows.row import Row

ROWS: tuple[Row, ...] = (
    *reads.BY_PATH,
    readers.LIBRARIES[0],
    *(replace(each, other_reader=True) for each in readers.LIBRARIES[1:]),
    *readers.PROCESSES,
    *reads.OUTSIDE,
    *reads.OWN_FILES,
    *named_files.NAMED,
    *reads.NOT_FILES,
    *code.MODULES,
    *code.STEPS,
    *code.ENVIRONMENT,
    *code.TEXT,
    *worth.PARAMETERS,
    *worth.WORTH,
    *worth.LINEAGE,
)

__all__ = ["ROWS", "Row"]
