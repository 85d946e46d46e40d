"""References: what they must hold, and what they show."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.families import tiny
from helpers.reference import randomize

import featherbone as fb
from featherbone.weights.importers.proof import prove, read_reference

IMAGES = np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"input": IMAGES}, "lacks the array output; it holds input"),
        ({"x": IMAGES}, "lacks the arrays input and output; it holds x"),
        ({"input": IMAGES[0], "output": IMAGES}, r"input in .* is not allowed: .*\(N, C, H, W\), not float32"),
        ({"input": IMAGES, "output": np.array([[1], [2]])}, r"output in .* not int64 \(2, 1\)"),
        ({"input": IMAGES, "output": np.full((2, 3), np.nan)}, "output in .* holds NaN"),
        ({"input": IMAGES, "output": np.zeros((2, 3))}, "output in .* is 0 everywhere: it proves nothing"),
        ({"input": IMAGES, "output": np.arange(9.0).reshape(3, 3)}, "has 2 inputs and 3 outputs"),
        (
            {"input": IMAGES, "output": np.array([{}], dtype=object)},
            "cannot be read: it is no .npz file of plain arrays",
        ),
    ],
)
def test_a_reference_is_two_arrays_that_prove_something(arrays: dict[str, Any], said: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "r.npz", **arrays)
    with pytest.raises(fb.InputError, match=said):
        read_reference(tmp_path / "r.npz")
    with pytest.raises(fb.InputError, match="no such reference"):
        read_reference(tmp_path / "absent.npz")
    (tmp_path / "no.npz").write_text("nothing")
    with pytest.raises(fb.InputError, match="is no .npz file"):
        read_reference(tmp_path / "no.npz")


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_a_difference_is_measured_in_the_type_of_the_reference(kind: torch.dtype, tmp_path: Path) -> None:
    model = randomize(tiny(num_classes=4))
    with torch.no_grad():
        wanted = model.to(kind)(torch.from_numpy(IMAGES).to(kind)).numpy()
    model.float()
    np.savez(tmp_path / "r.npz", input=IMAGES, output=wanted)
    close = prove(model, read_reference(tmp_path / "r.npz"), 1e-4)
    assert close.holds
    assert close.relative < (1e-6 if kind == torch.float32 else 1e-12)
    assert next(model.parameters()).dtype == torch.float32  # a copy was compared
    wanted[1, 2] += 0.01 * np.abs(wanted).max()
    np.savez(tmp_path / "r.npz", input=IMAGES, output=wanted)
    far = prove(model, read_reference(tmp_path / "r.npz"), 1e-4)
    assert not far.holds
    assert far.relative == pytest.approx(0.01, rel=0.05)
    assert "over 2 images" in str(far)
    assert "(allowed: 0.0001)" in str(far)


def test_maps_are_compared_where_there_is_no_classifier(tmp_path: Path) -> None:
    model = randomize(tiny(num_classes=4))
    with torch.no_grad():
        maps = model.forward_features(torch.from_numpy(IMAGES)).numpy()
    np.savez(tmp_path / "r.npz", input=IMAGES, output=maps)
    assert prove(model, read_reference(tmp_path / "r.npz"), 1e-4).difference == 0
    wrongs: tuple[tuple[dict[str, Any], str], ...] = (
        ({"input": IMAGES[:, :1], "output": maps}, "has 1 channel, the network reads 3"),
        ({"input": IMAGES, "output": maps[:, :5]}, r"has the shape .*, the network returns"),
    )
    for arrays, said in wrongs:
        np.savez(tmp_path / "r.npz", **arrays)
        with pytest.raises(fb.InputError, match=said):
            prove(model, read_reference(tmp_path / "r.npz"), 1e-4)
    state = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("head.")}
    torch.save(state, tmp_path / "m.pth")
    np.savez(tmp_path / "r.npz", input=IMAGES, output=np.arange(8.0).reshape(2, 4))
    with pytest.raises(fb.InputError, match="has no classifier to compare"):
        fb.import_weights(model.spec, tmp_path / "m.pth", check=tmp_path / "r.npz")
    with pytest.raises(fb.InputError, match="tolerance=2 is not allowed"):
        fb.import_weights(model.spec, tmp_path / "m.pth", check=tmp_path / "r.npz", tolerance=2)


def test_the_stem_of_a_file_of_ours_is_told_by_a_reference(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = randomize(fb.create_model("shufflenet_v2_x0_5", num_classes=4, stem_stride=1))
    torch.save(model.state_dict(), tmp_path / "m.pth")
    with torch.no_grad():
        np.savez(tmp_path / "r.npz", input=IMAGES, output=model(torch.from_numpy(IMAGES)).numpy())
    again, report = fb.import_weights("shufflenet_v2_x0_5", tmp_path / "m.pth", check=tmp_path / "r.npz")
    assert again.spec.stem_stride == 1
    assert "stem_stride=1, as the reference shows" in report.notes
