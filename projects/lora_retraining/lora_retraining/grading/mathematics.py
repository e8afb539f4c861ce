r"""Grade final answers of mathematical tasks: take them out of the text, and compare their values with math-verify.

An answer is equal or it is not; "contains" is never enough. Sources: GSM8K's "#### N" (Cobbe et al. 2021,
arXiv:2110.14168); \boxed{} as in MATH (Hendrycks et al. 2021, arXiv:2103.03874).

math-verify runs in a process of its own. It guards itself by SIGALRM, which works in a main thread only and interrupts
no long operation in C, such as 9^9^9^9. A process can be ended from any thread.
"""

import atexit
import multiprocessing
import re
import threading
from dataclasses import dataclass
from fractions import Fraction
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from lora_retraining.data.tasks import Grade, Task

_HASHES = re.compile(r"^[ \t]*####[ \t]*(\S[^\n]*)", re.MULTILINE)
_SAID = re.compile(
    r"(?:(?:final|correct)\s+answer|the\s+answer|^\**answer)\**"
    r"(?:[ \t]+(?:is|are|will\s+be|equals)\b[ \t]*:?|[ \t]*[:=])\**[ \t]*(?=\S)",
    re.IGNORECASE | re.MULTILINE,
)
_PLAIN = r"(?:\d{1,3}(?:[, ]\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
_ANY_NUMBER = re.compile(rf"(?<![\w.])[-\u2212]?\s?\$?(?:{_PLAIN})(?:\s*/\s*\d+)?(?:\s*\\?%)?")
# A word, or a letter that stands for a unit rather than for a variable.
_UNIT = r"(?:[A-Za-z][A-Za-z'/-]+|[mgslhwvjnk])\.?(?:\^\{[23]\}|[\u00b2\u00b3])?"
_NUMBER = re.compile(
    rf"(?P<sign>[-+]?)\s*(?P<currency>[$\u20ac\u00a3\u00a5]|USD|US\$)?\s*(?P<inner>-?)"
    rf"(?:(?P<whole>\d+)\s+(?P<above>\d+)\s*/\s*(?P<below>\d+)|(?P<number>{_PLAIN})"
    rf"(?:[eE](?P<power>[-+]?\d{{1,2}})|\s*/\s*(?P<divisor>\d+(?:\.\d+)?))?)"
    rf"\s*(?P<percent>%|per\s?cent\b)?\s*(?P<scale>thousand\b|million\b|billion\b)?"
    rf"(?:\s*(?:\u00b0[CF]?|{_UNIT})(?:\s+[A-Za-z][A-Za-z'/-]*\.?)*)?",
    re.IGNORECASE,
)
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9}
_SEVERAL = re.compile(r"\d\W*\s(?:or|and)\s\W*\d", re.IGNORECASE)
_LONGEST = 200
_SECONDS = 5
_START_SECONDS = 60
_TOLERANCE = 6
"""Decimal places in which a decimal may differ from a fraction, as math-verify rounds."""


@dataclass(frozen=True)
class Number:
    """An exact value as it was written: 20% has the value 20 and `percent`."""

    value: Fraction
    percent: bool = False


def grade_math(task: Task, completion: str) -> Grade:
    """Compare the final answer with the task's. It stays undecided if the task's own answer cannot be read."""
    gold = gold_answer(task.answer)
    given = extract_answer(completion)
    if not given:
        return Grade(False, "no answer in the completion")
    correct = same_answer(gold, given) if gold else None
    if correct is None:
        return Grade(None, f"the task's own answer cannot be read: {gold[:_LONGEST]!r}", given)
    return Grade(correct, "equal" if correct else f"{given!r} is not {gold!r}", given)


def gold_answer(answer: str) -> str:
    """Return the task's right answer. GSM8K's answers hold the whole solution: only the text after #### counts."""
    if "####" in answer:
        return answer.rsplit("####", 1)[1].strip()
    return boxed(answer) or (answer.strip() if len(answer) <= _LONGEST and "\n" not in answer.strip() else "")


def extract_answer(completion: str) -> str:
    r"""Return the final answer by the first convention that the text keeps, "" if there is none.

    The conventions: after the first ####; in the last \boxed{}; after the last "the answer is"; the last number.
    """
    if match := _HASHES.search(completion):
        return _sentence(match[1])
    if inside := boxed(completion):
        return inside[:_LONGEST]
    if phrases := list(_SAID.finditer(completion)):
        return _sentence(completion[phrases[-1].end() :].split("\n", 1)[0])
    numbers = _ANY_NUMBER.findall(completion)
    return numbers[-1].strip() if numbers else ""


def boxed(text: str) -> str:
    r"""Return the content of the last \boxed{}, with its braces balanced; "" if there is none."""
    begin = text.rfind("\\boxed{")
    if begin < 0:
        return ""
    begin += len("\\boxed{")
    depth = 1
    for at in range(begin, len(text)):
        depth += (text[at] == "{") - (text[at] == "}")
        if not depth:
            return text[begin:at].strip()
    return ""


def _sentence(text: str) -> str:
    """Return the text up to the end of its sentence, and of that the part after the last "="."""
    text = re.split(r"(?<!\d)\.(?:\s|$)|[.!;](?:\s|$)|<\|", text.strip(), maxsplit=1)[0]
    text = re.sub(r"\s+\([^()\d]*\)$", "", text.rsplit("=", 1)[-1].strip())  # 12 (twelve)
    return text[:_LONGEST]


