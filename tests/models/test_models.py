"""Published counts, rows and what they refuse."""

import csv
import pickle
import runpy
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from helpers.families import FEW, SMALL, slow_but, tiny
from helpers.paths import ROOT
from torch import nn

import featherbone as fb
from featherbone.models import FAMILIES, spec_from_row, stem_stride_for
from featherbone.spec import spec_to_dict

PAGE = (ROOT / "docs" / "networks.md").read_text(encoding="utf-8")
TOOL = runpy.run_path(str(ROOT / "tools" / "networks.py"))
with (ROOT / "docs" / "published.csv").open(encoding="utf-8") as table:
    PUBLISHED = {row["name"]: row for row in csv.DictReader(table)}

# printed figures that the authors rounded or counted otherwise, and how far ours may be from them
ROUNDED = {"shufflenet_v1": 0.05, "shufflenet_v2": 0.015, "se_shufflenet_v2": 0.01, "csppeleenet": 0.25}


def test_every_published_row_is_of_a_network_we_have() -> None:
    assert set(PUBLISHED) <= set(fb.list_models())
    exact = [name for name, row in PUBLISHED.items() if row["params"]]
    assert len(exact) >= 70
    assert all(row["params_source"] for row in PUBLISHED.values() if row["params"])


@pytest.mark.parametrize("name", slow_but(fb.list_models(), SMALL))
def test_parameters_and_operations_are_the_published_ones_and_those_of_the_page(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``just networks`` writes the page."""
    row = PUBLISHED.get(name, {"params": "", "macs_millions": "", "size": ""})
    with torch.device("meta"):
        cost = fb.cost(fb.create_model(name), int(row["size"] or fb.spec(name).usual_size))
    assert cost.params == fb.count_parameters(name)
    assert not cost.unknown
    if row["params"]:
        assert cost.params == int(row["params"])
    if row["macs_millions"]:
        printed = float(row["macs_millions"])
        allowed = next((share for start, share in ROUNDED.items() if name.startswith(start)), 0.001)
        if name.startswith("shufflenet") and "worked out" in row["macs_source"]:
            allowed = 0.002
        assert cost.macs / 1e6 == pytest.approx(printed, rel=allowed)
    monkeypatch.setattr(fb, "create_model", lambda _: None)
    monkeypatch.setattr(fb, "cost", lambda *_: cost)  # traced once is enough
    assert TOOL["_line"](name, PUBLISHED.get(name, {})) in PAGE


def test_the_page_has_every_network_in_order() -> None:
    assert PAGE.startswith(TOOL["HEADER"])
    lines = PAGE.removeprefix(TOOL["HEADER"]).splitlines()
    assert [line.split("`")[1] for line in lines] == fb.list_models()


def test_the_forms_of_shufflenet_v2_differ_in_what_their_names_say() -> None:
    ours = fb.spec("shufflenet_v2_x1_0")
    tv: dict[str, Any] = {"first_projection": 58, "shuffle_first": False, "classifier_bias": True}
    assert replace(ours, **tv) == fb.spec("shufflenet_v2_x1_0.tv")
    nanodet: dict[str, Any] = {**tv, "negative_slope": 0.1}
    assert replace(ours, **nanodet) == fb.spec("shufflenet_v2_x1_0.nanodet")


def test_every_form_says_whose_it_is() -> None:
    forms = {fb.form(name) for name in fb.list_models()}
    assert "timm's form" in forms
    assert all(forms)


@pytest.mark.parametrize("stem_stride", [1, 2, 4])
@pytest.mark.parametrize("name", slow_but(SMALL, FEW))
def test_small_image_stems_shrink_less(name: str, stem_stride: int) -> None:
    with torch.device("meta"):
        maps = fb.create_model(name, features_only=True, stem_stride=stem_stride, in_chans=1).eval()
        out = maps(torch.zeros(1, 1, 64, 64))
    assert maps.strides[1:] == tuple(stem_stride * 2**i for i in range(4))
    assert [64 // m.shape[2] for m in out] == list(maps.strides)
    assert [m.shape[1] for m in out] == list(maps.channels)


def test_the_stem_follows_the_size() -> None:
    assert [stem_stride_for(size) for size in (8, 32, 33, 64, 65, 224)] == [1, 1, 2, 2, 4, 4]


# what a row must have for a column to matter: a second module in a stage for its shortcut
NEEDED: dict[tuple[str, str], dict[str, Any]] = {
    **{(family, "fusion"): {"partial_ratio": 0.5} for family in FAMILIES},
    ("vovnet", "residual"): {"modules": (1, 1, 2, 1)},
}


@pytest.mark.parametrize("name", slow_but(SMALL, FEW))
def test_every_column_changes_the_network(name: str) -> None:
    row = fb.spec(name)
    with torch.device("meta"):
        plain = shape(row)
        for field in fields(row):
            needed = NEEDED.get((row.family, field.name), {})
            given = replace(row, **needed) if needed else row
            others = [replace(given, **{field.name: value}) for value in other_values(field.name, given)]
            assert any(shape(other) != (shape(given) if given is not row else plain) for other in others), field.name


def other_values(column: str, row: fb.Spec) -> Iterator[Any]:
    """Yield allowed values that differ from the row's."""
    special: dict[str, list[Any]] = {
        "stem_stride": [2],
        "output_stride": [8],
        "drop_path": [0.5],
        "partial_ratio": [0.25],
        "fusion": ["first", "last"],
        "pool_kernel": [3],
        "first_stride": [1],
        "first_entry": [32],
        "plain_blocks": [0],
        "groups": [2],
        "bottleneck": [2, (2, 2, 2, 2), (0.25,) * 4, (0.25,) * 5],
        "growth_rates": [(72, 104, 128, 128, 128, 128, 224)],
    }
    value = getattr(row, column)
    if column in special:
        candidates = special[column]
    elif isinstance(value, bool):
        candidates = [not value]
    elif isinstance(value, tuple):
        candidates = [
            (not value[0], *value[1:]) if isinstance(value[0], bool) else (value[0] + n, *value[1:]) for n in (2, 24)
        ]
    elif isinstance(value, float):
        candidates = [0.25 if value != 0.25 else 0.5]
    else:
        candidates = [value + 2, value + 24]
    for candidate in candidates:
        try:
            replace(row, **{column: candidate})
        except (fb.InputError, TypeError):
            continue
        yield candidate


def shape(row: fb.Spec) -> list[str]:
    """Return everything that tells two networks apart but their weights."""
    model = row.build()
    wired = [
        f"{name} {part.drop_path} {part.extra_repr()}"
        for name, part in model.named_modules()
        if isinstance(part, fb.Wiring)
    ]
    return [repr(model), *wired]


@pytest.mark.parametrize("name", fb.list_models())
def test_rows_survive_json_and_pickle(name: str) -> None:
    row = fb.spec(name)
    assert spec_from_row(spec_to_dict(row)) == row
    assert pickle.loads(pickle.dumps(row)) == row  # noqa: S301 - our own row, made a line above
    assert eval(repr(row), vars(__import__(type(row).__module__, fromlist=["*"]))) == row  # noqa: S307 - likewise


@pytest.mark.parametrize("name", slow_but(SMALL, FEW))
def test_every_parameter_learns(name: str) -> None:
    model = fb.create_model(name, num_classes=3)
    model(torch.randn(2, 3, 64, 64)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"num_classes": -1}, "num_classes=-1"),
        ({"in_chans": 0}, "in_chans=0"),
        ({"stem_stride": 3}, "stem_stride=3"),
        ({"growth_rate": 0}, "growth_rate=0"),
        ({"growth_rate": 12.5}, "growth_rate=12.5"),
        ({"layers": ()}, "layers=()"),
        ({"layers": (6, 0)}, "layers="),
        ({"compression": 0.0}, "compression=0.0"),
        ({"dropout": 1.0}, "dropout=1.0"),
    ],
)
def test_a_wrong_row_is_refused_with_its_column(change: dict[str, Any], said: str) -> None:
    with pytest.raises(fb.InputError, match=said.replace("(", r"\(").replace(")", r"\)")):
        replace(fb.spec("densenet121"), **change)


