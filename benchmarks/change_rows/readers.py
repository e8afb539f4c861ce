"""Rows 6 to 8: a library, a shell command or a child process reads the file."""

from benchmarks.change_rows.reads import CSV, EDITED, OTHER, PATH
from benchmarks.change_rows.row import Make, Row, Write, one


def library(title: str, file: str, imports: str, writes: str, body: str) -> Row:
    """A row in which a library reads a file that the same library wrote. `n` in `writes` differs after the change."""
    return one(
        "6",
        title,
        "run",
        body,
        (Make("2"),),
        imports=imports,
        makes=f"import sys\n{imports}\nn = int(sys.argv[1])\n{writes}\n",
        data=(file,),
        requires=tuple(sorted({line.split()[1] for line in imports.splitlines()} - {"pathlib", "sqlite3"})),
    )


NPY, PARQUET = "import numpy", 'pandas.DataFrame({"a": [1, n]}).to_parquet("rows.parquet")'
LIBRARIES = (
    library(
        "CSV by pandas",
        "rows.csv",
        "import pandas",
        'pandas.DataFrame({"a": [1, n]}).to_csv("rows.csv")',
        'return str(pandas.read_csv("rows.csv").a.sum())',
    ),
    library(
        "Parquet by pandas",
        "rows.parquet",
        "import pandas\nimport pyarrow",
        PARQUET,
        'return str(pandas.read_parquet("rows.parquet").a.sum())',
    ),
    library(
        "Parquet by pyarrow",
        "rows.parquet",
        "import pandas\nimport pyarrow.parquet",
        PARQUET,
        'return str(pyarrow.parquet.read_table("rows.parquet")["a"].to_pylist())',
    ),
    library(
        "Parquet by polars",
        "rows.parquet",
        "import polars",
        'polars.DataFrame({"a": [1, n]}).write_parquet("rows.parquet")',
        'return str(polars.scan_parquet("rows.parquet").collect()["a"].sum())',
    ),
    library(
        "Parquet by duckdb",
        "rows.parquet",
        "import duckdb",
        "duckdb.sql(f\"COPY (SELECT {n} AS a) TO 'rows.parquet'\")",
        "return str(duckdb.sql(\"SELECT sum(a) FROM 'rows.parquet'\").fetchall())",
    ),
    library(
        "HDF5 by h5py",
        "rows.h5",
        "import h5py",
        'h5py.File("rows.h5", "w")["a"] = [1, n]',
        'return str(h5py.File("rows.h5")["a"][:].sum())',
    ),
    library(
        "a mapped `.npy`",
        "rows.npy",
        NPY,
        'numpy.save("rows.npy", numpy.array([1, n]))',
        'return str(numpy.load("rows.npy", mmap_mode="r").sum())',
    ),
    library(
        "safetensors",
        "rows.safetensors",
        f"{NPY}\nimport safetensors.numpy",
        'safetensors.numpy.save_file({"a": numpy.array([1, n])}, "rows.safetensors")',
        'return str(safetensors.numpy.load_file("rows.safetensors")["a"].sum())',
    ),
    library(
        "`torch.load(mmap=True)`",
        "rows.pt",
        "import torch",
        'torch.save(torch.tensor([1, n]), "rows.pt")',
        'return str(int(torch.load("rows.pt", mmap=True).sum()))',
    ),
    library(
        "sqlite",
        "rows.db",
        f"import sqlite3\n{PATH}",
        'Path("rows.db").unlink(missing_ok=True)\ndb = sqlite3.connect("rows.db")\n'
        'db.execute(f"CREATE TABLE rows AS SELECT {n} AS a")\ndb.commit()',
        'return str(sqlite3.connect("rows.db").execute("SELECT sum(a) FROM rows").fetchall())',
    ),
)

WITNESS = "echo train >> <witness>"
CHILD = "return subprocess.run({words}, check=True, capture_output=True, text=True).stdout"
PROCESSES = (
    *(
        one(
            "7",
            title,
            "run",
            "",
            (Write(file, OTHER),),
            command=f"{WITNESS}; {reader} > train.txt",
            files={file: CSV},
            data=(file,),
        )
        for title, file, reader in (
            ("`cat` in the command", "data.csv", "cat data.csv"),
            ("`awk` in the command", "data.csv", "awk -F, '{print $2}' data.csv"),
        )
    ),
    one(
        "7",
        "`$(dirname $0)/../count.py` in a shell script",
        "run",
        "",
        (Write("count.py", "print(2)\n"),),
        command=f"{WITNESS}; sh steps/train.sh",
        files={"steps/train.sh": "python $(dirname $0)/../count.py > train.txt\n", "count.py": "print(1)\n"},
        scripts=("steps/train.sh",),
        reads=("count.py",),
    ),
    one(
        "8",
        "`subprocess` reads it",
        "run",
        CHILD.format(words='["cat", "data.csv"]'),
        EDITED,
        imports="import subprocess",
        files={"data.csv": CSV},
        data=("data.csv",),
    ),
    one(
        "8",
        "`multiprocessing` reads it",
        "run",
        'with multiprocessing.get_context("spawn").Pool(1) as pool:\n'
        '    return pool.map(Path.read_text, [Path("data.csv")])[0]',
        EDITED,
        imports=f"import multiprocessing\n{PATH}",
        files={"data.csv": CSV},
        data=("data.csv",),
    ),
    one(
        "8",
        "`make` reads it",
        "run",
        CHILD.format(words='["make", "-s", "sums"]'),
        EDITED,
        imports="import subprocess",
        files={"Makefile": "sums:\n\tcat data.csv\n", "data.csv": CSV},
        data=("data.csv",),
    ),
)
