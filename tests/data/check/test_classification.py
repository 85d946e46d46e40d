"""A check finds what is wrong with a data set, and its page shows it to nobody's harm."""

import json
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from helpers.browser import Opens
from helpers.images import noise
from PIL import Image

import featherbone as fb
from featherbone.cli import main

EVIL = "<script>alert('1')</script>\"&\n\U0001f438"


@pytest.fixture
def troubled(tmp_path: Path) -> Path:
    """Two classes in two parts, with everything that a check looks for."""
    root = tmp_path / "troubled"
    for part, count in (("train", 12), ("val", 4)):
        for label, name in enumerate(("cat", EVIL.replace("/", "\u2215"))):
            (root / part / name).mkdir(parents=True)
            for i in range(count if label or part == "val" else 5):
                noise(100 * label + i + 50 * (part == "val")).save(root / part / name / f"{i}.png")
    cats = root / "train" / "cat"
    shutil.copy(cats / "0.png", root / "val" / "cat" / "leak.png")
    Image.open(cats / "1.png").save(cats / "again.bmp")
    dogs = next(folder for folder in (root / "train").iterdir() if folder.name != "cat")
    shutil.copy(cats / "2.png", dogs / "no-dog.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    noise(900).save(dogs / "turned.png", exif=exif)
    noise(901).convert("CMYK").save(dogs / "cmyk.jpg")
    noise(902, (9, 40)).save(dogs / f"{EVIL}.png".replace("/", "\u2215"))
    noise(903).save(dogs / "moving.gif", save_all=True, append_images=[noise(904)])
    (dogs / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    (root / "val" / "bird").mkdir()
    noise(905).save(root / "val" / "bird" / "0.png")
    return root


def test_what_is_found(troubled: Path) -> None:
    check = fb.check_data(troubled, quiet=True)
    assert isinstance(check, fb.ClassificationCheck)
    assert {finding.kind: finding.images for finding in check.findings} == {
        "leak": 2, "conflict": 2, "absent": 0, "duplicate": 2, "few": 6, "broken": 1, "small": 1, "turned": 1,
        "frames": 1, "modes": 2,
    }  # fmt: skip
    assert [finding.kind for finding in check.findings if finding.severity == "error"] == ["leak", "conflict", "absent"]
    assert {part: sum(counts.values()) for part, counts in check.counts.items()} == {"train": 23, "val": 10}
    assert check.images == 33
    across, conflicting, plain = check.duplicates
    assert (across.across, across.conflicting, across.same_bytes) == (True, False, True)
    assert [picture.path for picture in across.images] == ["train/cat/0.png", "val/cat/leak.png"]
    assert (conflicting.across, conflicting.conflicting) == (False, True)
    assert (plain.same_bytes, plain.across) == (False, False)
    assert check.modes == {"RGB": 31, "CMYK": 1, "P": 1}
    assert check.sizes[30, 40] == 1  # upright
    assert (check.side(0), check.side(1)) == ((9, 40, 40), (30, 30, 40))
    assert [(Path(file.path).name, file.reason) for file in check.broken] == [("cut.jpg", "not an image")]
    values = json.loads(json.dumps(check.to_dict()))
    assert values["images"] == 33
    assert {row["name"]: row["train"] for row in values["classes"]}["bird"] == 0
    assert values["duplicates"][0]["images"][1] == {"split": "val", "label": "cat", "path": "val/cat/leak.png"}
    assert len(values["findings"]) == len(check.findings)


def test_equal_images_in_what_will_be_split_are_errors(colours: Path) -> None:
    with Image.open(colours / "red" / "00.png") as image:
        image.save(colours / "red" / "alike.bmp")  # the same pixels, other bytes
    (finding,) = fb.check_data(colours, quiet=True).findings
    assert (finding.kind, finding.severity) == ("duplicate", "error")
    assert "on both sides" in finding.text


def test_copies_in_what_will_be_split_stay_on_one_side(colours: Path) -> None:
    shutil.copy(colours / "red" / "00.png", colours / "red" / "copy.png")
    (finding,) = fb.check_data(colours, quiet=True).findings
    assert (finding.kind, finding.severity) == ("duplicate", "warning")
    assert "on one side" in finding.text


class Reader(HTMLParser):
    """Collects what a page is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_no_name_becomes_part_of_the_page(troubled: Path, tmp_path: Path) -> None:
    fb.data_page(fb.check_data(troubled, quiet=True), tmp_path / "page.html", caption="</p><script>$name")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(text)
    assert "script" not in {tag for tag, _ in reader.tags}
    assert "&lt;script&gt;alert(&#x27;1&#x27;)" in text
    assert "\\n\U0001f438" in text
    assert "&lt;script&gt;$name" in text
    allowed = {
        "src",
        "alt",
        "title",
        "class",
        "style",
        "lang",
        "charset",
        "content",
        "name",
        "http-equiv",
        "rel",
        "href",
    }
    assert {name for _, attributes in reader.tags for name in attributes} <= allowed
    sources = [attributes.get("src") or attributes.get("href") or "data:" for _, attributes in reader.tags]
    assert all(source.startswith("data:") for source in sources)
    assert sum(tag == "img" for tag, _ in reader.tags) >= 2 * 3 + 8
    before = (tmp_path / "page.html").stat().st_size
    shutil.rmtree(troubled / "train" / "cat")
    check = fb.check_data(troubled, quiet=True)
    assert isinstance(check, fb.ClassificationCheck)
    shutil.rmtree(troubled / "val")
    fb.data_page(check, tmp_path / "page.html")  # pictures that went since are said to be gone
    assert (tmp_path / "page.html").stat().st_size < before


def test_the_page_in_a_browser(troubled: Path, tmp_path: Path, opened: Opens) -> None:
    fb.data_page(fb.check_data(troubled, quiet=True), tmp_path / "page.html")
    with opened(tmp_path / "page.html", width=390) as page:
        widths = page.locator("img").evaluate_all("images => images.map(image => image.naturalWidth)")
        assert len(widths) >= 14
        assert min(widths) > 0
        assert page.locator(".findings .error").count() == 3
        assert page.locator(".group.error").count() == 2
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert "alert('1')" in page.locator(".classes").inner_text()


def test_the_verb(
    troubled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["featherbone", "data", "check", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capsys.readouterr()

    code, out, err = run(troubled)
    assert (code, err) == (0, "")
    for said in (
        "cut.jpg",
        "error    1 image (2 files) in more than one split",
        "cmyk" not in out and "CMYK 1",
        "next:",
    ):
        assert said
        assert said in out
    code, out, err = run(troubled, "--json", "--out", tmp_path / "p.html")
    assert (code, err) == (0, "")
    assert json.loads(out)["page"] == str(tmp_path / "p.html")
    assert (tmp_path / "p.html").stat().st_size > 10_000
    code, out, err = run(tmp_path / "none")
    assert (code, out) == (2, "")
    assert "no such folder" in err
    code, out, err = run(troubled, "--out", tmp_path / "p.txt")
    assert (code, out) == (2, "")
    assert "--out" in err
