"""Show names from a store to a person: one line, no control characters, not too long."""

_MOST = 200


def readable(text: str) -> str:
    """Return a text as one printable line. Bytes that are not UTF-8 and control characters are shown as escapes.

    >>> readable("data/rows.csv"), readable("a\\nb"), readable("x" * 300) == "x" * 99 + "..." + "x" * 98
    ('data/rows.csv', 'a\\\\nb', True)
    """
    if not text.isprintable():
        text = "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)
    return text if len(text) <= _MOST else f"{text[:99]}...{text[-98:]}"


def listed(names: list[str], most: int = 3) -> str:
    """Return the first names of a list, readable, and the number of the others.

    >>> listed(["a", "b"]), listed(["a", "b", "c", "d", "e"])
    ('a and b', 'a, b, c and 2 more')
    """
    shown = [readable(name) for name in names[:most]]
    if len(names) > most:
        return f"{', '.join(shown)} and {len(names) - most:,} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else "".join(shown)
