"""Two hundred hostile files beside a few good ones: each is named with a reason, none is waited for or crashed on."""

import io
import json
import os
import socket
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import featherbone as fb
from featherbone.data import image as images
from featherbone.data.dataset import Source
from featherbone.data.image import UnreadableImageError, read_image, without_pillows_warnings
from featherbone.data.names import printable
from featherbone.data.open import CLASSIFICATION
from featherbone.data.scan import scan_images
from featherbone.data.sources.folder import find_images

GOOD = 6
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pipes and such names are other systems'")


def encoded(kind: str, size: tuple[int, int] = (40, 30), seed: int = 0) -> bytes:
    random = np.random.default_rng(seed)
    packed = io.BytesIO()
    Image.fromarray(random.integers(0, 255, (size[1], size[0], 3), np.uint8)).save(packed, kind)
    return packed.getvalue()


def png(width: int, height: int, *, bits: int = 8, colour: int = 2, rows: int | None = None) -> bytes:
    """Return a PNG file of zeros that says how large it is, and holds as many rows as wanted."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = bytes(1 + (width * bits * (3 if colour == 2 else 1) + 7) // 8)
    packer = zlib.compressobj(1)
    data = b"".join(packer.compress(row) for _ in range(height if rows is None else rows)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def bmp(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


def tiff(width: int, tile: int) -> bytes:
    """Return a TIFF file whose one compressed tile claims to be far larger than the image."""
    entries = [
        (256, width), (257, width), (258, 8), (259, 8), (262, 1),
        (277, 1), (322, tile), (323, tile), (324, 8), (325, 20),
    ]  # fmt: skip
    body = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    return b"II*\0" + struct.pack("<I", 40) + bytes(32) + struct.pack("<H", len(entries)) + body + bytes(4)


DRAWING = (
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/tmp/featherbone-ran) (w) file closefile showpage\n%%EOF\n"
)
TEXTS = {
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><script>1</script></svg>',
    "html": b"<!doctype html><img src=x onerror=alert(1)>",
    "pdf": b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\n",
    "eps": DRAWING,
    "text": "just text \U0001f600".encode(),
    "zip": b"PK\x03\x04" + bytes(40),
    "tar": b"a.png" + bytes(95) + b"0000644" + bytes(500),
    "zeros": bytes(5000),
    "elf": b"\x7fELF" + bytes(60),
}
BOMBS = {
    "wide": png(60_000, 60_000, rows=0),
    "lying": png(13_000, 13_000, bits=1, colour=0, rows=3)[:60],
    "none": png(0, 40, rows=1),
    "most": png(2**31 - 1, 2**31 - 1, rows=0),
    "bmp": bmp(2_000_000, 2_000_000),
    "turned-bmp": bmp(20_000, -20_000),
    "gif": b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + b",\0\0\0\0\xff\xff\xff\xff\0\x02\x02D\x01\0;",
    "webp": encoded("webp")[:24] + b"\xff" * 6 + encoded("webp")[30:],
    "tiff": tiff(64, 1 << 30),
    "tile": tiff(64, 32_768),
    "jp2": b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14ftypjp2 \0\0\0\0jp2 \0\0\0\x2djp2h\0\0\0\x16ihdr"
    + b"\x7f\xff\xff\xff" * 3,
}


def write_bad(folder: Path) -> set[str]:
    """Write two hundred files that are no readable image; return their names as reports show them."""
    makers: list[tuple[str, bytes]] = [(f"{name}.jpg", content) for name, content in TEXTS.items()]
    makers += [(f"{name}.png", content) for name, content in TEXTS.items()]
    makers += [(f"bomb-{name}.png", content) for name, content in BOMBS.items()]
    makers += [(f"empty-{i}.jpg", b"") for i in range(5)]
    for kind in ("jpeg", "png", "gif", "webp", "bmp", "tiff"):
        whole = encoded(kind)
        makers += [(f"cut-{kind}-{i}.{kind}", whole[: 3 + i * len(whole) // 30]) for i in range(12)]
    makers += [
        ("new\nline.jpg", b"x"), ("tab\there.png", b"x"), ("esc\x1b[31m.png", b"x"), ("right\u202eto left.png", b"x"),
        ("\U0001f469\u200d\U0001f4bb.jpg", b"x"), ("quote'\"<b>&amp;.png", b"x"), ("$name ${x}.png", b"x"),
        ("l" * 251 + ".png", b"x"), ("e\u0301.png", b"x"), (" .png", b"x"), ("-rf.png", b"x"), ("%00.png", b"x"),
    ]  # fmt: skip
    if sys.platform == "linux":
        makers += [(os.fsdecode(b"bytes-\xff\xfe.png"), b"x")]
    random = np.random.default_rng(0)
    makers += [
        (f"noise-{i}.{kind}", random.bytes(300)) for i in range(16) for kind in ("png", "jpg", "gif", "webp", "tif")
    ]
    for name, content in makers:
        (folder / name).write_bytes(content)
    special = special_files(folder)
    assert len(makers) + len(special) >= 200
    return {printable(name) for name, _ in makers} | special


def special_files(folder: Path) -> set[str]:
    os.mkfifo(folder / "pipe.jpg")
    (folder / "circle.png").symlink_to("circle.png")
    (folder / "a.png").symlink_to("b.png")
    (folder / "b.png").symlink_to("a.png")
    (folder / "dangling.png").symlink_to("nowhere.png")
    (folder / "device.png").symlink_to("/dev/zero")
    (folder / "up").symlink_to("..")
    here = Path.cwd()
    os.chdir(folder)  # the path of a socket may have a hundred bytes only
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind("socket.png")
    finally:
        os.chdir(here)
    with (folder / "sparse.png").open("wb") as file:
        file.truncate(1 << 40)
    found = {"pipe.jpg", "circle.png", "a.png", "b.png", "dangling.png", "device.png", "up", "socket.png", "sparse.png"}
    if os.geteuid():
        (folder / "forbidden.png").write_bytes(encoded("png"))
        (folder / "forbidden.png").chmod(0)
        found.add("forbidden.png")
    return found


@pytest.fixture
def hostile(tmp_path: Path) -> tuple[Path, set[str]]:
    """A folder of two classes: a few good pictures, some of them odd, and two hundred bad files."""
    root = tmp_path / "hostile"
    for label, name in enumerate(("good", "bad")):
        (root / name).mkdir(parents=True)
        for i in range(GOOD):
            (root / name / f"fine {i}.png").write_bytes(encoded("png", seed=10 * label + i))
    return root, write_bad(root / "bad")


PROGRAM = """
from pathlib import Path
import sys
from featherbone.cli import main
try:
    main()
