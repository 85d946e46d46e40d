"""Networks with equal names and shapes that compute otherwise are told apart, refused, or named."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from helpers.families import SMALL
from pytorchcv.model_provider import get_model
from torch import nn

import featherbone as fb
from featherbone.weights.importers.match import forms
from featherbone.weights.importers.variants import alike, untold

# what no project's names tell, as every project may have been changed for smaller images
UNTOLD = {"stem_stride", "first_stride", "shortcut_pool"}
# two projects that share their names, so that the row decides; what a configuration says that is not read
OTHERS = {"torchvision": {"negative_slope"}, "RangiLyu/nanodet": {"negative_slope"}, "darknet": {"split_activation"}}


@pytest.mark.parametrize("name", ["densenet121", "densenet40_k12_cifar", "darknet53", "vovnet39", "vovnet39a.timm",
                                  "vovnet_v2_39", "shufflenet_v1_g3_x1_0.pcv", "shufflenet_v2_x1_0.tv",
                                  "shufflenet_v2_x1_0.nanodet", *SMALL])  # fmt: skip
def test_names_tell_all_columns_but_those_of_small_images(name: str) -> None:
    row = fb.spec(name)
    for project, layers in forms(row):
        allowed = UNTOLD | OTHERS.get(project.name, set())
        assert not layers or {*untold(row, project.name)} <= allowed, project.name


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_no_other_count_leaves_the_shapes_as_they_are(name: str) -> None:
    """The search for such columns looks at few counts, as all others shape a tensor."""
    row = fb.spec(name)
    shapes = [tensor.shape for tensor in row.build_empty().state_dict().values()]
    seen = {column for column, _ in alike(row)}
    for field in fields(row):
        value: Any = getattr(row, field.name)
        if not isinstance(value, int) or isinstance(value, bool) or field.name in {"output_stride", *seen}:
            continue
        for other in (value - 1, value + 1):
            try:
                changed: dict[str, Any] = {field.name: other}
                model = replace(row, **changed).build_empty()
            except fb.InputError:
                continue
            same = [tensor.shape for tensor in model.state_dict().values()] == shapes
            assert not same or str(model) == str(row.build_empty()), field.name


def built(library: str, name: str) -> nn.Module:
    return timm.create_model(name) if library == "timm" else get_model(name)


@pytest.mark.parametrize(
    ("library", "theirs", "name", "said"),
    [
        ("timm", "vovnet39a", "vovnet39", r"they fit vovnet39a\.timm"),
        ("timm", "eca_vovnet39b", "vovnet39a.timm", r"no layer of the network takes stages\.0\.blocks\.0\.attn\.conv"),
        ("timm", "ese_vovnet39b", "vovnet39a.timm", r"blocks\.0\.attn\.fc.*they fit vovnet_v2_39\.timm"),
        ("timm", "vovnet57a", "vovnet39a.timm", r"stages\.2\.blocks\.2\.conv_mid.*they fit vovnet57a\.timm"),
        ("pytorchcv", "vovnet57", "vovnet39", r"no layer of the network takes features\.stage3\.unit3"),
        ("pytorchcv", "xdensenet40_2_k36_bc_cifar10", "densenet_bc40_k36_cifar", r"conv1\.conv\.mask"),
        ("pytorchcv", "darknet53", "darknet53.timm", r"they fit darknet53"),
        ("pytorchcv", "shufflenetv2b_wd2", "shufflenet_v2_x0_5.nanodet", r"they fit shufflenet_v2_x0_5\.tv"),
    ],
)
def test_networks_that_look_alike_are_refused(library: str, theirs: str, name: str, said: str, tmp_path: Path) -> None:
    torch.save(built(library, theirs).state_dict(), tmp_path / "m.pth")
    with pytest.raises(fb.InputError, match=said):
        fb.import_weights(name, tmp_path / "m.pth")


def test_a_variant_of_a_row_is_named_where_no_network_fits(tmp_path: Path) -> None:
    state = timm.create_model("vovnet39a", num_classes=3).state_dict()
    kept = {name: tensor for name, tensor in state.items() if not name.startswith("stages.3.blocks.1")}
    row = replace(fb.spec("vovnet39"), modules=(1, 1, 2, 1))  # type: ignore[call-arg]
    torch.save(kept, tmp_path / "m.pth")
    with pytest.raises(fb.InputError, match="they fit with residual=false"):
        fb.import_weights(row, tmp_path / "m.pth")
    model, report = fb.import_weights(replace(row, residual=False), tmp_path / "m.pth")  # type: ignore[call-arg]
    assert report.source == "timm"
    assert report.untold == ("stem_stride=4",)
    assert model.spec.num_classes == 3


def test_buffers_of_counters_are_no_layers(tmp_path: Path) -> None:
    state = timm.create_model("vovnet39a").state_dict() | {"stages.0.total_ops": torch.zeros(1)}
    torch.save(state, tmp_path / "m.pth")
    assert fb.import_weights("vovnet39a.timm", tmp_path / "m.pth")[1].missing == ()
