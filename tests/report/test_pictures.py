"""Boxes drawn on images and in videos, and precision against recall."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from helpers.training import evaluated
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import featherbone as fb
from featherbone.data.sources.scikit_learn import photographs
from featherbone.data.video import Frame, reading, writing
from featherbone.evaluation.average_precision import DetectionClassScore, DetectionEvaluation
from featherbone.evaluation.matching import ImageDetections, WorkingPoint
from featherbone.report.pictures.boxes import class_colour, draw_boxes
from featherbone.report.pictures.confusion import draw_confusion
from featherbone.report.pictures.precision_recall import draw_precision_recall

NAMES = ("a cell", "_hidden $x$", "Größe", "a name that is far longer than any image of this test is wide")


def found(*rows: tuple[float, ...]) -> ImageDetections:
    """Rows are x1, y1, x2, y2, score, label."""
    values = np.array(rows, np.float32).reshape(-1, 6)
    return ImageDetections(values[:, :4], values[:, 4], values[:, 5].astype(np.int64))


def changed(before: Image.Image, after: Image.Image) -> np.ndarray:
    return (np.asarray(before.convert("RGB")) != np.asarray(after)).any(-1)


def test_boxes_and_names_are_drawn_where_they_belong() -> None:
    photo = Image.fromarray(photographs()[0])
    kept = photo.copy()
    drawn = draw_boxes(photo, found((200, 150, 400, 300, 0.87, 0)), NAMES)
    assert photo.tobytes() == kept.tobytes()
    assert drawn.size == photo.size
    places = changed(photo, drawn)
    assert places[150:300, 200].mean() > 0.9
    assert places[150:300, 398].mean() > 0.9
    assert not places[170:280, 220:380].any()  # what is in the box stays in sight
    assert places[120:150, 200:230].any()  # its name is above
    assert not places[:, 420:].any()
    colours = {tuple(pixel) for pixel in np.asarray(drawn)[places].tolist()}
    assert class_colour(0) in colours


@settings(max_examples=30, deadline=None)
@given(
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    corner=st.tuples(st.integers(-20, 90), st.integers(-20, 90)),
    sides=st.tuples(st.integers(0, 120), st.integers(0, 120)),
    label=st.integers(0, 3),
    mode=st.sampled_from(["L", "RGB"]),
)
def test_a_box_anywhere_on_any_image_can_be_drawn(
    size: tuple[int, int], corner: tuple[int, int], sides: tuple[int, int], label: int, mode: str
) -> None:
    box = (*corner, corner[0] + sides[0], corner[1] + sides[1])
    drawn = draw_boxes(Image.new(mode, size), found((*box, 0.5, label)), NAMES)
    assert (drawn.size, drawn.mode) == (size, "RGB")
    assert changed(Image.new("RGB", size), drawn).any()  # the name, at least, is in sight


def test_a_box_shows_on_its_own_colour() -> None:
    for label in range(4):
        same = Image.new("RGB", (300, 300), class_colour(label))
        places = changed(same, draw_boxes(same, found((50, 100, 200, 200, 0.5, label)), NAMES))
        assert places[100:200, 50].mean() > 0.9


def test_names_avoid_each_other() -> None:
    """Of boxes with the same corner, every name stands by itself: so many more pixels change."""
    plain = Image.new("RGB", (400, 400))
    row = (20, 40, 300, 300, 0.5, 0)
    inks = [(np.asarray(draw_boxes(plain, found(*[row] * count), NAMES)) == class_colour(0)).all(-1).sum()
            for count in (1, 2, 3)]  # fmt: skip
    assert inks[2] - inks[1] == pytest.approx(inks[1] - inks[0], rel=0.1)
    assert inks[1] - inks[0] > 500


def test_classes_have_their_own_colours() -> None:
    colours = [np.array(class_colour(label)) for label in range(21)]
    apart = [abs(a - b).sum() for i, a in enumerate(colours) for b in colours[:i]]
    assert min(apart) > 40
    assert class_colour(0) == class_colour(21)


def evaluation(classes: int) -> DetectionEvaluation:
    recalls = np.linspace(0, 1, 101)
    curves = np.stack([1 - recalls ** (k + 1) for k in range(classes)])
    curves[-1] = np.nan
    scores = tuple(
        DetectionClassScore(NAMES[k % 4], 5, 9, 0.5, None if k == classes - 1 else 0.6) for k in range(classes)
    )
    return DetectionEvaluation(
        *(0.5, 0.6, 0.5, None, 0.5, 0.5, 0.7),
        classes=scores,
        curves=curves,
        best=WorkingPoint(0.5, 0.5, 0.5, 0.5),
        confusion=np.zeros((classes + 1, classes + 1), np.int64),
        images=5,
    )


@pytest.mark.parametrize(("classes", "suffix"), [(4, ".png"), (80, ".svg"), (2, ".pdf")])
def test_precision_and_recall_are_drawn(tmp_path: Path, classes: int, suffix: str) -> None:
    path = tmp_path / f"curve{suffix}"
    draw_precision_recall(evaluation(classes), path)
    assert path.stat().st_size > 5000
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    if suffix == ".png":
        with Image.open(path) as image:
            assert min(image.size) > 500
    with pytest.raises(fb.InputError, match=r"\.png or \.svg or \.pdf"):
        draw_precision_recall(evaluation(2), tmp_path / "curve.txt")


def clip(path: Path, count: int = 7, rate: Fraction = Fraction(30000, 1001)) -> Path:
    """Write a short video of a real photograph that moves, with odd sides."""
    photo = Image.fromarray(photographs()[1])
    with writing(path, rate) as append:
        for i in range(count):
            append(Frame(photo.crop((10 * i, 0, 10 * i + 161, 121)), i / rate))
    return path


def test_a_video_is_read_drawn_on_and_written_with_its_rate(tmp_path: Path) -> None:
    path = clip(tmp_path / "clip.mp4")
    photo = np.asarray(Image.fromarray(photographs()[1])).astype(np.int64)
    with reading(path) as video, writing(tmp_path / "drawn.mp4", video.rate) as append:
        assert (video.rate, video.count) == (Fraction(30000, 1001), 7)
        for i, frame in enumerate(video.frames):
            assert frame.image.size == (160, 120)
            assert frame.at == i / video.rate
            assert abs(np.asarray(frame.image) - photo[:120, 10 * i : 10 * i + 160]).mean() < 12
            append(replace(frame, image=draw_boxes(frame.image, found((40, 40, 120, 100, 0.9, 0)), NAMES)))
    assert i == 6
    with reading(tmp_path / "drawn.mp4") as video, reading(path) as before:
        assert (video.rate, video.count) == (Fraction(30000, 1001), 7)
        for frame, plain in zip(video.frames, before.frames, strict=True):
            apart = abs(np.asarray(frame.image).astype(np.int64) - np.asarray(plain.image)).mean(-1)
            assert apart[40:100, 40].mean() > 3 * apart[50:90, 60:100].mean()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["clip.mp4", "drawn.mp4"]


def test_a_video_of_a_telephone_held_upright_is_turned(tmp_path: Path) -> None:
    """Its header says "a quarter to the right": the matrix of its track, after that of the whole film."""
    content = clip(tmp_path / "clip.mp4", 2).read_bytes()
    one, minus, none, last = b"\0\1\0\0", b"\xff\xff\0\0", b"\0\0\0\0", b"\x40\0\0\0"
    upright = b"".join((one, none, none, none, one, none, none, none, last))
    turned = b"".join((none, one, none, minus, none, none, b"\0\x78\0\0", none, last))
    head, _, tail = content.rpartition(upright)
    (tmp_path / "turned.mp4").write_bytes(head + turned + tail)
    with reading(tmp_path / "turned.mp4") as video, reading(tmp_path / "clip.mp4") as before:
        for frame, plain in zip(video.frames, before.frames, strict=True):
            assert frame.image.size == (120, 160)
            assert np.array_equal(np.asarray(frame.image), np.rot90(np.asarray(plain.image), -1))


@pytest.mark.parametrize("name", ["film.mkv", "film.mp4"])
def test_frames_are_shown_when_they_were_shown(tmp_path: Path, name: str) -> None:
    """A browser's or a telephone's film has no steady rate; that of Matroska may be said to be 1000."""
    times = [Fraction(ms, 1000) for ms in (0, 33, 66, 1066, 1100, 3000, 3033)]
    with writing(tmp_path / name, Fraction(1000)) as append:
        for i, at in enumerate(times):
            append(Frame(Image.new("RGB", (64, 48), (30 * i, 0, 0)), at))
    with reading(tmp_path / name) as video, writing(tmp_path / f"again-{name}", video.rate) as append:
        for frame in video.frames:
            append(frame)
    for written in (name, f"again-{name}"):
        with reading(tmp_path / written) as video:
            shown = [frame.at for frame in video.frames]
        assert [float(at) for at in shown] == pytest.approx([float(at) for at in times], abs=2e-3)


def test_words_in_another_encoding_do_not_matter(tmp_path: Path) -> None:
    with av.open(tmp_path / "film.mkv", "w") as container:
        container.metadata["title"] = "Groessen"
        stream = container.add_stream("mpeg4", 25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        black = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
        container.mux(stream.encode(black))
        container.mux(stream.encode())
    content = (tmp_path / "film.mkv").read_bytes()
    assert content.count(b"Groessen") == 1
    (tmp_path / "film.mkv").write_bytes(content.replace(b"Groessen", b"Gr\xf6\xdfen \xff"))
    with reading(tmp_path / "film.mkv") as video:
        assert len(list(video.frames)) == 1


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.mp4").write_text("no video")
    (tmp_path / "empty.mp4").touch()
    for name in ("notes.mp4", "empty.mp4", "absent.mp4"):
        with pytest.raises(fb.InputError, match=rf"{name} cannot be read as a video"), reading(tmp_path / name):
            pass
    whole = clip(tmp_path / "whole.mp4", 40).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(fb.InputError, match=r"cut\.mp4"), reading(tmp_path / "cut.mp4") as video:
        list(video.frames)
    with pytest.raises(fb.InputError, match=r"\.mp4"), writing(tmp_path / "a.gif", Fraction(25)):
        pass
    with pytest.raises(RuntimeError), writing(tmp_path / "half.mp4", Fraction(25)) as append:
        append(Frame(Image.new("RGB", (64, 64)), Fraction(0)))
        raise RuntimeError
    assert not (tmp_path / "half.mp4").exists()
    with pytest.raises(fb.InputError, match=r"no frame"), writing(tmp_path / "none.mp4", Fraction(25)):
        pass
    assert not (tmp_path / "none.mp4").exists()


def test_the_confusion_matrix_is_a_picture(finished: fb.Run, tmp_path: Path) -> None:
    many = np.eye(40, dtype=np.int64)
    draw_confusion(many, [f"class {i}" for i in range(40)], tmp_path / "many.png")
    result = evaluated(finished.folder)
    draw_confusion(result.confusion, finished.classes, tmp_path / "few.png")
    draw_confusion(np.eye(3, dtype=np.int64), ["$_$", "cost $5 to $10"], tmp_path / "odd.png")
    for name in ("many", "few", "odd"):
        with Image.open(tmp_path / f"{name}.png") as image:
            assert min(image.size) > 300
            assert len(image.convert("RGB").getcolors(1 << 24) or ()) > 20
