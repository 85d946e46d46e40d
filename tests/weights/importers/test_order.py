"""Files whose names nobody knows: matched in the order of running, where that is possible in one way only."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.reference import MegviiShuffleNetV1, differs, randomize
from helpers.strangers import SmallDenseNet, SmallShuffleNet
from safetensors.torch import save_file
from torch import Tensor, nn

import featherbone as fb

State = dict[str, Tensor]
DENSENET = replace(
    fb.spec("densenet121"), layers=(6, 12, 24), growth_rate=12, stem_channels=24, stem_norm=False, stem_stride=1
)  # type: ignore[call-arg]
SHUFFLENET = replace(fb.spec("shufflenet_v1_g3_x1_0"), repeats=(2, 3, 2), stem_stride=1)  # type: ignore[call-arg]
KUANGLIU = "kuangliu/pytorch-cifar"
# to the names of a form whose layers are numbered
RULES = [
    (r"^block(\d)\.", r"features.denseblock\1.layers."),
    ("^step", "features.transition"),
    (r"^conv1\.", "features.0."),
    (r"^bn\.", "features.norm5."),
    (r"^answer\.", "classifier."),
]


@pytest.fixture(scope="module")
def densenet() -> nn.Module:
    torch.manual_seed(0)
    return randomize(SmallDenseNet())


@pytest.fixture(scope="module")
def shufflenet() -> nn.Module:
    torch.manual_seed(0)
    return randomize(SmallShuffleNet())


def unknown(network: nn.Module) -> State:
    """Return a DenseNet's state under names that no project has."""
    names = (("dense", "block"), ("trans", "step"), ("linear", "answer"))

    def new(name: str) -> str:
        for old, other in names:
            name = name.replace(old, other)
        return name

    return {new(name): tensor for name, tensor in network.state_dict().items()}


def load(
    state: State, row: str | fb.Spec, folder: Path, *, sort: bool = False, **options: Any
) -> tuple[fb.Backbone, fb.Imported]:
    """Go through a file; ``sort`` makes it safetensors, which lie by name."""
    if sort:
        save_file(state, folder / "m.safetensors")
        return fb.import_weights(row, folder / "m.safetensors", **options)
    torch.save({"epoch": 1, "net": state}, folder / "m.pth")
    return fb.import_weights(row, folder / "m.pth", **options)


def reference(network: nn.Module, folder: Path, size: int = 32) -> Path:
    images = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        np.savez(folder / "reference.npz", input=images.numpy(), output=network(images).numpy())
    return folder / "reference.npz"


@pytest.mark.parametrize("sort", [False, True])
def test_a_small_densenet_of_a_stranger_is_matched_by_order(densenet: nn.Module, sort: bool, tmp_path: Path) -> None:
    model, report = load(unknown(densenet), DENSENET, tmp_path, sort=sort)
    assert differs(model, densenet, 32) < 1e-6
    assert report.by_order
    assert report.source == "by order"
    assert (report.missing, report.left_over) == ((), ())
    assert "prove it with --check" in report.remarks[0]


def test_it_is_known_by_name_once_its_names_are_changed(densenet: nn.Module, tmp_path: Path) -> None:
    model, report = load(unknown(densenet), DENSENET, tmp_path, rename=RULES)
    assert differs(model, densenet, 32) < 1e-6
    assert (report.source, report.by_order, report.remarks) == ("numbered layers", False, ())
    ours = DENSENET.build().eval()
    fb.load_weights(ours, unknown(densenet), rename=RULES)
    assert differs(replace_classes(ours, densenet), densenet, 32) < 1e-6


def replace_classes(ours: fb.Backbone, theirs: nn.Module) -> fb.Backbone:
    """Return a network with the classifier that was left out, as it is for other classes."""
    model = fb.reset_head(ours, 10)
    head, answer = model.get_submodule("head.classifier"), theirs.get_submodule("linear")
    head.load_state_dict(answer.state_dict())
    return model.eval()


