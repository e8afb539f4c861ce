"""Text of any origin, at a terminal and in Markdown: nothing in it moves the cursor, opens a tag or becomes a link."""

import re
import unicodedata

# Characters with a meaning in the middle of a line. Underscores inside words and dollars before digits have none.
_SPECIAL = re.compile(r"[\\`*\[\]|~]|(?<![^\W_])_|_(?![^\W_])|\$(?!\d)")


def plain(text: str) -> str:
    """Escape a text of any origin to one line of Markdown that shows the text as it is.

    Control characters, and those that turn the direction of writing, become their code points.

    >>> print(plain("<b> [x](y), *much* and a_b"))
    &lt;b> \\[x\\](y), \\*much\\* and a_b
    """
    return _SPECIAL.sub(lambda match: f"\\{match[0]}", one_line(text)).replace("&", "&amp;").replace("<", "&lt;")


def one_line(text: str) -> str:
    r"""Return a text of any origin as one line, without characters that a terminal or a browser obeys.

    >>> one_line("a\n b\x1b[2J")
    'a bU+001B[2J'
    """
    return "".join(_visible(character) for character in " ".join(text.split()))


def printable(text: str) -> str:
    r"""Return a text of any origin without characters that a terminal obeys; its lines stay lines.

    >>> printable("a\n  b\x1b[2J\r\u202e")
    'a\n  bU+001B[2JU+000DU+202E'
    """
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    return "".join(one if one in "\n\t" else _visible(one, _OBEYED) for one in text)


_OBEYED = ("Cc", "Cf", "Cs", "Zl", "Zp")


def _visible(character: str, hidden: tuple[str, ...] = (*_OBEYED, "Co", "Cn")) -> str:
    return f"U+{ord(character):04X}" if unicodedata.category(character) in hidden else character


def link(text: str, address: str) -> str:
    """Return a Markdown link, or only the text if the address is neither http(s) nor a place of the page."""
    safe = re.fullmatch(r"(https?://|#/)[^\s<>()\\`\"]*", address)
    return f"[{plain(text)}]({address})" if safe else plain(text)
