"""Weights of other projects: recognized by form, put in our order, equal in outputs."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from helpers.paths import SHARED
from helpers.reference import MegviiShuffleNetV1, MegviiShuffleNetV2, differs, imported, randomize
from PIL import Image
from pytorchcv.model_provider import get_model
from torch import Tensor

import featherbone as fb
from featherbone.layers import he_normal

with_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared weights are not here")


@with_shared
@pytest.mark.parametrize(
    ("file", "name", "source", "outputs", "missing"),
    [
        ("densenet_bc100_k12_cifar10", "densenet_bc100_k12_cifar", "numbered layers", "logits", 0),
        ("nanodet_m_coco_bnfolded", "shufflenet_v2_x1_0.nanodet", "RangiLyu/nanodet", "stage2 stage3 stage4", 8),
        ("shufflenetv2_tiny_imagenet_backbone", "shufflenet_v2_x0_5", "dog-qiuqiu/FastestDet", "out0 out1 out2", 7),
        ("yolox_nano_coco_bnfolded", "cspdarknet_nano.yolox", "Megvii-BaseDetection/YOLOX", "dark3 dark4 dark5", 2),
    ],
)
def test_real_weights_give_the_authors_outputs(file: str, name: str, source: str, outputs: str, missing: int) -> None:
    model, report = fb.import_weights(name, SHARED / "weights" / f"{file}.safetensors")
    reference = np.load(SHARED / "weights" / f"{file}.ref.npz")
    x = torch.from_numpy(reference["input"])
    with torch.no_grad():
        found = [model(x)] if outputs == "logits" else fb.Pyramid(model, (2, 3, 4))(x)
    for ours, key in zip(found, outputs.split(), strict=True):
        wanted = torch.from_numpy(reference[key])
        assert (ours - wanted).abs().max() <= 1e-4 * max(1.0, wanted.abs().max().item())
    assert report.source == source
    assert len(report.missing) == missing
    assert all(key.startswith("head.") for key in report.missing)
    assert bool(report.left_over) == ("coco" in file)  # the detectors' heads


@pytest.mark.slow
@with_shared
def test_real_weights_know_cifar10() -> None:
    """The whole test set gives 90.74 %: benchmarks/cifar10_weights.py."""
    model, report = fb.import_weights(
        "densenet_bc100_k12_cifar", SHARED / "weights" / "densenet_bc100_k12_cifar10.safetensors"
    )
    assert report.notes == ("stem_norm=True, as in the file",)
    with Image.open(SHARED / "cifar10" / "test_00.webp") as image:
        pixels = np.asarray(image.convert("RGB")).reshape(25, 32, 40, 32, 3).transpose(0, 2, 4, 1, 3)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)))
    x = (torch.from_numpy(pixels.reshape(-1, 3, 32, 32)[:200].copy()) / 255 - mean) / std
    labels = torch.from_numpy(np.load(SHARED / "cifar10" / "test_labels.npy")[:200].astype(np.int64))
    with torch.no_grad():
        right = (model(x).argmax(1) == labels).float().mean().item()
    assert right > 0.85


@pytest.mark.parametrize(("groups", "stem", "width"), [(3, 12, 120), (3, 24, 240), (8, 48, 768)])
def test_megviis_first_shufflenet_is_put_in_the_papers_order(
    tmp_path: Path, groups: int, stem: int, width: int
) -> None:
    torch.manual_seed(0)
    channels = (width, 2 * width, 4 * width)
    theirs = randomize(MegviiShuffleNetV1(groups, stem, channels))
    name = next(
        n for n in fb.list_models("shufflenet_v1_*[0-9]")
        if (s := fb.spec(n)) and getattr(s, "channels", 0) == channels and getattr(s, "groups", 0) == groups
    )  # fmt: skip
    model, report = imported(tmp_path, name, theirs.state_dict())
    assert differs(model, theirs) < 1e-5
    assert not report.missing
    assert not report.left_over
    assert "channels were put in the order of the paper's shuffle" in report.notes
    row = replace(fb.spec(name), num_classes=10)
    plain = row.build().eval()
    fb.load_weights(plain, theirs.state_dict())  # a bias where the file has none
    assert differs(plain, theirs) < 1e-5


@pytest.mark.slow
def test_where_no_order_helps_the_form_is_named_and_taken(tmp_path: Path) -> None:
    """Six channels of a group go to eight groups: the two shuffles hear of different ones."""
    torch.manual_seed(0)
    theirs = randomize(MegviiShuffleNetV1(8, 16, (192, 384, 768)))
    with pytest.raises(fb.InputError, match=r"they fit shufflenet_v1_g8_x0_5\.megvii"):
        fb.load_weights(fb.create_model("shufflenet_v1_g8_x0_5"), theirs.state_dict())
    model, report = imported(tmp_path, "shufflenet_v1_g8_x0_5", theirs.state_dict())
    assert "inverse_shuffle=True, as in the file" in report.notes
    assert differs(model, theirs) < 1e-5
    form = fb.create_model("shufflenet_v1_g8_x0_5.megvii", num_classes=10).eval()
    fb.load_weights(form, theirs.state_dict())
    assert differs(form, theirs) < 1e-5


def test_megviis_second_shufflenet_needs_no_reordering(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = randomize(MegviiShuffleNetV2((116, 232, 464), 1024))
    model, report = imported(tmp_path, "shufflenet_v2_x1_0", theirs.state_dict())
    assert differs(model, theirs) < 1e-5
    assert report.preprocess == fb.Preprocess(size=224, mean=(0, 0, 0), std=(1 / 255,) * 3, crop=0.875, bgr=True)


def renamed(state: dict[str, Tensor], *rules: tuple[str, str]) -> dict[str, Tensor]:
    """Return a state with every rule applied to every name."""
    out = {}
    for name, tensor in state.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)  # noqa: PLW2901 - rule after rule
        out[name] = tensor
    return out


def test_old_torchvision_and_gpleiss_names(tmp_path: Path) -> None:
    theirs = randomize(torchvision.models.densenet121(num_classes=7))
    old = renamed(theirs.state_dict(), (r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2"))
    assert any("denselayer1.norm.1.weight" in name for name in old)
    gpleiss = renamed(theirs.state_dict(), ("norm5", "norm_final"))
    for state, source in ((old, "torchvision or timm"), (gpleiss, "gpleiss/efficient_densenet_pytorch")):
        model, report = imported(tmp_path, "densenet121", state)
        assert report.source == source
        assert model.spec.num_classes == 7
        assert differs(model, theirs) < 1e-6


def test_the_vovnet_authors_names_with_slashes(tmp_path: Path) -> None:
    theirs = randomize(get_model("vovnet27s"))
    slashes = renamed(
        theirs.state_dict(),
        (r"features\.init_block\.conv(\d)\.(conv|bn)", r"stem.stem_\1/\2"),
        (r"branches\.branch(\d)\.(conv|bn)", r"layers.<\1>._<\1>/\2"),
        (r"features\.stage(\d)\.unit(\d)\.layers\.<(\d)>\._", r"stage\1.OSA\1_\2.layers.<\3>.OSA\1_\2_"),
        (r"features\.stage(\d)\.unit(\d)\.concat_conv\.(conv|bn)", r"stage\1.OSA\1_\2.concat.OSA\1_\2_concat/\3"),
        ("/bn", "/norm"),
        ("^output", "classifier"),
    )  # fmt: skip
    # stages count from 2, layers from 0
    up = [(k, re.sub(r"(stage|OSA)(\d)", lambda m: f"{m[1]}{int(m[2]) + 1}", k)) for k in slashes]
    shifted = {re.sub(r"<(\d)>", lambda m: str(int(m[1]) - 1), new): slashes[old] for old, new in up}
    assert "stage2.OSA2_1.layers.0.OSA2_1_0/conv.weight" in shifted
    model, report = imported(tmp_path, "vovnet27_slim", shifted)
    assert report.source == "stigma0617/VoVNet.pytorch"
    assert differs(model, theirs, 224) < 1e-6


def test_vovnet_detectron2s_names(tmp_path: Path) -> None:
    theirs = randomize(timm.create_model("ese_vovnet19b_dw"))
    stages = {
        re.sub(r"<(\d)>", lambda m: str(int(m[1]) + 2), k): v
        for k, v in renamed(
            theirs.state_dict(),
            (r"stem\.0\.conv", "stem.stem_1/conv"),
            (r"stem\.0\.bn", "stem.stem_1/norm"),
            (r"stem\.1\.", "stem.stem_2/"),
            (r"stem\.2\.", "stem.stem_3/"),
            (r"stages\.(\d)\.blocks\.0\.conv_mid\.(\d)\.", r"stage<\1>.OSA<\1>_1.layers.\2.OSA<\1>_1_\2/"),
            (r"stages\.(\d)\.blocks\.0\.conv_(reduction|concat)\.", r"stage<\1>.OSA<\1>_1.\2.OSA<\1>_1_\2/"),
            (r"stages\.(\d)\.blocks\.0\.attn", r"stage<\1>.OSA<\1>_1.ese"),
            (r"/conv_dw", "/dw_conv3x3"),
            (r"/conv_pw", "/pw_conv1x1"),
            (r"(_\d/|stem_[23]/)bn", r"\1pw_norm"),
            (r"/bn", "/norm"),
            (r"\.reduction\.", ".conv_reduction."),
            (r"_reduction/", "_reduction_0/"),
        ).items()
        if not k.startswith("head")
    }
    backbone = {f"backbone.bottom_up.{k}": v for k, v in stages.items()} | {"roi_heads.weight": torch.zeros(3)}
    model, report = imported(tmp_path, "vovnet_v2_19_dw", backbone)
    assert report.source == "youngwanLEE/vovnet-detectron2"
    assert report.missing == ("head.classifier.weight", "head.classifier.bias")
    assert report.left_over == ("module.roi_heads.weight",)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        wanted = theirs.get_submodule("stages")(theirs.get_submodule("stem")(x))
        assert (model.forward_features(x) - wanted).abs().max() <= 1e-5 * wanted.abs().max()


@pytest.mark.parametrize("head", ["head.fc", "bbox_head.rtm_cls.0"])
def test_mmdetections_cspnext_of_a_classifier_and_of_a_detector(tmp_path: Path, head: str) -> None:
    torch.manual_seed(0)
    theirs: Any = randomize(timm.create_model("cspnext_tiny"))
    he_normal(theirs)
    state = {
        re.sub(r"^stages\.(\d)", lambda m: f"stage{int(m[1]) + 1}", name): tensor
        for name, tensor in theirs.state_dict().items()
    }
    state = {name if "head" in name else f"backbone.{name}": tensor for name, tensor in state.items()}
    assert "backbone.stage1.0.conv.weight" in state
    model, report = imported(tmp_path, "cspnext_tiny.timm", renamed(state, (r"^head\.fc", head)))
    assert report.source == "open-mmlab/mmdetection"
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        wanted = theirs.forward_features(x)
        assert (model.forward_features(x) - wanted).abs().max() <= 1e-5 * wanted.abs().max()
    if head == "head.fc":
        assert differs(model, theirs) < 1e-5
        assert not report.missing + report.left_over
    else:
        assert report.missing == ("head.classifier.weight", "head.classifier.bias")
        assert report.left_over == (f"module.{head}.weight", f"module.{head}.bias")


def test_the_peleenet_authors_names(tmp_path: Path) -> None:
    theirs = randomize(get_model("peleenet"))
    state = renamed(
        theirs.state_dict(),
        (r"features\.init_block\.first_conv", "features.stemblock.stem1"),
        (r"features\.init_block\.branches\.branch1\.conv1", "features.stemblock.stem2a"),
        (r"features\.init_block\.branches\.branch1\.conv2", "features.stemblock.stem2b"),
        (r"features\.init_block\.last_conv", "features.stemblock.stem3"),
        (r"stage(\d)\.unit(\d)\.branch(\d)\.conv1", r"denseblock\1.denselayer\2.branch\3a"),
        (r"stage(\d)\.unit(\d)\.branch(\d)\.conv2", r"denseblock\1.denselayer\2.branch\3b"),
        (r"stage(\d)\.unit(\d)\.branch(\d)\.conv3", r"denseblock\1.denselayer\2.branch\3c"),
        (r"stage2\.trans2\.conv", "transition1"),
        (r"stage3\.trans3\.conv", "transition2"),
        (r"stage4\.trans4\.conv", "transition3"),
        (r"final_block", "transition4"),
        (r"\.bn\.", ".norm."),
        (r"output\.fc", "classifier"),
    )
    last = "features.stemblock.stem3.conv.weight"
    state[last] = torch.cat([state[last][:, 32:], state[last][:, :32]], 1)  # the authors' pool comes first
    model, report = imported(tmp_path, "peleenet", state)
    assert report.source == "Robert-JunWang/PeleeNet"
    assert differs(model, theirs, 224) < 1e-5
