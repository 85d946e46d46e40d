"""Names that come from outside: of files, classes and splits."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from featherbone.text import printable as one_line

TRAIN, VAL, TEST, ALL = "train", "val", "test", "all"

# the words for each split, those that count more first
SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "dev"), VAL),
    **dict.fromkeys(("test", "testing"), TEST),
}


def composed(text: str) -> str:
    """Return text in Unicode's composed form (NFC), as most programs write it: two that look alike are one."""
    return unicodedata.normalize("NFC", text)


def printable(name: str) -> str:
    r"""Return a name as one line that every terminal, page and file can hold, composed; bytes of no text as ``\xff``.

    >>> print(printable("a\nb\udcff"), printable("e\u0301") == "\u00e9")
    a\nb\xff True
    """
    return one_line(composed(name))


def class_list(text: str) -> tuple[str, ...]:
    r"""Return the names in a list of classes, one a line: the number of the line, from 0, is the class's.

    An empty line is a class without a name: it is called by its number, and those after it keep theirs.

    >>> class_list("cat\n\ndog \n")
    ('cat', '1', 'dog')
    """
    lines = text.rstrip().split("\n") if text.strip() else []
    return tuple(printable(line.strip()) or str(number) for number, line in enumerate(lines))


def split_of(name: str) -> str | None:
    """Return the split that a word names: ``train``, ``val``, ``test`` or none.

    >>> split_of("Validation"), split_of("holdout")
    ('val', None)
    """
    return SPLIT_WORDS.get(name.strip().lower())


def split_in(path: str) -> str | None:
    """Return the split that a word of a path names, the last one first.

    >>> split_in("imagenet-train-000000.tar"), split_in("val/000.tar"), split_in("trained/000.tar")
    ('train', 'val', None)
    """
    words = (split_of(word) for word in reversed(re.split(r"[^a-zA-Z]+", path)))
    return next((split for split in words if split), None)


def in_order(labels: Iterable[str]) -> tuple[str, ...]:
    """Return the different labels, sorted: as numbers if all of them are.

    >>> in_order(["10", "9", "10"]), in_order(["b", "10", "9"])
    (('9', '10'), ('10', '9', 'b'))
    """
    different = set(labels)
    numbers = all(re.fullmatch(r"-?[0-9]{1,18}", label) for label in different)
    return tuple(sorted(different, key=(lambda label: (int(label), label)) if numbers else None))
