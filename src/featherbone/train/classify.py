"""Classification as a Lightning task: the loss, the optimiser, the schedule and what is watched."""

from __future__ import annotations

import math
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

from featherbone.data.loading import mixed_seed
from featherbone.errors import InputError
from featherbone.train.compute import memory_format
from featherbone.train.recipe import Recipe


class Classify(L.LightningModule):
    """Train ``model`` on batches of images ``(B, C, H, W)`` and labels ``(B,)`` as the recipe says."""

    def __init__(self, model: nn.Module, recipe: Recipe, num_classes: int) -> None:
        super().__init__()
        self.recipe = recipe
        self.order = memory_format(bool(recipe.channels_last))
        self.model = model.to(memory_format=self.order)
        self.top1 = MulticlassAccuracy(num_classes, average="micro")
        self.top5 = MulticlassAccuracy(num_classes, average="micro", top_k=min(5, num_classes))

    def on_train_epoch_start(self) -> None:
        # an epoch depends on the seed and its number alone, so a resumed run repeats what was lost to the bit
        torch.manual_seed(mixed_seed(self.recipe.seed, self.current_epoch))

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        images, labels = batch
        logits = self.model(images.to(memory_format=self.order))
        loss = F.cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing)
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(labels))
        return loss

    def on_train_epoch_end(self) -> None:
        loss = float(self.trainer.callback_metrics["train_loss"])
        if not math.isfinite(loss):
            raise InputError(
                f"the loss became {loss} in epoch {self.current_epoch + 1}: "
                f"lower lr (now {self.recipe.lr:g}) or use precision f32"
            )

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        images, labels = batch
        logits = self.model(images.to(memory_format=self.order)).float()
        self.top1(logits, labels)
        self.top5(logits, labels)
        watched: dict[str, Any] = {
            "val_loss": F.cross_entropy(logits, labels),
            "val_top1": self.top1,
            "val_top5": self.top5,
        }
        self.log_dict(watched, on_step=False, on_epoch=True, batch_size=len(labels))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        recipe = self.recipe
        weights = [p for p in self.model.parameters() if p.ndim > 1]
        others = [p for p in self.model.parameters() if p.ndim <= 1]  # norms and biases: not decayed
        optimizer = torch.optim.SGD(
            [{"params": weights, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}],
            lr=recipe.lr,
            momentum=recipe.momentum,
            nesterov=recipe.momentum > 0,
        )
        steps = int(self.trainer.estimated_stepping_batches)
        rising = max(1, round(recipe.warmup * steps))

        def share_of_lr(step: int) -> float:
            cosine = 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))
            return (step + 1) / rising if step < rising else cosine

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, share_of_lr)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