def same_answer(gold: str, given: str) -> bool | None:
    """Tell if two answers have one value; None if `gold` has none.

    1,000 is 1000, $5.00 is 5, 1/2 is 0.5, 20% is 0.2 or 20, and a unit behind a number does not count. Several answers
    ("18 or 20") are equal to no single one.
    """
    if _plain(gold) == _plain(given):
        return True
    if _SEVERAL.search(given) and not _SEVERAL.search(gold):
        return False
    right, offered = number(gold), number(given)
    if right is None or offered is None:
        return equal_expressions(_plain(gold), _plain(given))
    values = {offered.value}
    if offered.percent != right.percent:  # "20%" where 20 was asked for, or 0.2; or the other way round
        values.add(offered.value / 100 if offered.percent else offered.value * 100)
    return any(equal_numbers(right.value, value) for value in values)


def number(text: str) -> Number | None:
    """Return the value of a number with its currency, percent sign or unit. None for anything else."""
    match = _NUMBER.fullmatch(_plain(text))
    if match is None:
        return None
    if match["whole"]:
        if not int(match["below"]):
            return None
        value = int(match["whole"]) + Fraction(int(match["above"]), int(match["below"]))
    else:
        value = Fraction(re.sub(r"[, ]", "", match["number"])) * Fraction(10) ** int(match["power"] or 0)
        if match["divisor"]:
            if not Fraction(match["divisor"]):
                return None
            value /= Fraction(match["divisor"])
    value *= _SCALES.get((match["scale"] or "").lower(), 1)
    negative = (match["sign"] == "-") != (match["inner"] == "-")
    return Number(-value if negative else value, bool(match["percent"]))


def _plain(text: str) -> str:
    """Remove the mark-up of LaTeX and Markdown that does not change an answer's value."""
    text = text.strip()[:_LONGEST].replace("\u2212", "-").replace("`", "")
    text = re.sub(r"(?<![\w)])\*\*([^*]+)\*\*(?![\w(])", r"\1", text).strip("*")  # bold, but 2**3 is a power
    text = re.sub(r"(?:\*\*|\^)[ (]*(-?\d+)\)?", r"^{\1}", text)
    text = re.sub(r"\\(?:text|mathrm|mbox)\s*\{([^{}]*)\}", r" \1", text)
    text = re.sub(r"\\[dt]?frac\s*\{(-?[\d.]+)\}\s*\{([\d.]+)\}", r" \1/\2", text)
    text = text.replace("{,}", ",").replace("^\\circ", "\u00b0").replace("\\circ", "\u00b0")
    text = re.sub(r"\\[,;!: ]|\\left|\\right|\\[()\[\]]|~", " " if "," not in text else "", text)
    text = text.replace("\\$", "$").replace("\\%", "%").strip()
    if len(text) > 2 and text[0] == text[-1] == "$":
        text = text[1:-1]
    return re.sub(r"\s+", " ", text).strip(" .,!:;")


def equal_numbers(gold: Fraction, given: Fraction) -> bool:
    """Tell if two exact values are one number: 0.333333 stands for 1/3, 0.333 does not."""
    return abs(gold - given) < Fraction(1, 2 * 10**_TOLERANCE)


def equal_expressions(gold: str, given: str) -> bool | None:
    """Tell if two expressions in LaTeX or plain text have one value, by math-verify; None if `gold` has none.

    Expressions that take longer than a few seconds to compare are not equal.
    """
    return _worker.compare(gold, given)


class _Worker:
    """The process of math-verify, started when first needed and again after it had to be ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None

    def compare(self, gold: str, given: str) -> bool | None:
        with self._lock:
            connection = self._ready()
            try:
                connection.send((gold, given))
                if connection.poll(_SECONDS):
                    answer: bool | None = connection.recv()
                    return answer
            except (EOFError, OSError):
                pass  # It was killed, or ran out of memory: as with one that takes too long.
            self.end()
            return False

    def _ready(self) -> Connection:
        if self._connection is None or self._process is None or not self._process.is_alive():
            # spawn: a fork would take over the locks of torch's threads in this process.
            context = multiprocessing.get_context("spawn")
            self._connection, theirs = context.Pipe()
            self._process = context.Process(target=_serve, args=(theirs,), name="math-verify", daemon=True)
            self._process.start()
            theirs.close()
            atexit.register(self.end)
            if self._connection.poll(_START_SECONDS):
                self._connection.recv()
        return self._connection

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
        if self._connection is not None:
            self._connection.close()
        self._process = self._connection = None


_worker = _Worker()


def _serve(connection: Connection) -> None:
    import resource
    import signal
    from contextlib import suppress

    from math_verify import parse, verify

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process.
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (2 * 2**30, resource.getrlimit(resource.RLIMIT_AS)[1]))
    connection.send("ready")
    with suppress(EOFError, OSError):
        while True:
            gold, given = (parse(f"\\boxed{{{text}}}", parsing_timeout=_SECONDS) for text in connection.recv())
            connection.send(verify(gold, given, timeout_seconds=_SECONDS) if gold else None)
