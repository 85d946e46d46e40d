"""Weights of other projects: recognised by form, equal in outputs, accounted for, refused with a reason."""

import argparse
import json
import pickle
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import URLError

import darknet
import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image
from pytorchcv.model_provider import get_model
from reference import MegviiShuffleNetV1, MegviiShuffleNetV2, randomise
from safetensors.torch import save_file
from torch import Tensor, nn
from typer.testing import CliRunner

import featherbone as fb
from featherbone.cli.app import app
from featherbone.data.loading import evaluation_transform
from featherbone.weights.sources import SOURCES

SHARED = Path(__file__).parents[2] / "shared" / "data"
with_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared weights are not here")


def differs(ours: nn.Module, theirs: nn.Module, size: int = 64) -> float:
    """Return the largest difference of two outputs, as a share of the largest output."""
    torch.manual_seed(1)
    x = torch.randn(1, 3, size, size, dtype=next(ours.parameters()).dtype)
    with torch.no_grad():
        wanted = theirs(x)
        return ((ours(x) - wanted).abs().max() / wanted.abs().max()).item()


def imported(tmp_path: Path, name: str, state: dict[str, Tensor], **nested: Any) -> tuple[fb.Backbone, fb.Imported]:
    """Go through a file, in the form of a checkpoint."""
    torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}, **nested}, tmp_path / "m.pth")
    return fb.import_weights(name, tmp_path / "m.pth")


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
    theirs = randomise(MegviiShuffleNetV1(groups, stem, channels))
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


def test_where_no_order_helps_the_form_is_named_and_taken(tmp_path: Path) -> None:
    """Six channels of a group go to eight groups: the two shuffles hear of different ones."""
    torch.manual_seed(0)
    theirs = randomise(MegviiShuffleNetV1(8, 16, (192, 384, 768)))
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
    theirs = randomise(MegviiShuffleNetV2((116, 232, 464), 1024))
    model, report = imported(tmp_path, "shufflenet_v2_x1_0", theirs.state_dict())
    assert differs(model, theirs) < 1e-5
    assert report.preprocess == fb.Preprocess(size=224, mean=(0, 0, 0), std=(1 / 255,) * 3, crop=0.875, bgr=True)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cspresnet50", darknet.cspresnet50()),
        ("cspresnext50", darknet.cspresnet50(groups=32)),
        ("cspdarknet53", darknet.cspdarknet53()),
        ("darknet53", darknet.darknet53()),
    ],
)
def test_darknets_files_give_what_darknet_computes(tmp_path: Path, name: str, text: str) -> None:
    torch.manual_seed(0)
    theirs = randomise(darknet.Darknet(text))
    (tmp_path / "m.cfg").write_text(text)
    theirs.write(tmp_path / "m.weights")
    model, report = fb.import_weights(name, tmp_path / "m.weights")
    assert differs(model, theirs) < 1e-5
    assert (report.source, report.missing, report.left_over) == ("darknet", (), ())
    assert model.spec.num_classes == 10


def test_darknets_files_must_belong_together(tmp_path: Path) -> None:
    net = darknet.Darknet(darknet.darknet53())
    weights, config = tmp_path / "m.weights", tmp_path / "other.cfg"
    net.write(weights)
    for text, said in (
        (darknet.cspdarknet53(), "left over"),
        (darknet.darknet53() + darknet.convolution(8), "too early"),
        ("[net]\nchannels=3\n[rnn]\n", r"section \[rnn\]"),
        ("nothing", "darknet configuration"),
    ):
        config.write_text(text)
        with pytest.raises(fb.InputError, match=said):
            fb.import_weights("darknet53", weights, config=config)
    with pytest.raises(fb.InputError, match="config must name"):
        fb.import_weights("darknet53", weights)
    weights.write_bytes(b"short")
    config.write_text(darknet.darknet53())
    with pytest.raises(fb.InputError, match="too short"):
        fb.import_weights("darknet53", weights, config=config)


def renamed(state: dict[str, Tensor], *rules: tuple[str, str]) -> dict[str, Tensor]:
    """Return a state with every rule applied to every name."""
    out = {}
    for name, tensor in state.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)  # noqa: PLW2901 - rule after rule
        out[name] = tensor
    return out


