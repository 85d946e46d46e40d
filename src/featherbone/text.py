"""Text that others wrote, on its way to a terminal, a page or a file."""

from __future__ import annotations

import unicodedata

# control characters, lone surrogates, line and paragraph separators; of the invisible formats only those that join
_UNSHOWN = {"Cc", "Cs", "Zl", "Zp", "Cf"}
_JOINERS = "\u200c\u200d"


def printable(text: str) -> str:
    r"""Return a text as one line that every terminal, page and file can hold; bytes that are no text as ``\xff``.

    >>> print(printable("a\nb\udcff"))
    a\nb\xff
    """
    return text if text.isprintable() else "".join(map(_shown, text))


def _shown(character: str) -> str:
    if unicodedata.category(character) not in _UNSHOWN or character in _JOINERS:
        return character
    if "\udc80" <= character <= "\udcff":  # how Python keeps a byte that is no UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()
