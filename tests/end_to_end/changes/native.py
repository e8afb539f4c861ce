"""Files that native libraries open, each with a function that writes one and the code that reads it."""

from pathlib import Path

import pytest


def _parquet(path: Path, value: int) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet").write_table(pyarrow.table({"a": [value]}), path)


def _array(path: Path, value: int) -> None:
    pytest.importorskip("numpy").save(path, [value])


def _tensor(path: Path, value: int) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("safetensors.torch").save_file({"a": torch.full((2,), float(value))}, path)


def _checkpoint(path: Path, value: int) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"a": torch.full((2,), float(value))}, path)


def _hdf5(path: Path, value: int) -> None:
    with pytest.importorskip("h5py").File(path, "w") as file:
        file["a"] = [value]


def _csv(path: Path, value: int) -> None:
    path.write_text(f"a\n{value}\n")


READERS = {
    "pandas": (_csv, "import pandas; pandas.read_csv({!r})"),
    "pandas_parquet": (_parquet, "import pandas; pandas.read_parquet({!r})"),
    "pyarrow": (_parquet, "import pyarrow.parquet; pyarrow.parquet.read_table({!r})"),
    "polars": (_parquet, "import polars; polars.read_parquet({!r})"),
    "duckdb": (_parquet, "import duckdb; duckdb.sql('select * from read_parquet(' + repr({!r}) + ')').fetchall()"),
    "h5py": (_hdf5, "import h5py; h5py.File({!r})['a'][:]"),
    "numpy": (_array, "import numpy; numpy.load({!r}, mmap_mode='r').sum()"),
    "safetensors": (_tensor, "from safetensors.torch import load_file; load_file({!r})"),
    "torch": (_checkpoint, "import torch; torch.load({!r}, mmap=True)"),
}
MODULES = {"pandas_parquet": "pyarrow"}