def test_published_preprocessing_comes_along(tmp_path: Path) -> None:
    torch.save(torchvision.models.densenet121().state_dict(), tmp_path / "m.pth")
    _, report = fb.import_weights("densenet121", tmp_path / "m.pth")
    assert (
        report.preprocess == fb.published_weights("densenet121").preprocess == fb.Preprocess.usual(224, 3, crop=0.875)
    )


def test_blue_first_images_are_turned_round() -> None:
    transform = evaluation_transform(fb.Preprocess(size=2, mean=(0.0, 0.0, 0.5), std=(1.0, 1.0, 1.0), bgr=True))
    pixels = np.zeros((2, 2, 3), np.uint8)
    pixels[..., 0] = 255  # red
    assert transform(Image.fromarray(pixels))[:, 0, 0].tolist() == [0.0, 0.0, 0.5]


def test_old_torchvision_and_gpleiss_names(tmp_path: Path) -> None:
    theirs = randomise(torchvision.models.densenet121(num_classes=7))
    old = renamed(theirs.state_dict(), (r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2"))
    assert any("denselayer1.norm.1.weight" in name for name in old)
    gpleiss = renamed(theirs.state_dict(), ("norm5", "norm_final"))
    for state, source in ((old, "torchvision or timm"), (gpleiss, "gpleiss/efficient_densenet_pytorch")):
        model, report = imported(tmp_path, "densenet121", state)
        assert report.source == source
        assert model.spec.num_classes == 7
        assert differs(model, theirs) < 1e-6


def test_the_vovnet_authors_names_with_slashes(tmp_path: Path) -> None:
    theirs = randomise(get_model("vovnet27s"))
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
    theirs = randomise(timm.create_model("ese_vovnet19b_dw"))
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


def test_the_peleenet_authors_names(tmp_path: Path) -> None:
    theirs = randomise(get_model("peleenet"))
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


def test_norms_with_another_eps_keep_their_outputs() -> None:
    """YOLOX adds 1e-3 to variances."""
    torch.manual_seed(0)
    theirs = randomise(fb.create_model("cspdarknet_nano.yolox"))
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
    theirs = randomise(torchvision.models.shufflenet_v2_x0_5())
    first: Any = theirs.conv1[0]
    first.bias = nn.Parameter(torch.randn(24))
    ours = fb.create_model("shufflenet_v2_x0_5.tv").eval()
    assert not fb.load_weights(ours, theirs.state_dict()).left_over
    assert differs(ours, theirs) < 1e-5


def test_half_precision_and_files_without_a_head_are_fine(tmp_path: Path) -> None:
    model = randomise(fb.create_model("shufflenet_v2_x0_5"))
    trunk = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items() if k[:4] != "head"}
    save_file(trunk, tmp_path / "half.safetensors")
    ours = fb.create_model("shufflenet_v2_x0_5").eval()
    report = fb.load_weights(ours, tmp_path / "half.safetensors")
    assert report.source == "featherbone"
    assert all(name.startswith("head.") for name in report.missing)
    assert ours.state_dict()["stem.0.0.weight"].dtype == torch.float32


def test_a_first_convolution_for_other_channels() -> None:
    torch.manual_seed(0)
    colour = randomise(torchvision.models.shufflenet_v2_x0_5())
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
    theirs = randomise(torchvision.models.shufflenet_v2_x0_5())
    ours = fb.create_model("shufflenet_v2_x0_5.tv", num_classes=3)
    before = ours.state_dict()["head.1.classifier.weight"].clone()
    report = fb.load_weights(ours, theirs.state_dict())
    assert report.missing == ("head.1.classifier.weight", "head.1.classifier.bias")
    assert "the classifier for 1000 classes was left out" in report.notes
    assert torch.equal(ours.state_dict()["head.1.classifier.weight"], before)
    features = fb.create_model("shufflenet_v2_x0_5.tv", num_classes=0)
    assert fb.load_weights(features, theirs.state_dict()).missing == ()


def test_our_own_names_are_taken_too(tmp_path: Path) -> None:
    model = randomise(fb.create_model("peleenet", num_classes=3))
    fb.save(model, tmp_path / "own.safetensors")
    again = fb.create_model("peleenet", num_classes=3).eval()
    assert fb.load_weights(again, tmp_path / "own.safetensors").source == "featherbone"
    assert differs(again, model) == 0


def test_what_does_not_fit_is_refused_and_the_right_network_named(tmp_path: Path) -> None:
    theirs = torchvision.models.shufflenet_v2_x1_0().state_dict()
    ours = fb.create_model("shufflenet_v2_x1_0")
    before = {k: v.clone() for k, v in ours.state_dict().items()}
    with pytest.raises(fb.InputError, match=r"they fit shufflenet_v2_x1_0\.tv"):
        fb.load_weights(ours, theirs)
    with pytest.raises(fb.InputError, match=r"they fit shufflenet_v2_x1_0\.tv"):
        fb.load_weights(fb.create_model("shufflenet_v2_x0_5.tv"), theirs)
    with pytest.raises(fb.InputError, match="no form of vovnet"):
        fb.load_weights(fb.create_model("vovnet27_slim"), {"a": torch.zeros(1)})
    cut = {k: v for k, v in theirs.items() if not k.startswith("stage3.2")}
    with pytest.raises(fb.InputError, match=r"nothing for stages\.2"):
        fb.load_weights(fb.create_model("shufflenet_v2_x1_0.tv"), cut)
    assert all(torch.equal(v, before[k]) for k, v in ours.state_dict().items())

    def refused(content: bytes, said: str, name: str = "m.pth") -> None:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(fb.InputError, match=said):
            fb.import_weights("densenet121", tmp_path / name)

    refused(b"", "no PyTorch checkpoint")
    refused(pickle.dumps(Path()), "no PyTorch checkpoint of plain tensors")
    refused(b"nonsense", "cannot be read as safetensors", "m.safetensors")
    torch.save({"epoch": 1, "other": {"a": torch.zeros(1)}}, tmp_path / "n.pth")
    refused((tmp_path / "n.pth").read_bytes(), "no tensors under a name we know")
    with pytest.raises(fb.InputError, match="no such weight file"):
        fb.import_weights("densenet121", tmp_path / "absent.pth")


def test_what_training_scripts_leave_beside_their_tensors_is_no_hindrance(tmp_path: Path) -> None:
    theirs = randomise(torchvision.models.shufflenet_v2_x0_5(num_classes=2))
    beside = {"best_acc": np.float64(0.9), "epoch": np.int64(3), "args": argparse.Namespace(lr=0.1), "arch": "x"}
    model, _ = imported(tmp_path, "shufflenet_v2_x0_5.tv", theirs.state_dict(), **beside)
    assert differs(model, theirs) < 1e-6


def test_a_checkpoint_that_could_run_code_never_does(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "run",))

    torch.save({"state_dict": {"a": torch.zeros(1)}, "extra": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(fb.InputError, match="plain tensors"):
        fb.import_weights("densenet121", tmp_path / "evil.pth")
    assert not (tmp_path / "run").exists()


def test_published_weights_are_named_or_their_form_is() -> None:
    assert fb.published_weights("densenet121").place == "torchvision"
    assert fb.published_weights("cspresnet50.timm").name == "timm/cspresnet50.ra_in1k"
    with pytest.raises(fb.InputError, match=r"cspresnet50\.timm has some"):
        fb.published_weights("cspresnet50")
    with pytest.raises(fb.InputError, match="those that have are densenet121"):
        fb.create_model("peleenet", pretrained=True)
    with pytest.raises(fb.InputError, match="needs the name"):
        fb.create_model(fb.spec("densenet121"), pretrained=True)


def test_torchvisions_weights_are_downloaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = randomise(torchvision.models.shufflenet_v2_x0_5())
    asked: list[str] = []

    def arrive(url: str, target: str, hash_prefix: str, *, progress: bool) -> None:
        assert not progress
        asked.append(f"{url} {hash_prefix}")
        torch.save(theirs.state_dict(), target)

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", arrive)
    for _ in range(2):
        model = fb.create_model("shufflenet_v2_x0_5.tv", pretrained=True).eval()
        assert differs(model, theirs) < 1e-6
    assert asked == ["https://download.pytorch.org/models/shufflenetv2_x0.5-f707e7126e.pth f707e7126e"]
    maps = fb.create_model("shufflenet_v2_x0_5.tv", pretrained=True, features_only=True, in_chans=1, out_indices=(-1,))
    assert maps.channels == (192,)


def test_without_a_net_one_sentence_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: object, **__: object) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", nothing)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", nothing)
    for name in ("densenet121", "rdnet_tiny"):
        with pytest.raises(
            fb.InputError, match=f"(?s)service not known.*featherbone import FILE --as {name}"
        ) as caught:
            fb.create_model(name, pretrained=True)
        assert "\n" not in str(caught.value)


