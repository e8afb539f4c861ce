"""Look up what an hour on the given hardware costs, in US dollars.

A price is given by the caller or the environment, or found in a price table. The package's own table is `prices.json`
beside this module. A table is a JSON object with `gpus` (rows of `name`, `usd_per_hour` per GPU, `source`, `as_of`),
`cpu_core` (one row without a name, per logical core) and `about`. Each of the three is optional.
"""

import json
import math
import os
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.machine.hardware import Hardware

PRICE_VARIABLE = "MLFLOW_PHASES_PRICE_PER_HOUR"
TABLE_VARIABLE = "MLFLOW_PHASES_PRICES"
USER_TABLE = Path(".config/mlflow-phases/prices.json")
PACKAGE_TABLE = Path(__file__).with_name("prices.json")
# NVIDIA divides a GPU into seven compute slices. The name of a MIG instance states how many it has.
MIG_SLICES = 7


class Price(NamedTuple):
    """US dollars per hour for all the hardware together, and the source of that price."""

    usd_per_hour: float
    source: str


class _Row(NamedTuple):
    name: str
    usd_per_hour: float
    origin: str

    @property
    def words(self) -> set[str]:
        return _words(self.name)


class _Table(NamedTuple):
    gpus: tuple[_Row, ...]
    cpu_core: _Row | None


def price_per_hour(hardware: Hardware, explicit: float | str | None = None) -> Price:
    """Return the price of an hour on `hardware`, in USD.

    The first source that has a price counts: `explicit`, the environment variable MLFLOW_PHASES_PRICE_PER_HOUR (both
    for all the hardware together), the table at MLFLOW_PHASES_PRICES, ~/.config/mlflow-phases/prices.json, the
    package's table. A row matches a GPU when all words of the row's name occur in the GPU's name. Of several matches
    the one with the most words counts. A MIG instance costs its share of the GPU. Without a GPU that a table knows, the
    CPU cores are priced.

    Args:
        hardware: The hardware.
        explicit: US dollars per hour for all of it, None to look the price up.

    Raises:
        PhaseError: A price is not a number of at least 0, or a table cannot be read.
    """
    if explicit is not None:
        return Price(_amount(explicit, "The given price per hour"), "given as a parameter")
    if named := os.environ.get(PRICE_VARIABLE):
        source = f"environment variable {PRICE_VARIABLE}"
        return Price(_amount(named, f"The {source}"), source)
    tables = [_load(path) for path in _table_paths()]
    return _gpu_price(hardware, tables) if hardware.gpus else _cpu_price(hardware, tables)


def cost_usd(seconds: float, price: Price) -> float:
    """Return hours x price per hour, in USD. A negative duration (the clock was set back) costs nothing.

    >>> round(cost_usd(29 * 60, Price(0.89, "as published")), 2)
    0.43
    """
    return max(seconds, 0.0) / 3600 * price.usd_per_hour


def _gpu_price(hardware: Hardware, tables: list[_Table]) -> Price:
    total, parts, unknown = 0.0, [], []
    for name, count in sorted(Counter(gpu.name for gpu in hardware.gpus).items()):
        row = _find(name, tables)
        if row is None:
            unknown.append(name)
            continue
        share = _mig_share(name)
        total += count * share * row.usd_per_hour
        slices = f"{share * MIG_SLICES:.0f}/{MIG_SLICES} of " if share < 1 else ""
        parts.append(f"{count} x {slices}{row.name} at ${row.usd_per_hour:g}/h ({row.origin})")
    if not unknown:
        return Price(total, "; ".join(parts))
    remark = f"no price is known for {', '.join(unknown)}, so the true cost is higher; set one with {PRICE_VARIABLE}"
    if parts:
        return Price(total, "; ".join([*parts, remark]))
    cpu = _cpu_price(hardware, tables)
    return Price(cpu.usd_per_hour, f"CPU cores alone: {cpu.source}; {remark}")


