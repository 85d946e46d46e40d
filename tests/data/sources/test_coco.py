"""COCO: outlines instead of boxes, and images that lie in several folders."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.annotation_formats import CLASSES, PARTS, boxes_of, coco, wanted, without, write_coco

import featherbone as fb
from featherbone.data.open import DETECTION

Change = Callable[[dict[str, Any]], None]


def outlined(annotation: dict[str, Any]) -> None:
    x, y, width, height = annotation.pop("bbox")
    annotation["segmentation"] = [[x, y, x + width, y, x + width, y + height], [x, y + height, x, y, x + width, y]]


def outlined_and_empty(annotation: dict[str, Any]) -> None:
    outlined(annotation)
    annotation["bbox"] = []


def outlined_flat(annotation: dict[str, Any]) -> None:
    outlined(annotation)
    annotation["segmentation"] = [point for polygon in annotation["segmentation"] for point in polygon]


def changed(root: Path, change: Change, some: bool = False) -> Path:
    for file in root.glob("*.json"):
        content = json.loads(file.read_text())
        for annotation in content["annotations"][:: 2 if some else 1]:
            change(annotation)
        file.write_text(json.dumps(content))
    return root


@pytest.mark.parametrize("change", [outlined, outlined_and_empty, outlined_flat])
@pytest.mark.parametrize("some", [True, False])
def test_an_outline_is_the_box_round_it(change: Change, some: bool, tmp_path: Path) -> None:
    parts = without(PARTS, "test")
    data = DETECTION.open(changed(write_coco(tmp_path, parts, CLASSES), change, some), quiet=True)
    assert boxes_of(data.train, data.classes) == wanted(parts, "train")
    assert boxes_of(data.val, data.classes) == wanted(parts, "val")
    assert data.skipped == ()


@pytest.mark.parametrize("outline", [[], [[1]], [["x", 1]], {"counts": "x", "size": [4, 4]}, "x", [[]]])
def test_what_is_no_outline_is_counted_with_its_reason(outline: object, tmp_path: Path) -> None:
    def change(annotation: dict[str, Any]) -> None:
        annotation |= {"bbox": [], "segmentation": outline}

    with pytest.raises(fb.InputError, match=r"0 readable images .* \(left out: .* boxes? without four finite numbers"):
        DETECTION.open(changed(write_coco(tmp_path, without(PARTS, "test"), CLASSES), change), quiet=True)


def test_annotations_of_no_image_are_the_reason_why_there_are_no_boxes(tmp_path: Path) -> None:
    def change(annotation: dict[str, Any]) -> None:
        annotation["image_id"] = "none"

    root = changed(write_coco(tmp_path, {"all": PARTS["train"]}, CLASSES), change)
    with pytest.raises(fb.InputError, match=r"left out: all.json: 3 annotations of no image that is listed"):
        DETECTION.open(root, quiet=True)


def test_images_of_one_file_are_found_in_several_folders(tmp_path: Path) -> None:
    for part in ("train", "val"):
        for image in PARTS[part]:
            image.save(tmp_path / part / image.name)
    images = [*PARTS["train"], *PARTS["val"]]
    (tmp_path / "all.json").write_text(json.dumps(coco(images, CLASSES)))
    data = DETECTION.open(tmp_path, quiet=True)
    assert (len(data.train) + len(data.val), data.skipped) == (4, ())


def test_a_file_for_each_split_whatever_the_word(tmp_path: Path) -> None:
    root = write_coco(tmp_path, PARTS, CLASSES)
    (root / "val.json").rename(root / "eval.json")
    (root / "test.json").rename(root / "test-dev.json")
    listing = DETECTION.list(root, quiet=True)
    assert list(listing.splits) == ["train", "val", "test"]
    assert listing.left_out == ()


@pytest.mark.parametrize(("place", "column"), [("images", "id"), ("annotations", "image_id"), ("categories", "id")])
def test_ids_that_a_program_wrote_as_text_are_numbers(place: str, column: str, tmp_path: Path) -> None:
    root = write_coco(tmp_path / "set", PARTS, CLASSES)
    before = DETECTION.open(root, quiet=True)
    for file in root.glob("*.json"):
        content = json.loads(file.read_text())
        for entry in content[place]:
            entry[column] = str(entry[column])
        file.write_text(json.dumps(content))
    after = DETECTION.open(root, quiet=True)
    assert after.fingerprint == before.fingerprint
    assert after.skipped == before.skipped


def test_images_of_one_id_are_left_out_since_nobody_knows_whose_the_boxes_are(tmp_path: Path) -> None:
    root = write_coco(tmp_path / "set", PARTS, CLASSES)
    content = json.loads((root / "train.json").read_text())
    first, second = content["images"][:2]
    (root / "train.json").write_text(json.dumps(content | {"images": [first, {**second, "id": first["id"]}]}))
    listing = DETECTION.list(root, quiet=True)
    assert "train" not in listing.splits
    (lost, strays) = listing.skipped
    assert lost.reason.startswith("2 images whose id is another image's, too, so that nobody knows whose boxes: ")
    assert strays.reason.endswith("of no image that is listed")


def test_two_categories_of_one_id_are_refused(tmp_path: Path) -> None:
    root = write_coco(tmp_path / "set", PARTS, CLASSES)
    content = json.loads((root / "train.json").read_text())
    content["categories"].append({**content["categories"][0], "name": "another"})
    (root / "train.json").write_text(json.dumps(content))
    with pytest.raises(fb.InputError, match=r"train\.json: the categories .* and another have one id"):
        DETECTION.open(root, quiet=True)
