"""The result of comparing a trace with what lies here now. Plain data."""

from dataclasses import dataclass

from mlflow_plugin.project.vocabulary import ReadKind, ReadState


@dataclass(frozen=True)
class Row:
    """One thing that a run read, for lists.

    Attributes:
        kind: What it is.
        name: Its name, readable.
        state: What became of it; empty where it was not asked for.
        size: Bytes that it had then, None where that says nothing.
        remark: The values, or why it is not compared; may be empty.
    """

    kind: ReadKind
    name: str
    state: ReadState | None = None
    size: int | None = None
    remark: str = ""


@dataclass(frozen=True)
class Findings:
    """What became of everything that a run had read.

    Attributes:
        changed: One phrase for each difference, most telling first, such as `data/rows.csv, which has changed since`.
            Each follows the words `train 43116517 read`.
        unclear: One sentence for each thing that cannot be compared here or was not seen, and must be asked about.
        mentions: One sentence for each thing that a reader of the verdict should know and that stops nothing.
        compared: The number of observed files that were compared.
        state: A digest of the differences as they are now, so that an answer counts for this state alone. Empty when
            nothing differs.
        complete: True when everything that the run read was compared, as far as it is known.
        steps: One phrase for each step that the run had started, with its answer now: `src/clean: run 9bf39c52`.
        rows: Everything that the run read, with the state of each. Empty unless it was asked for.
    """

    changed: tuple[str, ...] = ()
    unclear: tuple[str, ...] = ()
    mentions: tuple[str, ...] = ()
    compared: int = 0
    state: str = ""
    complete: bool = True
    steps: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