def test_shufflenet_and_vovnet_rows_are_checked_too() -> None:
    with pytest.raises(fb.InputError, match="even numbers"):
        replace(fb.spec("shufflenet_v2_x1_0"), channels=(115, 232, 464))  # type: ignore[call-arg]
    with pytest.raises(fb.InputError, match="first_projection=116"):
        replace(fb.spec("shufflenet_v2_x1_0"), first_projection=116)  # type: ignore[call-arg]
    with pytest.raises(fb.InputError, match="modules"):
        replace(fb.spec("vovnet39"), modules=(1, 1, 2))  # type: ignore[call-arg]


def test_the_first_shufflenet_has_whole_groups_and_one_dense_convolution() -> None:
    """Quarters of the widths are fractions for two and four groups; the first 1x1 convolution reads few channels."""
    for name in fb.list_models("shufflenet_v1_*"):
        row: Any = fb.spec(name)
        with torch.device("meta"):
            pointwise = [
                m for m in row.build().stages.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1)
            ]
        assert [m.groups for m in pointwise] == [1, *[row.groups] * (len(pointwise) - 1)], name
    with pytest.raises(fb.InputError, match="multiples of groups=3"):
        replace(fb.spec("shufflenet_v1_g3_x1_0"), channels=(241, 480, 960))  # type: ignore[call-arg]
    with pytest.raises(fb.InputError, match="stem_channels=25"):
        replace(fb.spec("shufflenet_v1_g3_x1_0"), stem_channels=25)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"partial_ratio": 1.0}, "partial_ratio=1.0"),
        ({"partial_ratio": 0.001}, "partial_ratio=0.001"),
        ({"fusion": "middle"}, "both, first or last"),
        ({"output_stride": 4}, "8, 16 or 32"),
        ({"drop_path": -0.1}, "drop_path=-0.1"),
    ],
)
def test_wrong_common_columns_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(fb.InputError, match=said):
        replace(fb.spec("peleenet"), **change).build()


