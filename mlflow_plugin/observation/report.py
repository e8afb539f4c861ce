"""Collect what a comparison finds, most telling first."""

from dataclasses import dataclass, field

from mlflow_plugin.observation.findings import Findings, Row
from mlflow_plugin.observation.readable import readable
from mlflow_plugin.project.digests import value_digest
from mlflow_plugin.project.vocabulary import ReadKind, ReadState

_ORDER: tuple[ReadKind, ...] = (
    "step",
    "file",
    "folder",
    "absent",
    "module",
    "variable",
    "reference",
    "hub",
    "package",
    "environment file",
)


@dataclass
class Report:
    """What was found so far.

    Attributes:
        want_rows: Keep a row for everything, also for what is unchanged.
    """

    want_rows: bool = False
    _changed: list[tuple[int, str]] = field(default_factory=list)
    _unclear: list[str] = field(default_factory=list)
    _mentions: list[str] = field(default_factory=list)
    _state: list[list[str]] = field(default_factory=list)
    _rows: list[Row] = field(default_factory=list)
    _steps: list[str] = field(default_factory=list)
    _complete: bool = True

    @property
    def differs(self) -> bool:
        """True when something differs or cannot be compared."""
        return bool(self._changed or self._unclear)

    def changed(
        self, kind: ReadKind, name: str, phrase: str, now: str, *, missing: bool = False, remark: str = ""
    ) -> None:
        """Take in a difference.

        Args:
            kind: What differs.
            name: Its name.
            phrase: It follows the words `train 43116517 read`.
            now: Its state now, in any form.
            missing: It is gone.
            remark: For the row.
        """
        self._changed.append((_ORDER.index(kind), phrase))
        self._state.append([kind, name, now])
        self.row(kind, name, "missing" if missing else "changed", remark=remark)

    def unclear(self, sentence: str, state: list[str]) -> None:
        """Take in a thing that cannot be compared, so that a person must be asked; `state` tells it from others."""
        self._unclear.append(sentence)
        self._state.append(state)
        self._complete = False

    def mention(self, sentence: str, *, complete: bool = True) -> None:
        """Take in a thing that a reader should know. It is not complete when something was not compared."""
        self._mentions.append(sentence)
        self._complete = self._complete and complete

    def step(self, phrase: str) -> None:
        """Take in a step and its answer now."""
        self._steps.append(phrase)

    def incomplete(self) -> None:
        """Take in that something was not compared which needs no sentence."""
        self._complete = False

    def row(self, kind: ReadKind, name: str, state: ReadState, *, size: int | None = None, remark: str = "") -> None:
        """Take in a row, if rows are wanted."""
        if self.want_rows:
            self._rows.append(Row(kind, readable(name), state, size, remark))

    def findings(self, compared: int) -> Findings:
        """Return everything that was found."""
        return Findings(
            changed=tuple(phrase for _, phrase in sorted(self._changed, key=lambda one: one[0])),
            unclear=tuple(dict.fromkeys(self._unclear)),
            mentions=tuple(dict.fromkeys(self._mentions)),
            compared=compared,
            state=value_digest(sorted(self._state)) if self._state else "",
            complete=self._complete,
            steps=tuple(self._steps),
            rows=tuple(self._rows),
        )
