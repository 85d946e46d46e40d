"""Detection data sets are recognized wherever their files lie, and nothing else is taken for one."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.annotation_formats import (
    CLASSES,
    PARTS,
    Drawn,
    Parts,
    boxes_of,
    coco,
    voc,
    wanted,
    without,
    write_coco,
    write_voc,
    write_yolo,
    yolo,
)
from helpers.images import draw_classes

import featherbone as fb
from featherbone.data.open import CLASSIFICATION, DETECTION, is_detection

LEFT_OUT = {
    "COCO's own": ["annotations/"],  # captions
    "Roboflow's YOLO": ["data.yaml"],  # it names a part that is not there
    "VOC, trainval": ["ImageSets/Main/dog_test.txt"],
}


def layouts(root: Path) -> dict[str, Path]:
    """Return sets as programs write them, each with a train and a val part, or unsplit."""
    both = {part: PARTS[part] for part in ("train", "val")}
    found = {}
    own = found["COCO's own"] = root / "own"
    for part, images in both.items():
        for image in images:
            image.save(own / f"{part}2017" / image.name)
        (own / "annotations").mkdir(exist_ok=True)
        (own / "annotations" / f"instances_{part}2017.json").write_text(json.dumps(coco(images, CLASSES)))
        (own / "annotations" / f"captions_{part}2017.json").write_text('{"images": [], "annotations": []}')
    robo, robo_voc, robo_yolo = (root / f"robo-{kind}" for kind in ("coco", "voc", "yolo"))
    for part, images in both.items():
        place = "valid" if part == "val" else part
        for image in images:
            image.save(robo / place / image.name)
            image.save(robo_voc / place / image.name)
            image.save(robo_yolo / place / "images" / image.name)
            (robo_voc / place / image.name).with_suffix(".xml").write_text(voc(image))
            label = (robo_yolo / place / "labels" / image.name).with_suffix(".txt")
            label.parent.mkdir(exist_ok=True)
            label.write_text(yolo(image, CLASSES))
        (robo / place / "_annotations.coco.json").write_text(json.dumps(coco(images, CLASSES)))
    (robo_yolo / "data.yaml").write_text(
        "train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnc: 3\nnames: ['cat', 'dog', 'bird']\n"
    )
    found |= {"Roboflow's COCO": robo, "Roboflow's VOC": robo_voc, "Roboflow's YOLO": robo_yolo}
    listed = found["YOLO, lists"] = write_yolo(root / "listed", both, CLASSES)
    for part, images in both.items():
        (listed / f"{part}.txt").write_text("".join(f"./images/{part}/{image.name}\n" for image in images))
    names = "".join(f"  {number}: {name}\n" for number, name in enumerate(CLASSES))
    (listed / "data.yaml").write_text(f"path: /elsewhere/coco\ntrain: train.txt\nval: [val.txt]\nnames:\n{names}")
    found["YOLO, classes.txt"] = write_yolo(root / "named", both, CLASSES, described=False)
    for year, letters in (("VOC2007", "ab"), ("VOC2012", "ec")):
        some = {part: [image for image in images if image.name[0] in letters] for part, images in both.items()}
        write_voc(root / "years" / "VOCdevkit" / year, {part: images for part, images in some.items() if images})
    found |= {"VOC, the folder above its years": root / "years", "VOC, years": root / "years" / "VOCdevkit"}
    trainval = found["VOC, trainval"] = write_voc(root / "trainval", both)
    lists = trainval / "ImageSets" / "Main"
    (lists / "train.txt").rename(lists / "trainval.txt")
    (lists / "val.txt").rename(lists / "test.txt")
    (lists / "dog_test.txt").write_text("c 1\n")
    return found


def test_all_layouts(tmp_path: Path) -> None:
    for name, root in layouts(tmp_path).items():
        data = DETECTION.open(root, quiet=True)
        assert boxes_of(data.train, data.classes) == wanted(PARTS, "train"), name
        assert boxes_of(data.val, data.classes) == wanted(PARTS, "val"), name
        assert [file.path for file in data.skipped] == LEFT_OUT.get(name, []), name


def test_classification_is_recognized_as_before(tmp_path: Path) -> None:
    root = draw_classes(tmp_path / "colours", count=4)
    (root / "metadata.json").write_text('{"images": 3, "annotations": "none", "bbox": [1]}')
    (root / "classes.json").write_text('["blue", "green", "red"]')
    (root / "data.yaml").write_text("name: colours\n")
    (root / "labels.json").write_text(json.dumps({"images": [{"id": 1}], "annotations": [{"category_id": 1}]}))
    (root / "red" / "notes.txt").write_text("0 .5 .5 .5 .5")
    (root / "config.xml").write_text("<config/>")
    assert not is_detection(root)
    assert CLASSIFICATION.open(root, quiet=True).classes == ("blue", "green", "red")
    split = tmp_path / "split"
    for part in ("train", "val"):
        shutil.copytree(root, split / part)
    assert not is_detection(split)
    assert CLASSIFICATION.open(split, quiet=True).classes == ("blue", "green", "red")
    both = tmp_path / "both"
    for name in ("images", "labels"):
        shutil.copytree(root / "red", both / name)
    assert not is_detection(both)
    assert len(CLASSIFICATION.open(both, quiet=True).classes) == 2
    table = tmp_path / "table.csv"
    table.write_text("path,label\n" + "\n".join(f"colours/{c}/0{i}.png,{c}" for c in ("red", "blue") for i in range(4)))
    assert not is_detection(table)
    for other in ("digits", "hf:mnist", "https://host/train.json", tmp_path / "none", root / "classes.json"):
        assert not is_detection(other)


def test_each_task_says_what_it_is_given(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "set", PARTS)
    with pytest.raises(fb.InputError, match="has boxes, not classes of images"):
        CLASSIFICATION.open(root, quiet=True)
    for other in ("digits", tmp_path / "none", draw_classes(tmp_path / "colours", count=2)):
        with pytest.raises(fb.InputError, match="no detection data set: .*COCO"):
            DETECTION.open(other, quiet=True)
    with pytest.raises(fb.InputError, match="split='all' is not allowed: .* has train, val, test"):
        DETECTION.images(root, CLASSES, split="all", quiet=True)
    with pytest.raises(fb.InputError, match="val_fraction=1"):
        DETECTION.open(root, val_fraction=1, quiet=True)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (without(PARTS, "train"), "no images to learn from: only the split val"),
        (
            {**PARTS, "train": [replace(image, boxes=()) for image in PARTS["train"]]},
            "the train split of .* 0 readable",
        ),
        ({**PARTS, "val": [Drawn("c.png", (30, 30))]}, "the val split of .* 0 readable images with boxes"),
        ({"all": [PARTS["train"][0], PARTS["train"][2]]}, "1 readable image with boxes: it needs two"),
    ],
)
def test_parts_without_what_is_needed(parts: Parts, said: str, tmp_path: Path) -> None:
    with pytest.raises(fb.InputError, match=said):
        DETECTION.open(write_coco(tmp_path / "set", parts, CLASSES), quiet=True)


def test_parts_without_readable_images(tmp_path: Path) -> None:
    root = write_coco(tmp_path / "set", PARTS, CLASSES)
    (root / "images" / "c.png").unlink()
    with pytest.raises(fb.InputError, match=r"no file in the val split of .* \(the first, c.png: No such file"):
        DETECTION.open(root, quiet=True)
    with pytest.raises(fb.InputError, match="no file in .* can be read as an image"):
        DETECTION.images(root, CLASSES, quiet=True)


def test_files_of_which_nobody_knows_which_counts(tmp_path: Path) -> None:
    root = write_coco(tmp_path / "set", PARTS, CLASSES)
    shutil.copy(root / "train.json", root / "train_small.json")
    assert is_detection(root)
    with pytest.raises(fb.InputError, match=r"several annotation files \(train\): train.json, train_small.json"):
        DETECTION.open(root, quiet=True)
    # what all images have in one file is not needed beside the parts
    (root / "train_small.json").rename(root / "annotations.json")
    assert len(DETECTION.open(root, quiet=True).train) == 3
