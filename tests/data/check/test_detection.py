"""A check finds what is wrong with boxes, and its page draws them."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.annotation_formats import Drawn, Parts, coco, write_coco, write_voc, write_yolo
from helpers.browser import Opens
from helpers.paths import SHARED
from PIL import Image

import featherbone as fb
from featherbone.cli import main
from featherbone.data.check.detection import DetectionCheck

EVIL = "<script>alert('1')</script>\"&"
CLASSES = ("cat", EVIL, "bird", "newt")
BOXES = [
    ((1, 2, 30, 40), "cat", False),
    ((1, 2, 30, 40), "cat", False),  # twice
    ((1, 2, 30, 40), EVIL, False),  # one place, two classes
    ((50, 30, 80, 40), "cat", False),  # outside
    ((70, 0, 90, 10), "cat", False),  # wholly outside
    ((10, 10, 10, 20), "cat", False),
    ((20, 20, 10, 10), "cat", False),
    ((0, 0, 60, 40), EVIL, False),
    ((0, 0, 60, 40), EVIL, True),  # a crowd is nothing twice
]
PARTS: Parts = {
    "train": [
        Drawn("flawed.png", (60, 40), BOXES),
        *(Drawn(f"{i}.png", (60, 40), [((1 + i, 2, 30, 40), "cat", False)]) for i in range(9)),
        Drawn("empty.png", (60, 40)),
        Drawn("gone.png", (60, 40), [((0, 0, 9, 9), "cat", False)]),
        Drawn("other-size.png", (64, 48), [((0, 0, 9, 9), "cat", False)]),
        Drawn("lying.png", (40, 60), [((0, 0, 9, 9), "cat", False)]),
    ],
    "val": [
        Drawn("c.png", (64, 48), [((5, 6, 7, 8), "cat", False), ((9, 9, 20, 20), "newt", False)]),
        Drawn("leak.png", (60, 40), [((1, 2, 31, 40), "cat", False), ((0, 0, 5, 5), "newt", False)]),
    ],
}


@pytest.fixture
def troubled(tmp_path: Path) -> Path:
    """A set in COCO's form with everything that a check looks for."""
    root = write_coco(tmp_path / "troubled", PARTS, CLASSES)
    images = root / "images"
    shutil.copy(images / "0.png", images / "leak.png")
    shutil.copy(images / "1.png", images / "nobody.png")
    (images / "gone.png").unlink()
    Image.new("RGB", (32, 24), "red").save(images / "other-size.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 60), "blue").save(images / "lying.png", exif=exif)
    content = json.loads((root / "train.json").read_text())
    content["annotations"] += [
        {"image_id": 0, "category_id": 99, "bbox": [1, 1, 5, 5]},
        {"image_id": 0, "category_id": EVIL, "bbox": [1, 1, 5, 5]},
        {"image_id": 0, "category_id": 7, "bbox": [1, float("nan"), 5, 5]},
        {"image_id": 99, "category_id": 7, "bbox": [1, 1, 5, 5]},
    ]
    (root / "train.json").write_text(json.dumps(content))
    return root


def checked(root: Path) -> DetectionCheck:
    check = fb.check_data(root, quiet=True)
    assert isinstance(check, DetectionCheck)
    return check


def test_what_is_found(troubled: Path) -> None:
    check = checked(troubled)
    assert {finding.kind: finding.images for finding in check.findings} == {
        "leak": 2, "conflict": 2, "numbers": 1, "class": 1, "two-classes": 1, "resized": 1, "empty": 1, "twice": 1,
        "outside": 1, "absent": 0, "few": 1, "missing": 1, "unlisted": 1, "background": 1, "turned-boxes": 1,
        "left-out": 1, "broken": 2, "turned": 1,
    }  # fmt: skip
    errors = ["leak", "conflict", "numbers", "class", "two-classes", "absent", "resized"]
    assert [finding.kind for finding in check.findings if finding.severity == "error"] == errors
    assert [one.issue.kind for one in check.issues].count("empty") == 3
    assert {one.image.path for one in check.issues} == {"images/flawed.png"}
    assert [(one.issue.kind, one.issue.box) for one in check.issues if one.issue.box < 5] == [
        ("outside", 4), ("twice", 2), ("two-classes", 3)
    ]  # fmt: skip
    assert check.unknown == {"99": 1, EVIL: 1}
    assert (check.missing, check.unlisted) == (("images/gone.png",), ("images/nobody.png",))
    assert check.of_split == {"train": 13, "val": 2}
    assert check.counts["train"] == {"cat": 14, EVIL: 2, "bird": 0, "newt": 0}
    assert check.images_with["train"] == {"cat": 12, EVIL: 1, "bird": 0, "newt": 0}
    assert (check.boxes, check.crowds, check.per_image.tolist()) == (20, 1, [5, *[1] * 9, 0, 1, 1, 2, 2])
    labels = {picture.path: picture.label for picture, _ in check.seen}
    assert labels["images/flawed.png"] == f"3 cat, 3 {EVIL}"
    assert labels["images/empty.png"] == "no box"
    absent = [finding for finding in check.findings if finding.kind == "absent"]
    assert [(finding.severity == "error", finding.text) for finding in absent] == [
        (True, "1 class without a box to learn from, though they are to be found elsewhere: newt"),
        (False, "1 class without a box anywhere: bird"),
    ]
    values = json.loads(json.dumps(check.to_dict(), allow_nan=False))
    assert values["classes"][0] == {
        "name": "cat",
        "train": {"boxes": 14, "images": 12},
        "val": {"boxes": 2, "images": 2},
    }
    assert values["boxes"]["sizes"] == {"small": 12, "medium": 8, "large": 0}
    assert sum(row["count"] for row in values["boxes"]["shares"]) == 20
    assert len(values["issues"]) == len(check.issues) == 9


@pytest.mark.parametrize("form", ["Pascal VOC", "YOLO"])
def test_other_formats(form: str, tmp_path: Path) -> None:
    parts = {part: [i for i in images if i.name not in {"gone.png", "lying.png"}] for part, images in PARTS.items()}
    plain = {**parts, "train": [Drawn("flawed.png", (60, 40), BOXES[:7]), *parts["train"][1:]]}
    if form == "YOLO":
        root = write_yolo(tmp_path / "set", plain, CLASSES)
        (root / "labels" / "train" / "5.txt").unlink()
        beside = root / "images" / "train" / "5.png"
    else:
        root = write_voc(tmp_path / "set", {part: [replaced(i) for i in images] for part, images in plain.items()})
        beside = root / "JPEGImages" / "more.png"
        Image.new("RGB", (9, 20)).save(beside)
    check = checked(root)
    kinds = [one.issue.kind for one in check.issues]
    assert sorted(kinds) == ["empty"] * 3 + ["outside", "twice", "two-classes"]
    assert check.unlisted == (str(beside.relative_to(root)),)
    assert check.format == form


def replaced(image: Drawn) -> Drawn:
    """Return the same with names that XML can hold."""
    return Drawn(image.name, image.size, [(box, name.replace(EVIL, "dog"), crowd) for box, name, crowd in image.boxes])


def test_nothing_is_found_where_nothing_is_wrong(tmp_path: Path) -> None:
    images = [
        Drawn(f"{i}.png", (60, 40), [((1, 2, 30, 40), "cat", False), ((1, 2, 30, 30), "cat", False)]) for i in range(12)
    ]
    root = write_coco(tmp_path / "set", {"train": images[:10], "val": images[10:]}, ("cat",))
    assert checked(root).findings == ()
    assert checked(root / "train.json").splits == ("all",)


def test_what_cannot_be_trained_on_can_be_checked(tmp_path: Path) -> None:
    root = write_coco(tmp_path / "test", {"test": PARTS["val"]}, CLASSES)
    assert [finding.kind for finding in checked(root).findings if finding.severity == "error"] == ["nothing-to-learn"]
    root = write_coco(tmp_path / "all", {"all": [Drawn("a.png", (20, 20), [((0, 0, 9, 9), "cat", False)])]}, ("cat",))
    (finding, *_) = checked(root).findings
    assert (finding.kind, finding.severity == "error") == ("nothing-to-learn", True)
    shutil.rmtree(root / "images")
    check = checked(root)
    assert (check.images, check.boxes, check.side(0), len(check.missing)) == (0, 0, (0, 0, 0), 1)
    fb.data_page(check, tmp_path / "empty.html", quiet=True)
    assert "<td>0</td>" in (tmp_path / "empty.html").read_text(encoding="utf-8")


def test_a_thousand_boxes(tmp_path: Path) -> None:
    """More than the table holds at once, some of them there twice."""
    random = np.random.default_rng(0)
    corners = random.integers(0, 400, (1000, 2))
    corners = np.unique(corners, axis=0)[:900]
    boxes = [((int(x), int(y), int(x) + 20, int(y) + 20), "cat", False) for x, y in corners]
    image = Drawn("a.png", (500, 500), [*boxes, boxes[7], *boxes[300:310]])
    check = checked(write_coco(tmp_path / "set", {"train": [image], "val": PARTS["val"]}, CLASSES))
    assert [one.issue.box for one in check.issues] == list(range(901, 912))
    assert {one.issue.kind for one in check.issues} == {"twice"}


def test_the_page_in_a_browser(opened: Opens, troubled: Path, tmp_path: Path) -> None:
    fb.data_page(checked(troubled), tmp_path / "page.html", quiet=True)
    with opened(tmp_path / "page.html", width=390) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.locator(".findings .error").count() == 7
        shown = page.locator(".classes .outlined")
        assert shown.count() == 8 + 1 + 2
        # the yellow box of the last sample lies where it was annotated, in the picture's own pixels
        newt = page.locator(".classes tr", has_text="newt").locator("path.shown")
        assert newt.first.evaluate("box => { const b = box.getBBox(); return [b.x, b.y, b.width, b.height]; }") == [
            9,
            9,
            11,
            11,
        ]
        assert page.locator(".issues .group").count() == 5 + 1
        assert page.locator(".issues path.wrong").count() == 1 + 1 + 1 + 3 + 2
        assert (
            min(page.locator("path.wrong").evaluate_all("all => all.map(one => one.getBoundingClientRect().height)"))
            >= 0
        )
        assert "alert('1')" in page.locator(".classes").inner_text()
        assert "\\n" not in page.locator("h1").inner_text()


def test_the_verb(
    troubled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["featherbone", "data", "check", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capsys.readouterr()

    code, out, err = run(troubled, "--out", tmp_path / "p.html")
    assert (code, err) == (0, "")
    for said in (
        "train boxes",
        "error    2 boxes of an unknown class, left out: 99 (1)",
        "warning  1 box cut off at the edge of the image",
        "COCO",
        "small 60 %",
        "images/gone.png",
        "1 annotation of no image that is listed",
    ):
        assert said in out
    assert (tmp_path / "p.html").stat().st_size > 10_000
    code, out, _ = run(troubled, "--json")
    assert (code, json.loads(out)["format"]) == (0, "COCO")
    (troubled / "train.json").write_text('{"images": [], "annotations": [], "bbox": ')
    code, out, err = run(troubled)
    assert (code, out) == (2, "")
    assert "train.json cannot be read as JSON" in err


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared images are not here")
def test_real_images() -> None:
    cells = checked(SHARED / "bccd")
    assert {part: sum(counts.values()) for part, counts in cells.counts.items()} == {
        "train": 2804, "val": 1137, "test": 945,
    }  # fmt: skip
    assert cells.findings == ()
    check = checked(SHARED / "coco128_train")
    assert (check.images, check.boxes) == (128, 929)
    assert {finding.kind: finding.images for finding in check.findings}["background"] == 2
    assert not any(finding.severity == "error" for finding in check.findings)


def test_parts_of_one_file_each_keep_their_own_numbers(tmp_path: Path) -> None:
    root = write_coco(tmp_path / "set", PARTS, CLASSES)
    (root / "val.json").write_text(json.dumps(coco(PARTS["val"], CLASSES[::-1])))
    assert checked(root).counts["val"]["newt"] == 2
