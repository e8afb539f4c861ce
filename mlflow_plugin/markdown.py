"""Text of any origin in Markdown: nothing in it can end a list, open a tag or become a link."""

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


def _visible(character: str) -> str:
    return f"U+{ord(character):04X}" if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn") else character


def link(text: str, address: str) -> str:
    """Return a Markdown link, or only the text if the address is neither http(s) nor a place of the page."""
    safe = re.fullmatch(r"(https?://|#/)[^\s<>()\\`\"]*", address)
    return f"[{plain(text)}]({address})" if safe else plain(text)
