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
    **dict.fromkeys(("val", "valid", "validation", "validate", "eval", "evaluation", "dev"), VAL),
    **dict.fromkeys(("test", "testing"), TEST),
}
# what such a word is written together with: trainset, testimages
_PLAIN_ENDS = ("set", "data", "images", "imgs")

# what systems and programs put into people's folders, in small letters; what begins with a point is theirs, too
_SYSTEM_NAMES = frozenset(
    (
        *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "picasa.ini", "zbthumbnail.info", "icon\r"),
        *("@eadir", "@__thumb", "@recycle", "@recently-snapshot", "@synoresource", "#recycle", "#snapshot", "@tmp"),
        *("__macosx", "lost+found", "$recycle.bin", "recycler", "system volume information", "found.000"),
        *("network trash folder", "temporary items", "__pycache__"),
    )
)


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
    """Return the split that the words of a path name, those of its last part first; none if they name several.

    >>> split_in("imagenet-train-000000.tar"), split_in("val/000.tar"), split_in("trained/000.tar")
    ('train', 'val', None)
    >>> split_in("test-dev2017"), split_in("TrainImages"), split_in("train_val")  # COCO's development set is a test
    ('test', 'train', None)
    """
    for part in reversed(re.split(r"[/\\]", path)):
        words = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", part)]
        found = {split for word in words if (split := SPLIT_WORDS.get(_plain(word)))}
        if len(found) == 1 or (found == {VAL, TEST} and "dev" in words):
            return TEST if TEST in found else found.pop()
        if found:
            return None
    return None


def is_system(name: str) -> bool:
    """Return whether a file or folder is of the system or hidden: no part of anybody's data.

    >>> is_system("@eaDir"), is_system("._cat.jpg"), is_system("Thumbs.db"), is_system("cat.jpg")
    (True, True, True, False)
    """
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


def in_order(labels: Iterable[str]) -> tuple[str, ...]:
    """Return the different labels, sorted: as numbers if all of them are.

    >>> in_order(["10", "9", "10"]), in_order(["b", "10", "9"])
    (('9', '10'), ('10', '9', 'b'))
    """
    different = set(labels)
    numbers = all(re.fullmatch(r"-?[0-9]{1,18}", label) for label in different)
    return tuple(sorted(different, key=(lambda label: (int(label), label)) if numbers else None))


def _plain(word: str) -> str:
    return next((word.removesuffix(end) for end in _PLAIN_ENDS if word.removesuffix(end) in SPLIT_WORDS), word)
