"""The picture of the first batch shows what the network sees, and changes nothing that is learned."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.boxes import BOXES_MODEL, SHORT_BOXES, draw_boxes
from helpers.runs import seen
from helpers.training import QUICK, same_weights
from PIL import Image
from torch import Tensor

import featherbone as fb
from featherbone.data.transforms import tensor_of
from featherbone.runs.page_batch import image_of
from featherbone.training import preview
from featherbone.training.learner import Learner


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was drawn, and then the first batch that a network really got: images and targets."""
    found: list[Any] = []
    draw, see = preview.first_batch, Learner.training_step

    def drawn(*given: Any) -> Any:
        state = torch.get_rng_state()
        found.append(draw(*given))
        assert torch.equal(torch.get_rng_state(), state)
        return found[-1]

    def step(self: Learner, batch: Any, batch_idx: int) -> Tensor:
        inputs = type(self).inputs

        def noted(learner: Learner, given: Any, number: int) -> Any:
            got = inputs(learner, given, number)
            if len(found) == 1:
                found.append(got)
            return got

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(self), "inputs", noted)
            return see(self, batch, batch_idx)

    monkeypatch.setattr("featherbone.runs.page_batch.first_batch", drawn)
    monkeypatch.setattr(Learner, "training_step", step)
    return found


@pytest.mark.parametrize(
    "mixed", [{}, {"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0, "random_erasing": 0.5}], ids=str
)
def test_what_is_drawn_is_what_the_network_gets(
    looked: list[Any], colours: Path, tmp_path: Path, mixed: dict[str, Any]
) -> None:
    wild = {"crop_min": 0.3, "flip": 0.5, "rotation": 20.0, "rand_augment": 9, "batch_size": 20, "seed": 3}
    run = fb.train(colours, out=tmp_path / "run", changes={**QUICK, "epochs": 1, **wild, **mixed}, quiet=True)
    shown, (images, labels) = looked
    assert len(images) == 20
    assert len(shown) == 16
    for place, (inputs, marks) in enumerate(shown):
        assert torch.equal(inputs, images[place])
        told = torch.zeros(3)
        for label, share in marks.classes:
            told[label] = share
        whole = labels[place] if labels.ndim > 1 else torch.nn.functional.one_hot(labels[place], 3).float()
        torch.testing.assert_close(told, whole)
    assert seen(run.folder / "run.html")["batch"]["said"] == "16 of the 20 images of the first batch"


def test_boxes_are_drawn_where_the_network_is_to_find_them(looked: list[Any], tmp_path: Path) -> None:
    shapes = draw_boxes(tmp_path / "shapes")
    wild = {"mosaic": 0.7, "scale": 0.3, "flip": 0.5, "color_jitter": 0.2, "multi_scale": 0.5}
    changes = {**SHORT_BOXES, "epochs": 1, **wild}
    run = fb.train(shapes, BOXES_MODEL, head="free", out=tmp_path / "run", changes=changes, quiet=True)
    shown, (images, targets) = looked
    assert len(shown) == len(images) == 4
    for place, (inputs, marks) in enumerate(shown):
        assert torch.equal(inputs, images[place])
        assert torch.equal(marks.boxes, targets.boxes[targets.images == place])
        assert torch.equal(marks.labels, targets.labels[targets.images == place])
    with Image.open(run.folder / "batch.png") as picture:
        assert picture.size[0] > 4 * 240
    assert seen(run.folder / "run.html")["batch"]["said"] == "4 images of the first batch"


def test_a_picture_changes_nothing_that_is_learned(
    colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {**QUICK, "epochs": 1, "mixup": 0.4}
    with_one = fb.train(colours, out=tmp_path / "with", changes=changes, quiet=True)
    monkeypatch.setattr("featherbone.runs.page_batch.draw_batch", lambda *_: None)
    without = fb.train(colours, out=tmp_path / "without", changes=changes, quiet=True)
    assert not (without.folder / "batch.png").exists()
    assert same_weights(with_one.folder, without.folder)
    # the page of a run without a picture, such as an older version's, leaves that part out
    assert seen(without.folder / "run.html")["batch"] == {}
    (without.folder / "batch.png").write_bytes(b"no picture")
    assert "unreadable" in seen(fb.run_page(without.folder, quiet=True))["batch"]


@pytest.mark.parametrize(("channels", "bgr"), [(1, False), (3, False), (3, True)])
def test_an_input_is_turned_back_into_its_image(channels: int, bgr: bool) -> None:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (9, 9, channels), dtype=np.uint8)
    usual = fb.Preprocess.usual(9, channels)
    preprocess = fb.Preprocess(size=9, mean=usual.mean, std=usual.std, bgr=bgr)
    image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    assert np.array_equal(np.asarray(image_of(tensor_of(image, preprocess), preprocess)), np.asarray(image))