finally:
    if (status := Path("/proc/self/status")).exists():
        Path(sys.argv[-1] + ".status").write_text(status.read_text())
"""


def peak_memory(status: Path) -> int:
    """Return the most bytes that a process has held, as Linux tells; 0 elsewhere."""
    lines = status.read_text().splitlines() if status.exists() else ["VmHWM: 0 kB"]
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


@pytest.mark.slow
def test_a_check_names_them_all(hostile: tuple[Path, set[str]], tmp_path: Path) -> None:
    root, bad = hostile
    page = tmp_path / "page.html"
    command = [sys.executable, "-c", PROGRAM, "data", "check", str(root), "--json", "--out", str(page)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if not line.startswith("TIFF")] == []  # which libtiff writes
    check = json.loads(done.stdout)
    named = [*check["broken"], *check["left_out"]]  # what lies beside the images is not broken
    reasons = {file["path"].removeprefix("bad/"): file["reason"] for file in named}
    assert reasons.keys() == bad
    assert all(reasons.values())
    assert check["images"] == 2 * GOOD
    assert page.stat().st_size > 10_000
    assert peak_memory(tmp_path / "page.html.status") < 1.2e9
    for name, said in (
        ("pipe.jpg", "a pipe, not a file"),
        ("socket.png", "a socket, not a file"),
        ("device.png", "a device, not a file"),
        ("up", "a link to a folder, not followed"),
        ("circle.png", "Too many levels of symbolic links"),
        ("dangling.png", "No such file or directory"),
        ("sparse.png", "too large: 1099.5 GB"),
        ("bomb-wide.png", "too large: more than 178,956,970 pixels"),
        ("empty-0.jpg", "the file is empty"),
        ("svg.jpg", "not an image"),
        ("eps.png", "not an image"),
    ):
        assert reasons[name] == said, name
    assert not Path("/tmp/featherbone-ran").exists()  # noqa: S108 - what a drawing's program would have written


def test_training_opens_what_is_good(hostile: tuple[Path, set[str]]) -> None:
    root, bad = hostile
    data = CLASSIFICATION.open(root, quiet=True)
    assert {file.path.removeprefix("bad/") for file in data.skipped} == bad
    assert len(data.train) + len(data.val) == 2 * GOOD
    assert data.fingerprint == CLASSIFICATION.open(root, quiet=True).fingerprint
    assert json.dumps([file.path for file in data.skipped]).isascii()
    " ".join(file.path for file in data.skipped).encode()  # no name is left that cannot be printed
    found = {printable(path.name) for path in find_images([root])}
    assert bad - {"up"} <= found


def test_class_folders_of_any_name(tmp_path: Path) -> None:
    names = ["new\nline", "\U0001f438", "<b>", *([os.fsdecode(b"\xff\xfe")] if sys.platform == "linux" else [])]
    for label, name in enumerate(names):
        (tmp_path / "d" / name).mkdir(parents=True)
        for i in range(4):
            (tmp_path / "d" / name / f"{i}.png").write_bytes(encoded("png", seed=10 * label + i))
    data = CLASSIFICATION.open(tmp_path / "d", quiet=True)
    assert set(data.classes) == {printable(name) for name in names}
    "".join(data.classes).encode()
    fb.data_page(fb.check_data(tmp_path / "d", quiet=True), tmp_path / "page.html")
    assert "&lt;b&gt;" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_large_pictures_are_held_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each may decode to 700 MB: those of all threads together would not fit."""
    monkeypatch.setattr(images, "_LARGE", 40 * 30 - 1)
    (tmp_path / "large.png").write_bytes(encoded("png"))
    (tmp_path / "small.png").write_bytes(encoded("png", (30, 30)))
    held = {"large": 0, "small": 0}
    most = dict(held)

    def hold(source: Source) -> None:
        kind = Path(str(source)).stem
        with images.decoded(source):
            held[kind] += 1
            most[kind] = max(most[kind], held[kind])
            time.sleep(0.02)
            held[kind] -= 1

    scan_images([tmp_path / f"{kind}.png" for kind in held for _ in range(12)], hold, quiet=True)
    assert most["large"] == 1
    assert most["small"] > 1


