"""A recipe: everything that determines a run, as one frozen row that is saved with it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from featherbone.detect.losses import BOX_LOSSES, BoxLoss
from featherbone.errors import InputError, nearest

_CHOICES = {
    "precision": ("auto", "f32", "bf16"),
    "optimizer": ("sgd", "adamw", "muon"),
    "schedule": ("cosine", "steps", "linear", "polynomial"),
    "class_weights": ("none", "balanced"),
    "init": ("authors", "torch"),
    "box_loss": BOX_LOSSES,
}
_RESOLVED = ("model", "data", "size", "precision", "channels_last", "workers")
_MOST_WORKERS = 256
_COUNTS = ("epochs", "batch_size")  # whole numbers above 0
_WHOLE = ("size", "seed", "rand_augment", "freeze_epochs", "patience")
_NOT_NEGATIVE = ("weight_decay", "rotation", "mixup", "cutmix", "clip_grad", "power", "checkpoint_seconds", "minutes")
_BELOW_ONE = ("momentum", "label_smoothing", "warmup", "translate", "ema_decay", "scale", "multi_scale")
_SHARES = ("flip", "random_erasing", "distill_weight", "mosaic", "color_jitter")
_SOME = ("crop_min", "crop_pct", "layer_decay", "fraction")  # above 0, at most 1
_LISTS = ("milestones", "freeze", "train_size")  # in JSON; tuples here
# columns that only one task has
_OWNERS: Mapping[str, tuple[str, ...]] = {
    "classification": (
        *("label_smoothing", "class_weights", "crop_min", "shift", "rotation", "rand_augment", "random_erasing"),
        *("mixup", "cutmix", "train_size", "crop_pct", "teacher"),
    ),
    "detection": ("mosaic", "scale", "color_jitter", "multi_scale", "box_loss"),
}
# what columns were called in runs that are older than decision 12
RENAMED: Mapping[str, str] = {
    "averaging": "ema_decay",
    "head_first": "freeze_epochs",
    "decay_all": "decay_norms",
    "clip": "clip_grad",
    "crop": "crop_pct",
    "erase": "random_erasing",
    "zoom": "scale",
    "jitter": "color_jitter",
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that determines a run; with the same recipe, data and machine it gives the same weights.

    The first six are filled in when a run starts, from its arguments, its data and a short measurement.

    Attributes:
        model: the network's row (``spec_to_dict``).
        data: what was given as the data set: ``digits``, a folder, a file.
        size: side of the input, in pixels.
        precision: "f32", "bf16" (autocast), or "auto": the faster one here, measured.
        channels_last: memory order of the images; ``None``: the faster one here, measured.
        workers: processes that decode images beside the one that trains; ``None``: as many as suit the machine.
        compile: let ``torch.compile`` make the network faster (a minute first, then most on a GPU).
        init: how a fresh network (of a detector: its backbone) begins: with the weights that the family's authors draw,
            or those of PyTorch's layers ("torch").
        epochs: passes over the training images.
        minutes: time for training and validation, which then counts and not ``epochs``: the schedule follows the clock,
            and the last epoch is cut short. Such a run does not give the same weights twice. 0: by ``epochs``.
        batch_size: images per step, over all processes together.
        optimizer: "sgd" (Nesterov), "adamw", or "muon" for convolutions that a norm follows, with "sgd" for all else.
        lr: highest learning rate; it rises linearly from zero, then falls as the schedule says.
        warmup: share of the steps in which it rises.
        schedule: "cosine" to zero, "linear" to zero, "polynomial" to zero, or "steps": a tenth at each milestone.
        milestones: shares of the run at which "steps" falls.
        power: of "polynomial".
        weight_decay: L2 penalty of SGD, decoupled decay of AdamW; Muon needs none.
        decay_norms: decay norms and biases as well.
        momentum: of SGD and Muon; the first beta of AdamW.
        clip_grad: largest norm of the gradient; 0 for no limit.
        ema_decay: decay of the running average of the weights, which is what is evaluated and kept; 0 for none.
        label_smoothing: probability taken from the true class and spread over all.
        class_weights: "balanced" lets every class weigh the same in the loss, however many images it has.
        crop_min: smallest share of the area that a random crop keeps; 1 for none.
        shift: pixels by which the image is shifted at most, zeros coming in (DenseNet's CIFAR augmentation).
        flip: probability of mirroring left to right.
        rotation: largest random rotation, in degrees either way.
        translate: largest random shift, as a share of the side.
        rand_augment: magnitude of RandAugment, 0 to 30; 0 for none.
        random_erasing: probability of erasing a random rectangle.
        mixup: alpha of mixup; 0 for none.
        cutmix: alpha of cutmix; 0 for none. With both, one of them is drawn for each step.
        train_size: shares of the side ``size`` at which the first and the last batches are seen; in between, the side
            rises linearly. (1, 1): always at ``size``.
        crop_pct: share of the resized short side that the centre crop covers in evaluation.
        mosaic: of a detector, as the next four: probability of showing four images as one.
        scale: share by which an image is made smaller or larger at random.
        color_jitter: how strongly colours are changed at random, 0 to 1.
        multi_scale: share by which the side of a batch varies, in steps of the network's stride.
        box_loss: of the boxes: "mse" (of YOLOv3's coordinates), "iou", "giou", "diou" or "ciou".
        freeze: parts that keep their weights: "stem", "stages.0", "stages.0.layers.2" ...
        freeze_epochs: epochs at first in which stem and stages keep their weights; then all learns that is not frozen.
        layer_decay: each stage learns this many times as fast as the one behind it (1: all alike).
        teacher: a run or weight file whose answers are learned, too; "" for none.
        distill_weight: share of the teacher's answers in the loss.
        temperature: of both answers, when they are compared.
        patience: epochs without a better held-out top-1 (of a detector: AP) after which the run stops, and gives its
            best weights; 0 for never.
        val_fraction: share of a single folder that is held out.
        fraction: share of the images to learn from that is learned from, of every class the same, drawn by the seed;
            those that are held out stay as they are.
        checkpoint_seconds: how often the run is saved within an epoch.
        seed: decides weights, split, order and augmentation.
        split_seed: decides what is held out of a single folder; ``None``: the seed.
    """

    model: Mapping[str, Any] = field(default_factory=dict)
    data: str = ""
    size: int = 0
    precision: str = "auto"
    channels_last: bool | None = None
    workers: int | None = None
    compile: bool = False
    init: str = "authors"
    epochs: int = 30
    minutes: float = 0.0
    batch_size: int = 64
    optimizer: str = "sgd"
    lr: float = 0.1
    warmup: float = 0.15
    schedule: str = "cosine"
    milestones: tuple[float, ...] = (0.5, 0.75)
    power: float = 4.0
    weight_decay: float = 5e-4
    decay_norms: bool = False
    momentum: float = 0.9
    clip_grad: float = 0.0
    ema_decay: float = 0.0
    label_smoothing: float = 0.1
    class_weights: str = "none"
    crop_min: float = 1.0
    shift: int = 0
    flip: float = 0.0
    rotation: float = 0.0
    translate: float = 0.0
    rand_augment: int = 0
    random_erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    train_size: tuple[float, ...] = (1.0, 1.0)
    crop_pct: float = 1.0
    mosaic: float = 0.0
    scale: float = 0.0
    color_jitter: float = 0.0
    multi_scale: float = 0.0
    box_loss: BoxLoss = "ciou"
    freeze: tuple[str, ...] = ()
    freeze_epochs: int = 0
    layer_decay: float = 1.0
    teacher: str = ""
    distill_weight: float = 0.5
    temperature: float = 2.0
    patience: int = 0
    val_fraction: float = 0.2
    fraction: float = 1.0
    checkpoint_seconds: float = 60.0
    seed: int = 0
    split_seed: int | None = None

    def __post_init__(self) -> None:
        """Check the values, types before ranges.

        Raises:
            InputError: if one is of another type or out of range.
        """
        self._check_types()
        for name in _LISTS:
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name, allowed in _CHOICES.items():
            value = getattr(self, name)
            self._require(name, value in allowed, f"{' or '.join(allowed)}{nearest(str(value), allowed)}")
        for name in _COUNTS:
            self._require(name, getattr(self, name) > 0, "a whole number above 0")
        for name in (*_WHOLE, "shift"):
            self._require(name, getattr(self, name) >= 0, "a whole number, 0 or more")
        workers = self.workers is None or 0 <= self.workers <= _MOST_WORKERS
        self._require("workers", workers, f"0 to {_MOST_WORKERS}, or none for what suits the machine")
        split = self.split_seed is None or self.split_seed >= 0
        self._require("split_seed", split, "a whole number, 0 or more, or none for the seed")
        for name in _NOT_NEGATIVE:
            self._require(name, getattr(self, name) >= 0, "0 or more")
        for name in _BELOW_ONE:
            self._require(name, 0 <= getattr(self, name) < 1, "from 0 to below 1")
        for name in _SHARES:
            self._require(name, 0 <= getattr(self, name) <= 1, "from 0 to 1")
        for name in _SOME:
            self._require(name, 0 < getattr(self, name) <= 1, "above 0, at most 1")
        for name in ("lr", "temperature"):
            self._require(name, getattr(self, name) > 0, "above 0")
        self._require("val_fraction", 0 < self.val_fraction < 1, "above 0, below 1")
        self._require("rand_augment", self.rand_augment <= 30, "0 to 30")
        rising = all(0 < share < 1 for share in self.milestones) and list(self.milestones) == sorted(self.milestones)
        self._require("milestones", rising, "shares of the run between 0 and 1, rising")
        sides = len(self.train_size) == 2 and all(0.25 <= share <= 2 for share in self.train_size)
        self._require("train_size", sides, "two shares of size, the first and the last, 0.25 to 2")

    def _check_types(self) -> None:
        for column in fields(self):
            fits, kind = _TYPES[str(column.type)]
            self._require(column.name, fits(getattr(self, column.name)), kind)

    def check_for(self, task: str) -> None:
        """Check that no column is used that only other tasks have, and no two that are wrong or idle together.

        Args:
            task: "classification", "detection" or another.

        Raises:
            InputError: if there are such columns.
        """
        self._check_pairs()
        usual = {f.name: f.default for f in fields(self)}
        foreign = [(name, owner) for owner, names in _OWNERS.items() if owner != task for name in names]
        for name, owner in foreign:
            value = getattr(self, name)
            if value != usual[name] and (name != "label_smoothing" or value):
                raise InputError(f"{name}={value!r} is for {owner}, but the data is for {task}: leave it out")

    def _check_pairs(self) -> None:
        adamw, steps = self.optimizer == "adamw", self.schedule == "steps"
        self._require("lr", not adamw or self.lr <= 0.01, "with optimizer=adamw, which moves every weight by about lr "
                      "in a step, at most 0.01; 0.001 is usual")  # fmt: skip
        self._require("lr", self.optimizer != "muon" or self.lr <= 0.5, "with optimizer=muon, which moves matrices by "
                      "this share of their norm in a step, at most 0.5; 0.025 is usual")  # fmt: skip
        late = not steps or self.warmup <= self.milestones[0] if self.milestones else True
        self._require("milestones", late, f"none before the end of warmup={self.warmup:g}")
        waits = not 0 < self.patience <= self.freeze_epochs
        self._require(
            "patience", waits, f"more than freeze_epochs={self.freeze_epochs}, or the run ends before all learns"
        )
        for name in ("mixup", "cutmix"):
            self._require(name, not getattr(self, name) or self.batch_size > 1, "0 with batch_size=1: it mixes a batch")
        idle = {
            "power": self.schedule != "polynomial" and "schedule=polynomial",
            "milestones": not steps and "schedule=steps",
        }
        idle |= dict.fromkeys(("distill_weight", "temperature"), not self.teacher and "a teacher")
        for column in fields(self):
            needed = idle.get(column.name)
            unused = f"{column.default!r}, as it changes nothing without {needed}"
            self._require(column.name, not needed or getattr(self, column.name) == column.default, unused)

    def _require(self, name: str, holds: bool, allowed: str) -> None:
        if not holds:
            value = repr(getattr(self, name))
            raise InputError(f"{name}={value if len(value) < 100 else value[:97] + '...'} is not allowed: {allowed}")

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self) | {name: list(getattr(self, name)) for name in _LISTS}

    def differences(self, other: Recipe) -> dict[str, tuple[Any, Any]]:
        """Return the columns of how to train in which two recipes differ, with both values.

        What is filled in when a run starts is no difference.
        """
        pairs = {f.name: (getattr(self, f.name), getattr(other, f.name)) for f in fields(self)}
        return {name: pair for name, pair in pairs.items() if name not in _RESOLVED and pair[0] != pair[1]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """Return what ``to_dict`` wrote. Columns that had other names then are read as they are called now; it is said.

        Raises:
            InputError: if a column is unknown, of another type, out of range, or there under both of its names.
        """
        old = [name for name in RENAMED if name in values]
        if old:
            words = ", ".join(f"{name!r} is {RENAMED[name]!r} now" for name in old)
            warnings.warn(f"a recipe has older names of columns: {words}; its values are kept", stacklevel=2)
        for name in old:
            if RENAMED[name] in values:
                raise InputError(f"a recipe has {name!r} and {RENAMED[name]!r}, which are one column: leave one out")
        return cls().changed({RENAMED.get(name, name): value for name, value in values.items()})

    def changed(self, values: Mapping[str, Any]) -> Recipe:
        """Return this recipe with some columns changed.

        Raises:
            InputError: if a column is unknown or out of range.
        """
        known = [f.name for f in fields(self)]
        for name in values:
            if name in RENAMED:
                raise InputError(f"recipe column {name!r} is called {RENAMED[name]!r} now")
            if name not in known:
                raise InputError(f"recipe column {name!r} is unknown{nearest(name, known)}: one of {', '.join(known)}")
        return replace(self, **values)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63


def _number(value: object) -> bool:
    # neither NaN nor infinite, nor a whole number that no float holds
    return isinstance(value, int | float) and not isinstance(value, bool) and -_LARGEST < value < _LARGEST


def _list_of(fits: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, list | tuple) and all(map(fits, value))


def _text(value: object) -> bool:
    return isinstance(value, str)


def _truth(value: object) -> bool:
    return isinstance(value, bool)


def _or_none(fits: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or fits(value)


_LARGEST = 1e300
# what the type of a column allows, and how it is called
_TYPES: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "int": (_whole, "a whole number"),
    "float": (_number, "a finite number"),
    "str": (_text, "a text"),
    "BoxLoss": (_text, "a text"),
    "bool": (_truth, "true or false"),
    "int | None": (_or_none(_whole), "a whole number, or none"),
    "bool | None": (_or_none(_truth), "true, false, or none for what suits the machine"),
    "tuple[float, ...]": (_list_of(_number), "a list of numbers"),
    "tuple[str, ...]": (_list_of(_text), "a list of texts"),
    "Mapping[str, Any]": (lambda value: isinstance(value, Mapping), "the row of a network"),
}