@pytest.mark.parametrize(("new_first", "form"), [(True, KUANGLIU), (False, f"{KUANGLIU} with new channels last")])
def test_one_name_for_two_wirings_is_asked_about(new_first: bool, form: str, tmp_path: Path) -> None:
    """Kuangliu's DenseNet puts a layer's new channels first; names and shapes are those of one that does not."""
    torch.manual_seed(0)
    theirs = randomize(SmallDenseNet(new_first=new_first))
    state = theirs.state_dict()
    with pytest.raises(fb.InputError, match=r"forms that compute otherwise, .*: say which with form=NAME"):
        load(state, DENSENET, tmp_path)
    with pytest.raises(fb.InputError, match="did you mean 'pytorchcv'"):
        load(state, DENSENET, tmp_path, form="pytorchvc")
    with pytest.raises(fb.InputError, match="the file's names are not those of that form"):
        load(state, DENSENET, tmp_path, form="pytorchcv")
    model, report = load(state, DENSENET, tmp_path, form=form)
    assert differs(model, theirs, 32) < 1e-5
    assert report.source == form
    model, report = load(state, DENSENET, tmp_path, check=reference(theirs, tmp_path))
    assert differs(model, theirs, 32) < 1e-5
    assert report.source == form


def test_with_a_reference_any_known_arrangement_of_channels_is_tried(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = randomize(SmallDenseNet((2, 3), new_first=True))
    row = replace(DENSENET, layers=(2, 3))  # type: ignore[call-arg]
    assert differs(load(unknown(theirs), row, tmp_path)[0], theirs, 32) > 0.01  # what no shape shows
    model, report = load(unknown(theirs), row, tmp_path, check=reference(theirs, tmp_path))
    assert differs(model, theirs, 32) < 1e-5
    assert report.proof is not None
    assert report.proof.holds
    assert "a layer's new channels were put behind those that it read" in report.notes


def test_a_small_shufflenet_of_a_stranger_is_matched_and_what_no_tensor_tells_is_said(
    shufflenet: nn.Module, tmp_path: Path
) -> None:
    model, report = load(shufflenet.state_dict(), SHUFFLENET, tmp_path)
    assert differs(model, shufflenet, 32) < 1e-6
    assert report.by_order
    assert {"stem_stride=1", "shortcut_first=true", "inverse_shuffle=false"} <= {*report.untold}
    model, report = load(shufflenet.state_dict(), SHUFFLENET, tmp_path, check=reference(shufflenet, tmp_path))
    assert report.proof is not None
    assert report.untold == ()
    assert report.remarks == (f"outputs agree with a reference: {report.proof}",)


@pytest.mark.parametrize("stem", [1, 2])
def test_a_shufflenet_with_another_first_stride_is_taken_for_the_rows_until_it_is_checked(
    stem: int, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    theirs = randomize(SmallShuffleNet(stem=stem))
    published = replace(SHUFFLENET, stem_stride=4)
    model, report = load(theirs.state_dict(), published, tmp_path)
    assert differs(model, theirs, 64) > 0.01
    assert "stem_stride=4" in report.untold
    check = reference(theirs, tmp_path, 64)
    with pytest.raises(fb.InputError, match=rf"not those of the reference: .*; with stem_stride={stem} they agree"):
        load(theirs.state_dict(), published, tmp_path, check=check)
    model, _ = load(theirs.state_dict(), replace(published, stem_stride=stem), tmp_path, check=check)
    assert differs(model, theirs, 64) < 1e-6


def test_a_known_projects_names_do_not_tell_the_stem(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = randomize(MegviiShuffleNetV1(3, 12, (120, 240, 480)))
    _, report = load(theirs.state_dict(), "shufflenet_v1_g3_x0_5", tmp_path)
    assert not report.by_order
    assert "stem_stride=4" in report.untold
    assert report.remarks[0].startswith("no tensor tells stem_stride=4")


def test_a_sorted_file_of_equal_shapes_is_ambiguous_until_names_or_outputs_tell(
    shufflenet: nn.Module, tmp_path: Path
) -> None:
    """The norms behind the first and the second convolution of a unit have one shape."""
    state = shufflenet.state_dict()
    said = r"more than one way: .*reduce_norm or .*spatial_norm \(it was sorted by name"
    with pytest.raises(fb.InputError, match=said):
        load(state, SHUFFLENET, tmp_path, sort=True)
    torch.save(dict(sorted(state.items())), tmp_path / "sorted.pth")
    with pytest.raises(fb.InputError, match=said):
        fb.import_weights(SHUFFLENET, tmp_path / "sorted.pth")
    parts = ("reduce", "reduce_norm", "spatial", "spatial_norm", "expand", "expand_norm")
    numbers = [(rf"\.{part}\.", f".part{i}.") for i, part in enumerate(parts)]
    assert differs(load(state, SHUFFLENET, tmp_path, sort=True, rename=numbers)[0], shufflenet, 32) < 1e-6
    model, _ = load(state, SHUFFLENET, tmp_path, sort=True, check=reference(shufflenet, tmp_path))
    assert differs(model, shufflenet, 32) < 1e-6


def test_a_file_against_its_own_numbers_is_refused(tmp_path: Path) -> None:
    """The units of a stage have equal shapes, and the file has the last of them first."""
    torch.manual_seed(0)
    theirs = randomize(SmallShuffleNet(turned=True))
    with pytest.raises(fb.InputError, match="by order it fits in more than one way"):
        load(theirs.state_dict(), SHUFFLENET, tmp_path)
    state = randomize(SmallDenseNet((2, 3))).state_dict()
    layers = [name for name in state if name.startswith("dense2.1.conv2")]
    turned = {name.replace("dense2.2.conv2", "x").replace("dense2.1.conv2", "dense2.2.conv2"): t
              for name, t in state.items() if name not in layers}  # fmt: skip
    with pytest.raises(fb.InputError, match="does not fit"):
        load(turned, replace(DENSENET, layers=(2, 3)), tmp_path)  # type: ignore[call-arg]


@pytest.mark.parametrize("sort", [False, True])
def test_two_convolutions_side_by_side_are_ambiguous(sort: bool, tmp_path: Path) -> None:
    """CSPNet's stages begin with two of equal shapes; which of them walks round the body no shape tells."""
    torch.manual_seed(0)
    row = replace(fb.spec("cspresnet50"), depths=(1, 1, 1, 1), num_classes=5)  # type: ignore[call-arg]
    ours = randomize(row.build())
    state = {f"net.{k.replace('stages', 'part').replace('branches', 'way')}": v for k, v in ours.state_dict().items()}
    with pytest.raises(fb.InputError, match=r"branches\.0\.0 can be .*way\.0\.0 or .*way\.1\.0\.0"):
        load(state, row, tmp_path, sort=sort)
    model, _ = load(state, row, tmp_path, sort=sort, check=reference(ours, tmp_path, 64))
    assert differs(model, ours) < 1e-6


def test_the_branches_of_a_file_may_stand_the_other_way_round(tmp_path: Path) -> None:
    torch.manual_seed(0)
    ours = randomize(fb.create_model("shufflenet_v2_x0_5", num_classes=3))
    names = {name: name.replace("stages", "part").replace("branches.0", "short").replace("branches.1", "main")
             for name in ours.state_dict()}  # fmt: skip
    later: State = {}
    state: State = {}
    for name, tensor in ours.state_dict().items():
        if ".branches.0." in name:
            later[names[name]] = tensor
            continue
        if later and ".branches.1." not in name:
            state, later = state | later, {}
        state[names[name]] = tensor
    model, report = load(state, "shufflenet_v2_x0_5", tmp_path)
    assert differs(model, ours) == 0
    assert report.by_order


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda s: {k: v for k, v in s.items() if not k.startswith("bn.")},
            r"layer 174 of the file, net\.answer \(10, 384\), is not our norm",
        ),
        (
            lambda s: {k: v[:1] if k.startswith("block2.3.conv2") else v for k, v in s.items()},
            r"file, net\.block2\.3\.conv2 \(1, 48, 3, 3\), is not our layer stages\.1\.\S+ \(12, 48, 3, 3\)",
        ),
        (
            lambda s: {k: v for k, v in s.items() if "running" not in k},
            r"net\.block1\.0\.bn1 \(24,\) without running_mean and running_var, is not our norm",
        ),
        (lambda s: {**s, "bn.gamma": torch.zeros(3)}, r"layer 174 of the file, net\.bn \(384,\), is not our norm"),
    ],
)
def test_what_does_not_fit_by_order_is_named(
    change: Callable[[State], State], said: str, densenet: nn.Module, tmp_path: Path
) -> None:
    with pytest.raises(fb.InputError, match=said):
        load(change(unknown(densenet)), DENSENET, tmp_path)


