"""Darknet's files: what darknet computes comes out, and of damaged ones a sentence."""

import struct
from pathlib import Path

import pytest
import torch
from helpers import darknet
from helpers.reference import differs, randomize
from hypothesis import given, settings
from hypothesis import strategies as st

import featherbone as fb
from featherbone.weights.importers.checkpoint import read_checkpoint


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cspresnet50", darknet.cspresnet50()),
        ("cspresnext50", darknet.cspresnet50(groups=32)),
        ("cspdarknet53", darknet.cspdarknet53()),
        ("resnet50.darknet", darknet.resnet50()),
        ("resnext50.darknet", darknet.resnet50(groups=32)),
        ("darknet53", darknet.darknet53()),
    ],
)
def test_darknets_files_give_what_darknet_computes(tmp_path: Path, name: str, text: str) -> None:
    torch.manual_seed(0)
    theirs = randomize(darknet.Darknet(text))
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


TINY = """[net]
channels=3

[convolutional]  # a comment
batch_normalize=1
filters=4
size=3

[convolutional]
filters=2
groups=2

[route]
layers = -1, 0

[maxpool]
size=2

[convolutional]
filters=5
"""
NUMBERS = (4 * 4 + 4 * 3 * 9) + (2 + 2 * 2) + (5 + 5 * 6)


def tiny(folder: Path, text: str = TINY, *, content: bytes) -> Path:
    """Write a configuration, and weights beside it."""
    (folder / "m.cfg").write_text(text, encoding="utf-8")
    (folder / "m.weights").write_bytes(content)
    return folder / "m.weights"


def header(minor: int = 2) -> bytes:
    """Return a version and a count of images, which had 32 bits before version 0.2."""
    return struct.pack("<iii", 0, minor, 5) + bytes(8 if minor >= 2 else 4)


@pytest.mark.parametrize("minor", [1, 2])
def test_routes_groups_and_headers_are_read(tmp_path: Path, minor: int) -> None:
    numbers = torch.arange(NUMBERS, dtype=torch.float32)
    state = read_checkpoint(tiny(tmp_path, content=header(minor) + numbers.numpy().tobytes())).tensors
    shapes = [tuple(tensor.shape) for name, tensor in state.items() if name.endswith("conv.weight")]
    assert shapes == [(4, 3, 3, 3), (2, 2, 1, 1), (5, 6, 1, 1)]
    assert torch.equal(torch.cat([tensor.flatten() for tensor in state.values()]), numbers)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "filters=4",
            "filters=four",
            r"section 1 \[convolutional\]: filters='four' is not allowed: a whole number",
        ),
        ("filters=4", "filters=-4", "filters='-4'"),
        ("size=3", "size=0", "size='0'"),
        ("size=3", "size", "'size' is neither"),
        ("channels=3", "channels=0", "channels='0'"),
        ("batch_normalize=1", "batch_normalize=yes", "batch_normalize='yes' is not allowed: a whole number, 0 or more"),
        ("groups=2", "groups=0", "groups='0'"),
        ("groups=2", "groups=3", r"groups=3 is not allowed: they must divide the 4 channels read"),
        ("-1, 0", "-3", r"section 3 \[route\]: layers='-3' is not allowed: numbers.* of the 2 sections before it"),
        ("-1, 0", "2", "layers='2'"),
        ("-1, 0", "", "layers=''"),
        ("layers", "from", "layers=''"),
        ("[maxpool]", "[ ]", r"a section \[\], which is not read"),
        ("[net]", "net", "'net' is neither"),
        ("filters=5", f"filters={10**30}", "too early"),
        ("filters=5", f"filters={'9' * 5000}", "filters="),
    ],
)
def test_a_damaged_configuration_is_refused_with_the_place(tmp_path: Path, old: str, new: str, said: str) -> None:
    file = tiny(tmp_path, TINY.replace(old, new), content=header() + bytes(4 * NUMBERS))
    with pytest.raises(fb.InputError, match=said):
        read_checkpoint(file)


@pytest.mark.parametrize("odd", [1, 2, 3])
def test_a_file_that_was_cut_is_refused(tmp_path: Path, odd: int) -> None:
    with pytest.raises(fb.InputError, match=f"cut short: its last number has {odd} of 4 bytes"):
        read_checkpoint(tiny(tmp_path, content=header() + bytes(4 * NUMBERS - 4 + odd)))


LINES = TINY.splitlines()


@given(
    place=st.integers(0, len(LINES) - 1),
    line=st.sampled_from(LINES) | st.text(alphabet="[]=,-+.#; 019netfilsrogup\0é\n", max_size=12),
    length=st.integers(0, 4 * NUMBERS + 30),
)
@settings(max_examples=300, deadline=None)
def test_whatever_is_damaged_gets_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, place: int, line: str, length: int
) -> None:
    text = "\n".join([*LINES[:place], line, *LINES[place + 1 :]])
    file = tiny(tmp_path_factory.mktemp("damaged"), text, content=(header() + bytes(4 * NUMBERS))[:length])
    try:
        read_checkpoint(file)
    except fb.InputError as error:
        assert str(file.with_suffix("")) in str(error)  # noqa: PT017 - most examples are refused, some are not
