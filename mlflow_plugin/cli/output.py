"""Printing: the one place of the command line that writes to the terminal.

What it prints comes from a store that anybody can write to, so that nothing in it may move the cursor, hide a line or
turn the direction of writing.
"""

import click

from mlflow_plugin.markdown import printable

__all__ = ["say"]


def say(text: str, *, error: bool = False, end: str = "\n") -> None:
    """Print a text to standard output, or to standard error. Characters that a terminal obeys are shown as such."""
    click.echo(f"{printable(text)}{end}", err=error, nl=False)
