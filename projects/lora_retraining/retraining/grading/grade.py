"""What grading says of one completion."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Grade:
    """`correct` is None where nothing objective decides; `extracted` is the answer or code that was looked at."""

    correct: bool | None
    reason: str
    extracted: str = ""
