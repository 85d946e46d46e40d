"""What all learners share: seeds, freezing, averaged weights, the optimizer, the schedule, a loss that is watched."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torchmetrics import MeanMetric

from featherbone.data.dataset import AnyData, Dataset
from featherbone.data.loader import Loader, Pipeline, loader
from featherbone.data.sampler import EpochBatches, mixed_seed
from featherbone.data.scan import shown
from featherbone.errors import InputError, some
from featherbone.training.autotune import memory_format
from featherbone.training.distributed import Processes
from featherbone.training.optimizer import optimizer_for, parts, share_of_lr, trunk
from featherbone.training.recipe import Recipe

_SUMS = ("mean_value", "weight")  # the states of a mean
_TICKS = 1000  # steps of a schedule that follows the clock
_OF_PROCESSES = "train_loss_of_processes"  # in a checkpoint


@dataclass(frozen=True)
class Marks:
    """What is said of an image that a network learns from, for people who look at it.

    Attributes:
        classes: numbers of its classes and their shares, which sum to 1; none where classes are those of boxes.
        boxes: ``(N, 4)``: x1 y1 x2 y2 in pixels of the input.
        labels: ``(N,)`` numbers of the boxes' classes.
    """

    classes: tuple[tuple[int, float], ...] = ()
    boxes: Tensor = field(default_factory=lambda: torch.zeros(0, 4))
    labels: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))


@dataclass(frozen=True)
class Job:
    """A learner and its batches: to learn from, and held out."""

    learner: Learner
    train: Loader
    val: Loader


def loaders(
    data: AnyData, recipe: Recipe, team: Processes, train: Pipeline[Any, Any], val: Pipeline[Any, Any]
) -> tuple[Loader, Loader]:
    """Return the batches of a recipe, to learn from and held out, for this one of several processes."""
    batches = partial(
        loader,
        channels=data.channels,
        batch_size=recipe.batch_size,
        workers=recipe.workers or 0,
        seed=recipe.seed,
        rank=team.rank,
        world=team.world,
        keep=True,
    )
    return batches(data.train, train, shuffle=True), batches(data.val, val)


class Learner(L.LightningModule):
    """Train ``model`` on batches as the recipe says.

    A step depends on the seed, its epoch and its number alone, and the sums of an epoch travel in the checkpoint: so a
    run that is resumed anywhere ends as the undisturbed one.

    Attributes:
        scores: what is measured on the held-out images: names in a result, and in the history. The first one counts.
        headline: what people call the first one.
        progress: how much of the run is behind it, 0 to 1: of its steps, or of its time if the recipe has ``minutes``.
        validated: whether the present epoch has been, or will be; if not, it has no scores.

    Args:
        model: the network.
        recipe: all choices.
        train: the images that are learned from.
        batches: which of them each step reads.
    """

    scores: ClassVar[Mapping[str, str]]
    headline: ClassVar[str]

    def __init__(self, model: nn.Module, recipe: Recipe, train: Dataset[Any], batches: EpochBatches) -> None:
        super().__init__()
        self.recipe, self.train_set, self.batches = recipe, train, batches
        self.order = memory_format(bool(recipe.channels_last))
        self.model = model.to(memory_format=self.order)
        self.average = averaged(model, recipe.ema_decay) if recipe.ema_decay else None
        # given one loss an image: a metric that does not look for NaN passes over weights (torchmetrics 1.9)
        self.train_loss, self.val_loss = (MeanMetric(nan_strategy="disable") for _ in range(2))
        self.train_loss.persistent(True)  # noqa: FBT003 - torchmetrics' own signature
        self.progress, self.validated = 0.0, True
        self._last: tuple[Tensor, int] | None = None

    @abstractmethod
    def losses(self, batch: Any, batch_idx: int) -> Tensor:
        """Return one loss an image, ``(B,)``."""

    def inputs(self, batch: Any, batch_idx: int) -> Any:
        """Return what the network sees of a batch, images and targets; here what the loader gives."""
        return batch

    def marks(self, targets: Any, place: int) -> Marks:
        """Return what ``targets`` say of one image of a batch; here nothing."""
        return Marks()

    @property
    def watched(self) -> str:
        """The column of the history that says which epoch is the best."""
        return next(iter(self.scores.values()))

    @property
    def result(self) -> nn.Module:
        """The network that is evaluated and kept."""
        return self.average.module if self.average is not None else self.model

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the sums of every process: the state that is saved is the first one's."""
        if self.trainer.world_size > 1:
            own = torch.stack([torch.as_tensor(self.train_loss.metric_state[name]) for name in _SUMS])
            every = [torch.zeros_like(own) for _ in range(self.trainer.world_size)]
            torch.distributed.all_gather(every, own)
            checkpoint[_OF_PROCESSES] = torch.stack(every)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the sums of this process; with another number of them, the first one takes all."""
        sums = checkpoint.get(_OF_PROCESSES)
        if sums is None:
            return
        own = sums[self.global_rank] if len(sums) == self.trainer.world_size else sums.sum(0) * (self.global_rank == 0)
        checkpoint["state_dict"].update({f"train_loss.{name}": value for name, value in zip(_SUMS, own, strict=True)})

    def on_train_epoch_start(self) -> None:
        self.train_loss.reset()  # its sums travel in the checkpoint of the epoch before

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        torch.manual_seed(mixed_seed(self.recipe.seed, self.current_epoch, batch_idx, self.global_rank))
        if not self.recipe.minutes:
            self.progress = (self.current_epoch + batch_idx / len(self.batches)) / self.recipe.epochs
        self._freeze()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        # here and not in the trainer: held-out images are always measured in float32, as every later answer is
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16"):
            losses = self.losses(batch, batch_idx)
        self.check_finite()
        self._last = (losses.detach(), batch_idx)
        self.train_loss(losses.detach())
        self.log("train_loss", self.train_loss, on_step=False, on_epoch=True, batch_size=len(losses))
        # processes average their gradients: so every image of the whole batch weighs the same
        return losses.sum() * (self.trainer.world_size / self.batches.size(batch_idx))

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        if self.average is not None:  # here, since a checkpoint may follow
            self.average.update_parameters(self.model)

    def check_finite(self) -> None:
        """Look at the step before, whose result a GPU has had time to give.

        Raises:
            InputError: if its loss is not finite.
        """
        if self._last is None:
            return
        losses, batch_idx = self._last
        self._last = None
        if not bool(losses.isfinite().all()):
            # batch norm lets one image spoil all: the whole batch is named
            read = [place for _, place in self.batches.places(batch_idx)]
            names = [shown(self.train_set.sources[place], self.recipe.data, place) for place in read]
            raise InputError(
                f"the loss became {float(losses.sum())} in epoch {self.current_epoch + 1}, in batch {batch_idx + 1} "
                f"({some(names, 3)}): look at these images, lower lr (now {self.recipe.lr:g}) or use precision f32"
            )

    def on_train_epoch_end(self) -> None:
        """Look at the last loss and, as its step may have been the one too large, at what an epoch leaves behind.

        Raises:
            InputError: if one is not finite.
        """
        self.check_finite()
        if not all(bool(t.isfinite().all()) for t in self.result.state_dict().values() if t.is_floating_point()):
            raise InputError(
                f"the weights are not finite any more at the end of epoch {self.current_epoch + 1}: train once more "
                f"with a lower lr (now {self.recipe.lr:g}) or precision f32, in another folder"
            )

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = optimizer_for(self.model, self.recipe)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: share_of_lr(self.recipe, *self._place(step))
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _place(self, step: int) -> tuple[int, int]:
        """Return where a step stands in the schedule, and the schedule's length."""
        if self.recipe.minutes:
            return int(self.progress * _TICKS), _TICKS
        # not Lightning's own count, which opens the loader before it knows where a checkpoint left it
        return step, len(self.batches) * self.recipe.epochs

    def _freeze(self) -> None:
        """Let what is frozen in this epoch keep its weights and statistics."""
        first = self.current_epoch < self.recipe.freeze_epochs
        if not self.recipe.freeze and not self.recipe.freeze_epochs:
            return
        for part in trunk(self.model):
            part.requires_grad_(not first).train(not first)
        for part in parts(self.model, self.recipe.freeze):
            part.requires_grad_(requires_grad=False).eval()


def averaged(model: nn.Module, decay: float) -> AveragedModel:
    """Return a running average of a network's weights and statistics, which forgets its beginning faster at first."""

    def update(averages: Any, current: Any, steps: Tensor | int) -> None:
        share = 1 - min(decay, (1 + float(steps)) / (10 + float(steps)))
        for average, now in zip(averages, current, strict=True):
            if average.is_floating_point():
                average.lerp_(now.to(average.dtype), share)
            else:
                average.copy_(now)

    average = AveragedModel(model, multi_avg_fn=update, use_buffers=True)
    return average.requires_grad_(requires_grad=False)
