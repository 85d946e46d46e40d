"""Names that others chose, such as those of classes, in matplotlib's pictures."""

from __future__ import annotations


def written(name: str) -> str:
    r"""Return a name that matplotlib writes as it is: "$" would begin a formula, "_" at the start hides a line.

    >>> written("cost $5 to $10"), written("cat")
    ('cost \\$5 to \\$10', 'cat')
    """
    return ("\u200b" + name if name.startswith("_") else name).replace("$", r"\$")
