"""Text of others in Markdown, as text: nothing in it can end a list, open a tag or become a link."""

import re
import unicodedata

# What means something in the middle of a line. Underscores inside words and dollars before digits do not.
_SPECIAL = re.compile(r"[\\`*\[\]|~]|(?<![^\W_])_|_(?![^\W_])|\$(?!\d)")


def plain(text: str) -> str:
    """A text of any origin as one line of Markdown that shows it as it is.

    Control characters, and those that turn the direction of writing, are shown as their code points.

    >>> print(plain("<b> [x](y), *much* and a_b"))
    &lt;b> \\[x\\](y), \\*much\\* and a_b
    """
    return _SPECIAL.sub(lambda found: f"\\{found[0]}", one_line(text)).replace("&", "&amp;").replace("<", "&lt;")


def one_line(text: str) -> str:
    """A text of any origin as one line without characters that a terminal or a browser obeys."""
    return "".join(_visible(character) for character in " ".join(text.split()))


def _visible(character: str) -> str:
    return f"U+{ord(character):04X}" if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn") else character


def link(text: str, address: str) -> str:
    """A link; an address that is none is left out, and its text stays."""
    safe = re.fullmatch(r"(https?://|#/)[^\s<>()\\`\"]*", address)
    return f"[{plain(text)}]({address})" if safe else plain(text)