@pytest.mark.parametrize("kind", ["jpeg", "png", "gif", "webp", "bmp", "tiff", "ppm", "jpeg2000", "tga", "pcx", "ico"])
def test_bytes_changed_at_random_are_an_image_or_unreadable(kind: str, tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    whole = encoded(kind, (24, 16))
    path = tmp_path / "x"
    for _ in range(60):
        changed = bytearray(whole)
        for place in random.integers(0, min(len(whole), 120), 3):
            changed[place] = random.integers(0, 256)
        path.write_bytes(changed)
        with suppress(UnreadableImageError), without_pillows_warnings():
            assert read_image(path).mode == "RGB"


def test_a_second_frame_may_be_damaged(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((20, 20, 3), value, np.uint8)) for value in (40, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    content = (tmp_path / "a.gif").read_bytes()
    damage: list[Callable[[bytes], bytes]] = [lambda b: b[:-20], lambda b: b[:-30] + b"\xff" * 30]
    for change in damage:
        (tmp_path / "a.gif").write_bytes(change(content))
        assert int(np.asarray(read_image(tmp_path / "a.gif")).max()) <= 60


def test_floats_that_are_no_numbers_are_read(tmp_path: Path) -> None:
    values = np.array([[np.nan, np.inf, -np.inf, 1.0], [0.5, 0.0, 0.0, 0.0]], np.float32)
    Image.fromarray(values).save(tmp_path / "a.tiff")
    assert np.asarray(read_image(tmp_path / "a.tiff", "L")).tolist() == [[0, 255, 0, 255], [128, 0, 0, 0]]
