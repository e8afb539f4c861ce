"""Exchange messages between two processes over pipes: four bytes of length, then JSON."""

import json
import os
from typing import Any

LONGEST = 16 * 2**20
"""Bytes of a message at most."""


class TooLongError(Exception):
    """A message is longer than it may be."""


class ClosedError(Exception):
    """The other process has closed its end."""


def send(descriptor: int, message: dict[str, Any]) -> None:
    """Send a message. Raise TooLongError or ClosedError if it cannot be sent."""
    content = json.dumps(message).encode("ascii")
    if len(content) > LONGEST:
        raise TooLongError
    left = memoryview(len(content).to_bytes(4, "big") + content)
    try:
        while left:
            left = left[os.write(descriptor, left) :]
    except OSError:
        raise ClosedError from None


def receive(descriptor: int) -> dict[str, Any]:
    """Wait for a message.

    Raises:
        TooLongError: It is longer than a message may be.
        ClosedError: There is none.
        ValueError: It is no JSON object.
    """
    length = int.from_bytes(_read(descriptor, 4), "big")
    if length > LONGEST:
        raise TooLongError
    try:
        message = json.loads(_read(descriptor, length))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(message, dict):
        raise ValueError("it is no JSON object")
    return message


def _read(descriptor: int, count: int) -> bytes:
    content = bytearray()
    while len(content) < count:
        try:
            part = os.read(descriptor, min(count - len(content), 2**16))
        except OSError:
            part = b""
        if not part:
            raise ClosedError
        content += part
    return bytes(content)