def test_csp_rows_are_checked() -> None:
    with pytest.raises(fb.InputError, match="first_entry=300"):
        replace(fb.spec("cspresnet50"), first_entry=300).build()  # type: ignore[call-arg]
    with pytest.raises(fb.InputError, match="groups=48"):
        replace(fb.spec("cspresnext50"), groups=48).build()  # type: ignore[call-arg]
    with pytest.raises(fb.InputError, match="bottleneck"):
        replace(fb.spec("cspdarknet53"), bottleneck=(0.5,))  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"family": "resnet"},
        {"family": "vovnet"},
        {"family": "vovnet", "depth": 3},
        {"family": "densenet", "layers": 3},
    ],
)
def test_a_row_that_is_none_is_refused(row: dict[str, Any]) -> None:
    with pytest.raises(fb.InputError):
        spec_from_row(row)


@pytest.mark.filterwarnings("ignore:.*torch.jit:")  # deprecated, and still used
def test_torchscript_is_refused_in_a_sentence_and_a_trace_takes_other_sizes() -> None:
    model = tiny(num_classes=3).eval()
    for network in (
        model,
        nn.Sequential(model, nn.Softmax(1)),
        fb.create_model("shufflenet_v2_x0_5", features_only=True),
    ):
        with pytest.raises(
            fb.InputError, match=r"torch.jit.script cannot read these networks.*torch.jit.trace.*fb.export"
        ):
            torch.jit.script(network)
    traced = torch.jit.trace(model, torch.randn(2, 3, 64, 64))  # type: ignore[no-untyped-call]
    images = torch.randn(3, 3, 96, 64)
    assert torch.equal(traced(images), model(images))