def test_the_hubs_weights_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = randomise(timm.create_model("ese_vovnet19b_dw"))
    good, damaged = tmp_path / "good.safetensors", tmp_path / ("0" * 64)
    save_file(theirs.state_dict(), good)
    damaged.write_bytes(good.read_bytes())
    place = {"file": good}
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_: str(place["file"]))
    assert differs(fb.create_model("vovnet_v2_19_dw", pretrained=True).eval(), theirs) < 1e-6
    place["file"] = damaged
    with pytest.raises(fb.InputError, match="damaged"):
        fb.create_model("vovnet_v2_19_dw", pretrained=True)


def offline(*_: object, **__: object) -> None:
    """Fail as without a net."""
    raise OSError("no route to host")


def test_a_network_goes_to_the_hub_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = randomise(fb.create_model("shufflenet_v2_x0_5", num_classes=2))
    uploaded = tmp_path / "uploaded"

    class Api:
        def __init__(self, *_: object, **__: object) -> None: ...

        def create_repo(self, repo_id: str, **_: object) -> Any:
            return type("Repo", (), {"repo_id": repo_id})()

        def upload_folder(self, folder_path: Path, **_: object) -> str:
            uploaded.mkdir()
            for file in Path(folder_path).iterdir():
                (uploaded / file.name).write_bytes(file.read_bytes())
            return "https://hub/me/net"

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Api)
    preprocess = fb.Preprocess.usual(64, 3)
    assert fb.push_to_hub(model, "me/net", classes=("a", "b"), preprocess=preprocess) == "https://hub/me/net"
    again = fb.from_pretrained(uploaded)
    assert differs(again, model) == 0
    assert fb.read_header(uploaded).classes == ("a", "b")
    assert fb.read_header(uploaded).preprocess == preprocess
    for place in ("featherbone.weights.hub.hf_hub_download", "huggingface_hub.hub_mixin.hf_hub_download"):
        monkeypatch.setattr(place, offline)
    with pytest.raises(fb.InputError, match="cannot be downloaded: no route to host"):
        fb.from_pretrained("me/absent")


