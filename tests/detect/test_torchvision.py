"""Our backbones in torchvision's own detectors and in its segmentation network."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers.families import thin
from torch import Tensor, nn
from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet
from torchvision.models.segmentation import DeepLabV3
from torchvision.models.segmentation.deeplabv3 import DeepLabHead

import featherbone as fb
from featherbone.detect.necks import NeckSpec, neck_spec
from featherbone.detect.torchvision import SegmentationBackbone, torchvision_backbone

FAMILIES = ("shufflenet_v2_x0_5", "densenet121", "cspdarknet_nano.yolox")
SMALL: dict[str, Any] = {"num_classes": 3, "min_size": 64, "max_size": 64}


def pyramid(name: str, *out_indices: int, output_stride: int = 32) -> fb.Pyramid:
    torch.manual_seed(0)
    row = thin(name, output_stride=output_stride)
    return fb.create_model(row, features_only=True, out_indices=out_indices)


def faster_rcnn(name: str) -> nn.Module:
    return FasterRCNN(torchvision_backbone(pyramid(name, 1, 2, 3, 4), 32), **SMALL)


def retinanet(name: str) -> nn.Module:
    return RetinaNet(torchvision_backbone(pyramid(name, 2, 3, 4), 32, extra="p6p7"), **SMALL)


def fcos(name: str) -> nn.Module:
    return FCOS(torchvision_backbone(pyramid(name, 2, 3, 4), 32, extra="p6p7"), **SMALL)


def with_efm(name: str) -> nn.Module:
    neck = NeckSpec(kind="efm", widths=(32, 32, 32))
    return FCOS(torchvision_backbone(pyramid(name, 1, 2, 3, 4), 32, neck=neck, extra="p6p7"), **SMALL)


def images(count: int = 2) -> Tensor:
    return torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def assert_learns(model: nn.Module, losses: dict[str, Tensor]) -> None:
    total = torch.stack(list(losses.values())).sum()
    assert total.isfinite()
    torch.autograd.backward(total)
    first = next(model.get_submodule("backbone.pyramid.stem").parameters())
    assert first.grad is not None
    assert first.grad.isfinite().all()
    assert first.grad.abs().sum() > 0


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("make", [faster_rcnn, retinanet, fcos, with_efm])
def test_torchvisions_detectors_train_and_answer(make: Callable[[str], nn.Module], name: str) -> None:
    model = make(name).train()
    truth = {"boxes": torch.tensor([[8.0, 8.0, 40.0, 40.0]]), "labels": torch.tensor([1])}
    assert_learns(model, model(list(images()), [truth, truth]))
    with torch.no_grad():
        postprocess = model.eval()(list(images()))
    assert len(postprocess) == 2
    assert all({"boxes", "scores", "labels"} <= set(answer) for answer in postprocess)
    assert all(answer["boxes"].shape == (len(answer["scores"]), 4) for answer in postprocess)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("output_stride", [8, 16])
def test_deeplab_trains_and_answers(name: str, output_stride: int) -> None:
    backbone = SegmentationBackbone(pyramid(name, 3, 4, output_stride=output_stride), aux=True)
    model = DeepLabV3(backbone, DeepLabHead(backbone.out_channels, 3), nn.Conv2d(backbone.aux_channels, 3, 1)).train()
    assert backbone(images())["out"].shape[2:] == (64 // output_stride,) * 2
    truth = torch.ones(2, 64, 64, dtype=torch.int64)
    assert_learns(model, {key: nn.functional.cross_entropy(x, truth) for key, x in model(images()).items()})
    with torch.no_grad():
        answer = model.eval()(images(1))
    assert answer["out"].shape == answer["aux"].shape == (1, 3, 64, 64)
    assert list(SegmentationBackbone(backbone.pyramid)(images())) == ["out"]


def test_the_maps_have_torchvisions_names_and_one_width() -> None:
    tapped = pyramid("shufflenet_v2_x0_5", 2, 3, 4)
    names = {None: ["0", "1", "2"], "pool": ["0", "1", "2", "pool"], "p6p7": ["0", "1", "2", "p6", "p7"]}
    for extra, expected in names.items():
        maps = torchvision_backbone(tapped, 24, extra=extra)(images())  # type: ignore[arg-type]
        assert list(maps) == expected
        assert all(x.shape == (2, 24, max(8 >> i, 1), max(8 >> i, 1)) for i, x in enumerate(maps.values()))


@pytest.mark.parametrize("make", [faster_rcnn, fcos])
def test_frozen_stages_stay_frozen(make: Callable[[str], nn.Module]) -> None:
    model = make("shufflenet_v2_x0_5")
    backbone: Any = model.backbone
    backbone.pyramid = fb.freeze(backbone.pyramid, 2)
    before = {key: value.clone() for key, value in backbone.pyramid.state_dict().items()}
    truth = {"boxes": torch.tensor([[8.0, 8.0, 40.0, 40.0]]), "labels": torch.tensor([1])}
    optimizer = torch.optim.SGD((p for p in model.parameters() if p.requires_grad), lr=0.1)
    losses = model.train()(list(images()), [truth, truth])
    torch.autograd.backward(list(losses.values()))
    optimizer.step()
    changed = {key for key, value in backbone.pyramid.state_dict().items() if not torch.equal(value, before[key])}
    assert changed
    assert not any(key.startswith(("stem.", "stages.0.", "stages.1.")) for key in changed)


def test_what_torchvision_could_not_use_is_refused() -> None:
    tapped = pyramid("shufflenet_v2_x0_5", 2, 3, 4)
    with pytest.raises(fb.InputError, match=r"extra='p5' is not allowed: pool, p6p7 or None"):
        torchvision_backbone(tapped, extra="p5")  # type: ignore[arg-type]
    with pytest.raises(fb.InputError, match="out_channels=0 is not allowed"):
        torchvision_backbone(tapped, 0)
    with pytest.raises(fb.InputError, match=r"widths=\(64, 128, 256\) is not allowed in this neck: all 256"):
        torchvision_backbone(tapped, neck=neck_spec("fpn"))
    for wrong in ((4, 3), (0, 1)):
        coarse_first = pyramid("rdnet_tiny", *wrong)  # its stem and first stage have the same stride
        with pytest.raises(fb.InputError, match="from fine to coarse, each once"):
            torchvision_backbone(coarse_first)
    with pytest.raises(fb.InputError, match="last stride is 32 is not allowed: make it with output_stride=8 or 16"):
        SegmentationBackbone(tapped)
    with pytest.raises(fb.InputError, match="aux=True needs a pyramid of two maps"):
        SegmentationBackbone(pyramid("shufflenet_v2_x0_5", 4, output_stride=16), aux=True)
