"""Readers, each of a file of its own: how it is made, and how it is read. Their names stand in the documentation."""

import contextlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Reader:
    """The name of a file or folder, and the code that makes it and that reads it under the name `path`."""

    file: str
    make: str
    read: str


TEXT = "open(path, 'w').write('a,b\\n1,2\\n')"
FRAME = "import pandas; pandas.DataFrame({'a': [1, 2]})"
ARRAY = "import numpy; numpy.save(path, numpy.arange(9))"
SHELL = "import subprocess; subprocess.run({command!r}, shell=True, check=True, stdout=subprocess.DEVNULL)"
FOLDER = "import os; os.makedirs(path); open(path + '/inside', 'w').write('1')"
STATIC = """
import subprocess
source = '#include <fcntl.h>\\nint main(int n, char **v) { return open(v[1], O_RDONLY) < 0; }'
subprocess.run(['cc', '-static', '-x', 'c', '-o', 'static_reader', '-'], input=source, text=True, check=True)
open(path, 'w').write('1')
"""


def shell(command: str) -> str:
    """Return code that runs a shell command."""
    return SHELL.format(command=command)


READERS: Mapping[str, Reader] = {
    "`open`, `pathlib`": Reader("open.csv", TEXT, "import pathlib; pathlib.Path(path).read_text()"),
    "`os.open`": Reader("os_open.csv", TEXT, "import os; os.close(os.open(path, os.O_RDONLY))"),
    "`pandas.read_csv`": Reader("pandas.csv", TEXT, "import pandas; pandas.read_csv(path)"),
    '`pandas.read_csv(engine="python")`': Reader(
        "pandas_python.csv", TEXT, "import pandas; pandas.read_csv(path, engine='python')"
    ),
    "`numpy.load`": Reader("load.npy", ARRAY, "import numpy; numpy.load(path)"),
    "`numpy.load(mmap_mode=...)`": Reader("mapped.npy", ARRAY, "import numpy; numpy.load(path, mmap_mode='r').sum()"),
    "`numpy.fromfile`": Reader("fromfile.npy", ARRAY, "import numpy; numpy.fromfile(path, numpy.uint8)"),
    "`torch.load(mmap=True)`": Reader(
        "torch.pt",
        "import torch; torch.save({'a': torch.zeros(3)}, path)",
        "import torch; torch.load(path, mmap=True)['a'].sum()",
    ),
    "`sqlite3`": Reader(
        "rows.db",
        "import sqlite3\nwith sqlite3.connect(path) as c: c.execute('create table t (a)')",
        "import sqlite3; sqlite3.connect(path).execute('select * from t').fetchall()",
    ),
    "`pandas.read_parquet`": Reader(
        "pandas.parquet", FRAME + ".to_parquet(path)", "import pandas; pandas.read_parquet(path)"
    ),
    "`pyarrow.parquet`": Reader(
        "arrow.parquet", FRAME + ".to_parquet(path)", "import pyarrow.parquet; pyarrow.parquet.read_table(path)"
    ),
    "`pyarrow.memory_map`": Reader("arrow.map", TEXT, "import pyarrow; pyarrow.memory_map(path).read()"),
    "`datasets.load_from_disk`": Reader(
        "dataset/data-00000-of-00001.arrow",
        "import datasets, os; datasets.Dataset.from_dict({'a': [1]}).save_to_disk(os.path.dirname(path))",
        "import datasets, os; datasets.load_from_disk(os.path.dirname(path))[0]",
    ),
    "`polars`": Reader("polars.csv", TEXT, "import polars; polars.read_csv(path)"),
    "`polars.scan_parquet`": Reader(
        "polars.parquet", FRAME + ".to_parquet(path)", "import polars; polars.scan_parquet(path).collect()"
    ),
    "`duckdb`": Reader(
        "duckdb.csv", TEXT, "import duckdb; duckdb.sql(f\"select * from read_csv('{path}')\").fetchall()"
    ),
    "`h5py`": Reader(
        "data.h5",
        "import h5py\nwith h5py.File(path, 'w') as f: f['a'] = [1]",
        "import h5py; h5py.File(path, 'r')['a'][:]",
    ),
    "`safetensors`": Reader(
        "w.safetensors",
        "import numpy, safetensors.numpy as s; s.save_file({'a': numpy.zeros(2)}, path)",
        "import safetensors.numpy as s; s.load_file(path)",
    ),
    "an imported module": Reader(
        "imported_module.py", "open(path, 'w').write('')", "import sys; sys.path.insert(0, ''); import imported_module"
    ),
    "a module loaded by its path": Reader(
        "by_path.py", "open(path, 'w').write('')", "import runpy; runpy.run_path(path)"
    ),
    "`subprocess`: another Python": Reader(
        "child.csv",
        TEXT,
        "import subprocess, sys; subprocess.run([sys.executable, '-c', 'open(\"child.csv\")'], check=True)",
    ),
    "`python -I`": Reader(
        "isolated.csv",
        TEXT,
        "import subprocess, sys; subprocess.run([sys.executable, '-I', '-c', 'open(\"isolated.csv\")'], check=True)",
    ),
    "`multiprocessing`": Reader(
        "process.csv",
        TEXT,
        "import multiprocessing as m; p = m.Process(target=open, args=(path,)); p.start(); p.join()",
    ),
    "`cat`, `awk`, `sed`": Reader("shell.csv", TEXT, shell("awk 1 shell.csv")),
    "a shell's own redirection": Reader("redirected.csv", TEXT, shell("while read x; do :; done < redirected.csv")),
    "a shell with an empty environment": Reader("emptied.csv", TEXT, shell("env -i /bin/cat emptied.csv")),
    "a statically linked program": Reader("static.csv", STATIC, shell("./static_reader static.csv")),
}

LISTINGS: Mapping[str, Reader] = {
    "a folder: `os.listdir`, `glob`, `iterdir`": Reader(
        "listed", FOLDER, "import pathlib; list(pathlib.Path(path).iterdir())"
    ),
    "a folder: `ls`": Reader("ls", FOLDER, shell("ls ls")),
}

MISSED: Mapping[str, Reader] = {
    "not found: `open`": Reader("missed.yaml", "", "import contextlib\nwith contextlib.suppress(OSError): open(path)"),
    "not found: `os.path.exists`": Reader("unfound.yaml", "", "import os; os.path.exists(path)"),
    "not found: `cat`": Reader("uncaught.yaml", "", shell("cat uncaught.yaml 2>/dev/null || true")),
    "not found: `test -e`": Reader("untested.yaml", "", shell("test -e untested.yaml || true")),
}

EVERYTHING = {**READERS, **LISTINGS, **MISSED}


def main(part: str, failed: list[str]) -> list[str]:
    """Make or read every file here, but those whose making failed; return the readers that failed."""
    for name, reader in EVERYTHING.items():
        if name in failed:
            continue
        try:
            with contextlib.chdir("."):
                exec(compile(getattr(reader, part), name, "exec"), {"path": reader.file})
        except Exception as error:
            print(f"{name}: {error}", file=sys.stderr)
            failed = [*failed, name]
    return failed


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2:])))