def test_import_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    theirs = randomise(torchvision.models.shufflenet_v2_x0_5(num_classes=2))
    torch.save(theirs.state_dict(), "theirs.pth")
    Path("names.txt").write_text("cat\n\ndog\n")
    run = CliRunner()
    done = run.invoke(app, ["import", "theirs.pth", "--as", "shufflenet_v2_x0_5.tv", "--classes", "names.txt"])
    assert done.exit_code == 0, done.output
    assert "torchvision" in done.output
    file = "shufflenet_v2_x0_5.tv.safetensors"
    assert fb.read_header(file).classes == ("cat", "dog")
    assert differs(fb.load(file), theirs) == 0
    again = run.invoke(app, ["import", "theirs.pth", "--as", "shufflenet_v2_x0_5.tv"])
    assert isinstance(again.exception, fb.InputError)
    assert "--out" in str(again.exception)
    command = ["import", "theirs.pth", "--as", "shufflenet_v2_x0_5.tv", "--out", "b.safetensors", "--json"]
    report = json.loads(run.invoke(app, command).stdout)
    assert report["source"] == "torchvision"
    assert report["missing"] == report["left_over"] == []
    assert report["preprocess"] is None  # of two classes nobody published any
    own = run.invoke(app, [*command, "--mean", "0.5,0.5,0.5", "--std", "1,1,1", "--size", "64", "--bgr"])
    assert json.loads(own.stdout)["preprocess"]["bgr"] is True
    given = fb.Preprocess(size=64, mean=(0.5, 0.5, 0.5), std=(1.0, 1.0, 1.0), bgr=True)
    assert fb.read_header("b.safetensors").preprocess == given
    wrongs = ((["--size", "3"], "go with"), (["--mean", "1"], "go together"), (["--mean", "a", "--std", "1"], "commas"))
    for wrong, said in wrongs:
        failed = run.invoke(app, [*command, *wrong])
        assert isinstance(failed.exception, fb.InputError)
        assert said in str(failed.exception)