def test_without_running_statistics_the_norm_is_named(tmp_path: Path) -> None:
    theirs = fb.create_model("vovnet27_slim", num_classes=2).state_dict()
    state = {name: tensor for name, tensor in theirs.items() if "running" not in name}
    with pytest.raises(fb.InputError, match=r"stem\.0\.1 has no running_mean and no running_var, which our batch norm"):
        load(state, "vovnet27_slim", tmp_path)


def test_rules_for_names_are_checked(densenet: nn.Module, tmp_path: Path) -> None:
    state = unknown(densenet)
    for rule, said in (
        (("(", "x"), r"rename \(=x is no regular expression: missing \)"),
        (("conv", r"\3"), "is no regular expression: invalid group reference"),
        (("zzz", "x"), "changes no name in .*: it holds conv1.weight"),
        (("running_mean", "running_var"), r"rename makes net\.block1\.0\.bn1\.running_var of two tensors"),
        ((r"^conv1\.weight$", ""), r"rename leaves no name for net\.conv1\.weight"),
    ):
        with pytest.raises(fb.InputError, match=said):
            load(state, DENSENET, tmp_path, rename=[rule])


def test_a_file_without_a_classifier_fits_by_order(densenet: nn.Module, tmp_path: Path) -> None:
    state = {name: tensor for name, tensor in unknown(densenet).items() if not name.startswith("answer")}
    model, report = load(state, DENSENET, tmp_path)
    assert report.missing == ("head.classifier.weight", "head.classifier.bias")
    assert differs(replace_classes(model, densenet), densenet, 32) < 1e-6


def test_many_tensors_that_are_no_network_take_no_time(tmp_path: Path) -> None:
    state = {f"a{i}.b{i}.c.weight": torch.zeros(1) for i in range(20_000)}
    with pytest.raises(fb.InputError, match="it has 20,000 layers, the network"):
        load(state, DENSENET, tmp_path)


def test_a_network_beside_others_is_found(densenet: nn.Module, tmp_path: Path) -> None:
    """A detector's head is no part of it, and of two the average is taken as everywhere."""
    state = {f"trunk.{k}": v for k, v in unknown(densenet).items()} | {"boxes.weight": torch.zeros(4, 2)}
    model, report = load(state, DENSENET, tmp_path)
    assert differs(model, densenet, 32) < 1e-6
    assert report.left_over == ("boxes.weight",)
    torch.save({"ema": unknown(densenet), "raw": {k: v + 1 for k, v in unknown(densenet).items()}}, tmp_path / "e.pth")
    model, report = fb.import_weights(DENSENET, tmp_path / "e.pth")
    assert differs(model, densenet, 32) < 1e-6
    assert any("averaged weights were taken" in note for note in report.notes)
