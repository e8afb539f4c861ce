"""Say in words why code or a test ended with an error."""

import errno
import os

_REFUSED = {errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EROFS}
_FULL = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}
_LONGEST = 300


def verdict(error: BaseException) -> tuple[str, str]:
    """Return the (status, message) of code that ended with this error."""
    if isinstance(error, MemoryError):
        return "memory", "ran out of the memory that it may use"
    said = described(error)
    if isinstance(error, OSError) and (error.errno in _REFUSED or _is_outside(error)):
        return "refused", f"tried what is not permitted here: {said}"[:_LONGEST]
    if isinstance(error, OSError) and error.errno in _FULL:
        return "failed", f"wrote more bytes of files than it may: {said}"[:_LONGEST]
    if isinstance(error, SystemExit):
        return "failed", f"ended itself before its tests were passed ({said})"[:_LONGEST]
    return "failed", said


def described(error: BaseException) -> str:
    """Return the type and the text of an error, in one line."""
    kind = type(error).__name__[:100]
    try:
        text = " ".join(str(error)[: 10 * _LONGEST].split())
    except BaseException:
        text = ""
    return (f"{kind}: {text}" if text else kind)[:_LONGEST]


def with_line(message: str, error: BaseException, tests: str) -> str:
    """Add the line of the tests that was running to a message."""
    lines, trace, found = tests.splitlines(), error.__traceback__, ""
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<tests>" and 0 < trace.tb_lineno <= len(lines):
            found = lines[trace.tb_lineno - 1].strip()
        trace = trace.tb_next
    return f"{message} in the test: {found[:_LONGEST]}" if found else message


def _is_outside(error: OSError) -> bool:
    """Tell if a file is missing because it lies outside of all that a confined process sees."""
    name = error.filename
    if error.errno != errno.ENOENT or not isinstance(name, str):
        return False
    return os.path.isabs(name) and os.path.commonpath([os.path.normpath(name), os.getcwd()]) != os.getcwd()