def _cpu_price(hardware: Hardware, tables: list[_Table]) -> Price:
    row = next(table.cpu_core for table in tables if table.cpu_core is not None)
    cores = hardware.cpu_cores
    return Price(cores * row.usd_per_hour, f"{cores} x CPU core at ${row.usd_per_hour:g}/h ({row.origin})")


def _find(gpu: str, tables: list[_Table]) -> _Row | None:
    words = _words(gpu)
    for table in tables:
        matches = [row for row in table.gpus if row.words <= words]
        if matches:
            return max(matches, key=lambda row: len(row.words))
    return None


def _words(name: str) -> set[str]:
    return set(re.findall(r"[a-z0-9]+", name.lower()))


def _mig_share(name: str) -> float:
    slices = re.search(r"\bMIG\b.*?\b(\d)g\.", name)
    return min(int(slices[1]) / MIG_SLICES, 1.0) if slices else 1.0


def _table_paths() -> list[Path]:
    paths = []
    if named := os.environ.get(TABLE_VARIABLE):
        paths.append(Path(named))
    try:
        user = Path.home() / USER_TABLE
        if user.is_file():
            paths.append(user)
    except (RuntimeError, OSError):
        pass  # Without a readable home folder the package's table is used.
    return [*paths, PACKAGE_TABLE]


def _load(path: Path) -> _Table:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        advice = f"Check its permissions, or correct the path in {TABLE_VARIABLE}."
        raise PhaseError(f"The price table {path} cannot be read: {reason}. {advice}") from error
    except ValueError as error:
        raise PhaseError(f"The price table {path} is not JSON: {error}. {PACKAGE_TABLE} is an example.") from error
    _check_keys(table, {"about", "gpus", "cpu_core"}, path, "the table")
    rows = table.get("gpus", [])
    if not isinstance(rows, list):
        raise _malformed(path, "gpus", "must be a list of rows")
    gpus = tuple(_row(row, path, f"gpus[{index}]", named=True) for index, row in enumerate(rows))
    core = _row(table["cpu_core"], path, "cpu_core", named=False) if "cpu_core" in table else None
    return _Table(gpus, core)


def _row(row: object, path: Path, key: str, *, named: bool) -> _Row:
    allowed = {"usd_per_hour", "source", "as_of"} | ({"name"} if named else set())
    fields = _check_keys(row, allowed, path, key)
    if "usd_per_hour" not in fields:
        raise _malformed(path, f"{key}.usd_per_hour", "is missing")
    for text in allowed - {"usd_per_hour"}:
        if not isinstance(fields.get(text, ""), str):
            raise _malformed(path, f"{key}.{text}", "must be text")
    name = str(fields.get("name", ""))
    if named and not _words(name):
        raise _malformed(path, f"{key}.name", "must contain words of a GPU's name, such as 'RTX 5090'")
    amount = _amount(fields["usd_per_hour"], f"{key}.usd_per_hour in the price table {path}")
    source = fields.get("source") or f"price table {path}"
    return _Row(name, amount, f"{source}, as of {fields['as_of']}" if fields.get("as_of") else str(source))


def _check_keys(value: object, allowed: set[str], path: Path, key: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise _malformed(path, key, "must be a JSON object")
    for name in value:
        if name not in allowed:
            raise _malformed(path, f"{key}: {name!r}", f"is not one of {', '.join(sorted(allowed))}")
    return value


def _malformed(path: Path, key: str, fault: str) -> PhaseError:
    return PhaseError(f"In the price table {path}, {key} {fault}. {PACKAGE_TABLE} is an example.")


def _amount(value: object, name: str) -> float:
    try:
        amount = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        amount = math.nan
    if not (math.isfinite(amount) and amount >= 0):
        raise PhaseError(f"{name} must be US dollars per hour, a number of at least 0 such as 0.89, got {value!r}.")
    return amount
