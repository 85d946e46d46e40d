"""What foreign files may lack or hold beside: adapted, accounted for, or refused with a reason."""

from pathlib import Path
from typing import Any

import torch
import torchvision
from helpers.reference import differs, randomize
from safetensors.torch import save_file
from torch import Tensor, nn

import featherbone as fb
from featherbone.weights.importers.sources import SOURCES


def test_norms_with_another_eps_keep_their_outputs() -> None:
    """YOLOX adds 1e-3 to variances."""
    torch.manual_seed(0)
    theirs = randomize(fb.create_model("cspdarknet_nano.yolox"))
    for part in theirs.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eps = 1e-3
    names = [
        layer if isinstance(layer, str) else layer.names for layer in SOURCES["cspdarknet_yolox"][0].layers(theirs.spec)
    ]
    state: dict[str, Tensor] = {}
    leaves = [(n, m) for n, m in theirs.named_modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)]
    for (name, part), given in zip(leaves, names, strict=False):
        for key, tensor in part.state_dict().items():
            if isinstance(given, str):
                state[f"{given}.{key}"] = tensor
            elif len(given) == 2:
                for foreign, half in zip(given, tensor.chunk(2) if tensor.ndim else (tensor, tensor), strict=True):
                    state[f"{foreign}.{key}"] = half
            elif "stem" in given[0]:  # fold 2x2 pixels into channels
                w = tensor.view(16, 3, 3, 2, 3, 2)
                state[f"{given[0]}.{key}"] = torch.cat([w[..., r, :, c] for c in (0, 1) for r in (0, 1)], 1)
            else:
                state[f"{given[0]}.{key}"] = torch.cat(tensor.chunk(2, 1)[::-1], 1)
        assert name
    ours = fb.create_model("cspdarknet_nano.yolox").eval()
    report = fb.load_weights(ours, state)
    assert not report.left_over
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        wanted = theirs.forward_features(x)
        assert (ours.forward_features(x) - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def test_a_bias_before_a_norm_is_not_lost() -> None:
    torch.manual_seed(0)
    theirs = randomize(torchvision.models.shufflenet_v2_x0_5())
    first: Any = theirs.conv1[0]
    first.bias = nn.Parameter(torch.randn(24))
    ours = fb.create_model("shufflenet_v2_x0_5.tv").eval()
    assert not fb.load_weights(ours, theirs.state_dict()).left_over
    assert differs(ours, theirs) < 1e-5


def test_half_precision_and_files_without_a_head_are_fine(tmp_path: Path) -> None:
    model = randomize(fb.create_model("shufflenet_v2_x0_5"))
    trunk = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items() if k[:4] != "head"}
    save_file(trunk, tmp_path / "half.safetensors")
    ours = fb.create_model("shufflenet_v2_x0_5").eval()
    report = fb.load_weights(ours, tmp_path / "half.safetensors")
    assert report.source == "featherbone"
    assert all(name.startswith("head.") for name in report.missing)
    assert ours.state_dict()["stem.0.0.weight"].dtype == torch.float32


def test_a_first_convolution_for_other_channels() -> None:
    torch.manual_seed(0)
    colour = randomize(torchvision.models.shufflenet_v2_x0_5())
    grey = fb.create_model("shufflenet_v2_x0_5.tv", in_chans=1).eval()
    report = fb.load_weights(grey, colour.state_dict())
    assert report.notes == ("the first convolution was adapted to 1 channels",)
    x = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        assert torch.allclose(grey(x), colour(x.expand(1, 3, 64, 64)), atol=1e-4)
    six = fb.create_model("shufflenet_v2_x0_5.tv", in_chans=6).eval()
    fb.load_weights(six, colour.state_dict())
    y = torch.randn(1, 3, 64, 64)
    with torch.no_grad():  # the same image twice is as bright as once
        assert torch.allclose(six(torch.cat([y, y], 1)), colour(y), atol=1e-4)


def test_another_number_of_classes_leaves_the_classifier_out() -> None:
    theirs = randomize(torchvision.models.shufflenet_v2_x0_5())
    ours = fb.create_model("shufflenet_v2_x0_5.tv", num_classes=3)
    before = ours.state_dict()["head.1.classifier.weight"].clone()
    report = fb.load_weights(ours, theirs.state_dict())
    assert report.missing == ("head.1.classifier.weight", "head.1.classifier.bias")
    assert "the classifier for 1000 classes was left out" in report.notes
    assert torch.equal(ours.state_dict()["head.1.classifier.weight"], before)
    features = fb.create_model("shufflenet_v2_x0_5.tv", num_classes=0)
    assert fb.load_weights(features, theirs.state_dict()).missing == ()


def test_our_own_names_are_taken_too(tmp_path: Path) -> None:
    model = randomize(fb.create_model("peleenet", num_classes=3))
    fb.save(model, tmp_path / "own.safetensors")
    again = fb.create_model("peleenet", num_classes=3).eval()
    assert fb.load_weights(again, tmp_path / "own.safetensors").source == "featherbone"
    assert differs(again, model) == 0
