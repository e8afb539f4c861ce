"""Grade code: take it out of a completion and run its tests in the sandbox. Follows HumanEval's and MBPP's
conventions.
"""

import ast
import re
import textwrap
import threading
import warnings
from collections.abc import Iterator

from projects_common.sandbox import confined
from projects_common.sandbox.confined import DEFAULT_LIMITS, Limits

from lora_retraining.data.tasks import Grade, Task

_FENCE = re.compile(r"^[ \t]*```[ \t]*([\w+-]*)[^\n]*\n(.*?)(^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)
_PYTHON = {"", "python", "py", "python3"}
_BEGINS = re.compile(r"^(?:(?:async )?def |class |import |from |@)", re.MULTILINE)
_LONGEST = 64 * 1024
_MOST_LINES = 400
_filters = threading.Lock()
"""Filters of warnings belong to the whole process, and grading has several threads."""


def grade_code(task: Task, completion: str, limits: Limits = DEFAULT_LIMITS) -> Grade:
    """Run the task's tests on the code in the completion. A task without tests stays undecided."""
    if not task.tests.strip():
        return Grade(None, "the task has no tests")
    code = extract_code(completion, task.entry_point, task.prefix)
    if not code:
        return Grade(False, "no code in the completion")
    result = confined.run(program(code, task), with_call_of_check(task), task.entry_point, limits, task.prefix)
    reason = f"{result.status}: {result.message}" if result.message else result.status
    return Grade(None if result.status == "undecided" else result.status == "passed", reason, code)


def program(code: str, task: Task) -> str:
    """Put the code behind HumanEval's prompt: its imports, and functions that the code may call."""
    if not task.prefix or code.startswith(task.prefix) or "from __future__" in code:
        return code
    return f"{task.prefix}\n\n{code}"


def with_call_of_check(task: Task) -> str:
    """Return the tests, with the call of HumanEval's `check(candidate)` if they only define it."""
    tree = _parsed(task.tests)
    if tree is None or not any(isinstance(node, ast.FunctionDef) and node.name == "check" for node in tree.body):
        return task.tests
    calls = (node.value for node in tree.body if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call))
    if any(isinstance(call.func, ast.Name) and call.func.id == "check" for call in calls):
        return task.tests
    return f"{task.tests}\n\ncheck({task.entry_point})\n"


def extract_code(completion: str, entry_point: str = "", prefix: str = "") -> str:
    """Return the code in a completion, "" if there is none.

    It is the first block that defines `entry_point`, with the imports and definitions of the blocks before it; else the
    body that continues `prefix`; else the first block; else the text from the first line of code. An exception in the
    model's own examples counts against it, as in HumanEval's own harness.
    """
    text = completion[:_LONGEST].replace("\r\n", "\n")
    blocks = list(_blocks(text))
    unfenced = [] if blocks else list(_unfenced(text))
    for number, code in enumerate((*blocks, *unfenced)):
        if entry_point and _defines(code, entry_point):
            return "\n".join([*filter(None, map(_definitions, blocks[:number])), code])
    if prefix:
        for body in blocks or [text]:
            if continued := _continued(prefix, body):
                return continued
    return next((code for code in (*blocks, *unfenced) if code.strip()), "")


def _blocks(text: str) -> Iterator[str]:
    """Yield the content of Python's fences, also inside lists; of a last one that was cut off, the part that can
    run.
    """
    for language, body, end in _FENCE.findall(text):
        if language.lower() in _PYTHON and body.strip():
            body = textwrap.dedent(body)
            yield body if end else _longest_code(body)


def _definitions(code: str) -> str:
    """Return the imports and definitions of a block, without its examples."""
    tree = _parsed(code)
    kept = ast.Import | ast.ImportFrom | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return "" if tree is None else "\n".join(ast.unparse(node) for node in tree.body if isinstance(node, kept))


def _unfenced(text: str) -> Iterator[str]:
    """Yield the text itself if it is code, else its part from the first line that looks like code."""
    if _parsed(text) is not None:
        yield text
    elif begin := _BEGINS.search(text):
        yield _longest_code(text[begin.start() :])


def _continued(prefix: str, body: str) -> str:
    """Join the prefix, whose last function has no body yet, with the body; "" if they make no code together."""
    body = body.strip("\n")
    for indented in (body, f"    {body}", textwrap.indent(textwrap.dedent(body), "    ")):
        if not indented[:1].isspace():
            continue  # Beside the function it would be a module of its own, and the function empty.
        code = _longest_code(f"{prefix.rstrip()}\n{indented}")
        tree = _parsed(code)
        if len(code) > len(prefix) and tree is not None and not isinstance(tree.body[-1], ast.Return):
            return code
    return ""


def _longest_code(text: str) -> str:
    """Drop the lines at the end that keep a text from being code; return it unchanged if no part is code."""
    lines = text.split("\n")[:_MOST_LINES]
    for count in range(len(lines), 0, -1):
        shorter = "\n".join(lines[:count])
        if _parsed(shorter) is not None:
            return shorter
    return text


def _defines(code: str, name: str) -> bool:
    tree = _parsed(code)
    if tree is None:
        return re.search(rf"^\s*(?:async\s+)?(?:def|class)\s+{re.escape(name)}\b", code, re.MULTILINE) is not None
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name == name:
            return True
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            return True
    return False


def _parsed(code: str) -> ast.Module | None:
    try:
        with _filters, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
