"""What came of loading weights of another project."""

from __future__ import annotations

from dataclasses import dataclass

from featherbone.data import Preprocess
from featherbone.errors import some
from featherbone.weights.importers.proof import Proof

UNPROVED = "matched by order: shapes agree, and nothing else is known; prove it with --check"


@dataclass(frozen=True)
class Imported:
    """What came of loading foreign weights.

    Attributes:
        source: the project whose form the file has.
        loaded: how many of our tensors were filled.
        missing: our tensors that the file has nothing for; they keep what they had. Only last layers may be missing.
        left_over: tensors beside the loaded ones that no layer of ours takes, for example a detector's head.
        notes: what was chosen, converted and adapted on the way.
        preprocess: how the weights want their images, where the project's files do not differ in it.
        part: what the weights are called in the file, for example "state_dict"; nothing where they are alone in it.
        others: what else the file holds tensors under, for example other weights of the network, or an optimizer.
        by_order: whether the names were not known, and layers were matched in the order of running.
        untold: columns that stay as the row has them, as neither tensors nor names tell them; nothing once proved.
        proof: the outputs beside a reference, if one was given.
        accuracy: share of images whose class is right, if there were some to evaluate on.
    """

    source: str
    loaded: int
    missing: tuple[str, ...] = ()
    left_over: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    preprocess: Preprocess | None = None
    part: str = ""
    others: tuple[str, ...] = ()
    by_order: bool = False
    untold: tuple[str, ...] = ()
    proof: Proof | None = None
    accuracy: float | None = None

    @property
    def unproved(self) -> str:
        """What is to be said of a match by order that nothing has proved; nothing of any other."""
        return UNPROVED if self.by_order and not self.proof and self.accuracy is None else ""

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is to be known of the weights for as long as they are used."""
        remarks = []
        if self.proof:
            remarks.append(f"outputs agree with a reference: {self.proof}")
        if self.accuracy is not None:
            remarks.append(f"top-1 {self.accuracy:.2%} when imported")
        if self.unproved:
            remarks.append(self.unproved)
        if self.untold:
            remarks.append(f"no tensor tells {some(self.untold, 9)}")
        return tuple(remarks)
