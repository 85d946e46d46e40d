"""Shards at URLs come into a bounded folder, as wholes, and leave no half behind."""

import base64
import functools
import http.server
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest
from helpers.shards import Sums, all_sums, write_shards
from helpers.training import QUICK, evaluated
from torch.utils.data import DataLoader

import featherbone as fb
from featherbone.data.image import read_image
from featherbone.data.open import CLASSIFICATION
from featherbone.data.sources.cache import ROOM, Cache, RemoteFile


class Server(http.server.ThreadingHTTPServer):
    """A server on loopback that notes what is asked, and may break off in the middle."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[str] = []
        self.breaks = 0
        self.secret = ""  # that every request must have, in its query or as its user and password
        self.sends: Callable[[str, io.BufferedIOBase, bytes], bool] = lambda *_: False  # in another way than usual
        super().__init__(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.SimpleHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.allowed():
            super().do_GET()

    def do_HEAD(self) -> None:
        if self.allowed():
            super().do_HEAD()

    def allowed(self) -> bool:
        given = self.path + base64.b64decode(self.headers.get("Authorization", "").removeprefix("Basic ")).decode()
        if self.server.secret not in given:
            self.send_error(401)
        return self.server.secret in given

    def copyfile(self, source: io.BufferedIOBase, outputfile: io.BufferedIOBase) -> None:  # type: ignore[override]
        if self.path.endswith(".tar") and self.server.breaks:
            self.server.breaks -= 1
            outputfile.write(source.read(5000))
            self.close_connection = True
            return
        if self.server.sends(self.path, outputfile, source.read()):
            return
        source.seek(0)
        outputfile.write(source.read())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, own_cache: Path) -> Iterator[Server]:
    (tmp_path / "served").mkdir()
    with Server(tmp_path / "served") as found:
        thread = threading.Thread(target=found.serve_forever, daemon=True)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def held(cache: Path) -> list[Path]:
    return [path for path in (cache / "featherbone" / "shards").iterdir() if path.suffix in {".tar", ".part"}]


def total(cache: Path) -> int:
    found = 0
    for path in held(cache):
        try:
            found += path.stat().st_size
        except FileNotFoundError:  # it went meanwhile
            continue
    return found


def test_shards_at_urls_come_into_a_bounded_folder(
    server: Server, colours: Path, own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: fb.Run
) -> None:
    shards = write_shards(colours, tmp_path / "served" / "sets", "s-{:03d}.tar")
    bound = 2 * max(shard.stat().st_size for shard in shards)
    monkeypatch.setenv(ROOM, str(bound / 1e9))
    address = f"{server.url}/sets/s-{{000..003}}.tar"
    data, folder = CLASSIFICATION.open(address, quiet=True), CLASSIFICATION.open(colours, quiet=True)
    assert (data.name, data.classes, data.size) == (address, folder.classes, folder.size)
    assert sum(data.train.groups) == len(data.train)
    assert len(data.train.groups) == 4
    assert total(own_cache) <= bound
    assert all_sums(data) == all_sums(folder)
    # every image again, in an order that no cache likes
    for source in data.train.sources[::7] + data.train.sources[::5]:
        assert read_image(source).size == (16, 16)
        assert total(own_cache) <= bound
    server.asked.clear()
    again = CLASSIFICATION.open(address, quiet=True)
    assert again.fingerprint == data.fingerprint
    assert [path for path in server.asked if path.endswith(".tar")] == []  # what was seen was kept
    assert evaluated(finished.folder, address).confusion.sum() == 48
    assert {path.suffix for path in held(own_cache)} == {".tar"}
    server.asked.clear()
    fb.data_page(fb.check_data(address, quiet=True), tmp_path / "page.html", quiet=True)
    assert len([path for path in server.asked if path.endswith(".tar")]) <= 2 * 4
    assert (tmp_path / "page.html").read_text(encoding="utf-8").count("data:image/webp") == 3 * 8


def test_a_damaged_index_is_read_again_and_said(server: Server, colours: Path, own_cache: Path, tmp_path: Path) -> None:
    write_shards(colours, tmp_path / "served", "s-{:03d}.tar", of=48)
    address = f"{server.url}/s-000.tar"
    known = CLASSIFICATION.open(address, quiet=True).fingerprint
    (index,) = own_cache.rglob("index/*.json")
    whole = json.loads(index.read_text())
    name, offset, size, label, seen = whole["images"][0]
    for rows in (
        {"form": 1},
        {**whole, "images": 3},
        {**whole, "images": [[name, offset, size, label]]},
        {**whole, "images": [[name, offset, size, label, {**seen, "width": "wide"}]]},
        {**whole, "images": [[name, -1, size, label, seen]]},
        {**whole, "images": [[name, offset, 10**12, label, seen]]},
        {**whole, "skipped": [3]},
    ):
        index.write_text(json.dumps(rows))
        with pytest.warns(UserWarning, match="the shard is read again"):
            assert CLASSIFICATION.open(address, quiet=True).fingerprint == known
        assert json.loads(index.read_text()) == whole


def test_processes_share_one_small_cache(
    server: Server, colours: Path, own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bound is that of two shards, and processes that want all four come and go."""
    shards = write_shards(colours, tmp_path / "served", "s-{:03d}.tar")
    bound = 2 * max(shard.stat().st_size for shard in shards)
    monkeypatch.setenv(ROOM, str(bound / 1e9))
    images = CLASSIFICATION.open(f"{server.url}/s-{{000..003}}.tar", quiet=True).train
    order = [*range(len(images)), *reversed(range(len(images)))]
    loader = DataLoader(Sums(images), batch_size=None, num_workers=2, sampler=order)
    wanted = list(map(Sums(images).__getitem__, range(len(images))))
    found = []
    for one in loader:
        found.append(one)
        assert total(own_cache) <= bound
    assert found == [*wanted, *reversed(wanted)]
    assert {path.suffix for path in held(own_cache)} == {".tar"}


def test_a_fetch_that_breaks_is_tried_again_and_leaves_no_half(
    server: Server, colours: Path, own_cache: Path, tmp_path: Path
) -> None:
    write_shards(colours, tmp_path / "served", "s-{:03d}.tar", of=100)
    server.breaks = 1
    data = CLASSIFICATION.open(f"{server.url}/s-000.tar", quiet=True)
    assert len(data.train) + len(data.val) == 48
    for path in held(own_cache):
        path.unlink()
    server.breaks = 99
    with pytest.raises(fb.InputError, match=r"s-000.tar cannot be fetched"):
        read_image(data.train.sources[0])
    assert held(own_cache) == []
    server.breaks = 0
    assert read_image(data.train.sources[0]).size == (16, 16)
    write_shards(colours, tmp_path / "served", "s-{:03d}.tar", of=24)  # another one under the same name
    for path in held(own_cache):
        path.unlink()
    with pytest.raises(fb.InputError, match="has fewer"):
        read_image(data.train.sources[0])
    assert CLASSIFICATION.open(f"{server.url}/s-000.tar", quiet=True).fingerprint != data.fingerprint


def test_what_cannot_be_fetched_is_said(
    server: Server, colours: Path, own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shards(colours, tmp_path / "served", "s-{:03d}.tar", of=100)
    for address, said in (
        (f"{server.url}/none.tar", "none.tar cannot be reached: 404"),
        ("http://127.0.0.1:9/a.tar", "cannot be reached: Cannot connect"),
        (f"{server.url}/", "cannot be listed over http"),
        ("gopher://a/b.tar", "cannot be opened: Protocol not known: gopher"),
    ):
        with pytest.raises(fb.InputError, match=said):
            CLASSIFICATION.open(address, quiet=True)
    monkeypatch.setenv(ROOM, "0.00001")
    with pytest.raises(fb.InputError, match="more than the whole cache"):
        CLASSIFICATION.open(f"{server.url}/s-000.tar", quiet=True)
    monkeypatch.setenv(ROOM, "much")
    with pytest.raises(fb.InputError, match=f"{ROOM}=much is not allowed"):
        CLASSIFICATION.open(f"{server.url}/s-000.tar", quiet=True)


def test_a_half_file_of_a_dead_process_makes_room(tmp_path: Path) -> None:
    (tmp_path / "dead.part").write_bytes(bytes(900))
    storage = fsspec.filesystem("memory")
    storage.pipe("/dead-test/a.tar", bytes(800))
    cache = Cache(tmp_path, 1000)
    with cache.opened(RemoteFile("memory://dead-test/a.tar", 800, "")) as file:
        assert file.read() == bytes(800)
    assert not (tmp_path / "dead.part").exists()


def test_a_storage_that_can_be_listed(colours: Path, own_cache: Path, tmp_path: Path) -> None:
    storage = fsspec.filesystem("memory")
    for path in [*write_shards(colours, tmp_path / "s", "train-{:03d}.tar"), tmp_path / "s" / "classes.txt"]:
        storage.pipe(f"/bucket/sets/{path.name}", path.read_bytes())
    try:
        listed = CLASSIFICATION.open("memory://bucket/sets/", quiet=True)
        assert listed.classes == ("blue", "green", "red")
        assert CLASSIFICATION.open("memory://bucket/sets/train-*.tar", quiet=True).fingerprint == listed.fingerprint
        with pytest.raises(fb.InputError, match="names no .tar file"):
            CLASSIFICATION.open("memory://bucket/other/", quiet=True)
    finally:
        storage.rm("/bucket", recursive=True)


def test_a_run_on_remote_shards_is_learned_from_and_measured(
    server: Server, colours: Path, own_cache: Path, tmp_path: Path
) -> None:
    write_shards(colours, tmp_path / "served", "s-{:03d}.tar")
    address = f"{server.url}/s-{{000..003}}.tar"
    run = fb.train(address, out=tmp_path / "run", changes={**QUICK, "epochs": 1, "workers": 1}, quiet=True)
    assert (run.recipe.data, run.classes) == (address, ("blue", "green", "red"))
    assert evaluated(run.folder, address).confusion.sum() == run.test_images == 9
    assert [path.name for path in run.examples] == ["blue.png", "green.png", "red.png"]


def test_shards_of_one_class_each_are_found(server: Server, colours: Path, own_cache: Path, tmp_path: Path) -> None:
    write_shards(colours, tmp_path / "served", "s-{:03d}.tar", of=16, mixed=False)
    (finding,) = fb.check_data(f"{server.url}/s-{{000..002}}.tar", quiet=True).findings
    assert (finding.kind, finding.severity == "error") == ("unmixed", True)
    assert finding.text.startswith("3 shards of one class only")


@pytest.mark.parametrize("piece", [1, 7, 100, 5000])
def test_what_comes_in_pieces_is_read_to_its_end(
    piece: int, server: Server, colours: Path, own_cache: Path, tmp_path: Path
) -> None:
    write_shards(colours, tmp_path / "served", "s-{:03d}.tar", of=100)
    names = ["blue", "green", "red", *(f"class {i:04}" for i in range(1000 if piece > 1 else 20))]
    (tmp_path / "served" / "classes.txt").write_text("\n".join(names))

    def in_pieces(path: str, out: io.BufferedIOBase, content: bytes) -> bool:
        if path.endswith(".txt"):
            for start in range(0, len(content), piece):
                out.write(content[start : start + piece])
                time.sleep(0.001 if piece < 5000 else 0.1)
        return path.endswith(".txt")

    server.sends = in_pieces
    assert fb.check_data(f"{server.url}/s-000.tar", quiet=True).classes == tuple(names)


def cut(path: str, out: io.BufferedIOBase, content: bytes) -> bool:
    if path.endswith(".txt"):
        out.write(content[:-3])
        raise ConnectionError
    return False


def drip(path: str, out: io.BufferedIOBase, content: bytes) -> bool:
    for byte in content[:60]:
        out.write(bytes([byte]))
        time.sleep(0.05)
    return True


@pytest.mark.parametrize(
    ("sends", "said"), [(cut, "classes.txt cannot be read: "), (drip, "server is too slow: it must give 30,000 bytes")]
)
def test_a_server_that_does_not_come_to_the_end_is_named(
    sends: Callable[[str, io.BufferedIOBase, bytes], bool],
    said: str,
    server: Server,
    colours: Path,
    own_cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_shards(colours, tmp_path / "served", "s-{:03d}.tar", of=100)
    monkeypatch.setattr("featherbone.data.sources.cache._ANSWER_S", 0.5)
    server.handle_error = lambda *_: None  # type: ignore[method-assign] # it would print
    server.sends = sends
    with pytest.raises(fb.InputError, match=said):
        CLASSIFICATION.open(f"{server.url}/s-000.tar", quiet=True)
    assert not list((own_cache / "featherbone" / "shards").glob("*.part"))


def test_a_list_of_classes_without_end_is_not_taken(
    server: Server, colours: Path, own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shards(colours, tmp_path / "served", "s-{:03d}.tar", of=100)
    monkeypatch.setattr("featherbone.data.sources.cache._MOST_BYTES", 10)
    with pytest.raises(fb.InputError, match=r"classes.txt cannot be read: it is too large \(more than 10 bytes\)"):
        CLASSIFICATION.open(f"{server.url}/s-000.tar", quiet=True)


@pytest.mark.parametrize("form", ["user", "query"])
def test_a_secret_in_an_address_is_used_and_neither_kept_nor_printed(
    form: str, server: Server, colours: Path, own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEATHERBONE_DATA", "")
    write_shards(colours, tmp_path / "served", "s-{:03d}.tar")
    server.secret = "geheim7"  # noqa: S105 - of this test
    place = f"127.0.0.1:{server.server_port}/s-{{000..003}}.tar"
    address, shown = {
        "user": (f"http://me:geheim7@{place}", f"http://me:***@{place}"),
        "query": (f"http://{place}?id=3&access_token=geheim7", f"http://{place}?id=3&access_token=***"),
    }[form]
    found = fb.check_data(address, quiet=True)
    assert (found.name, found.classes) == (shown, ("blue", "green", "red"))
    fb.data_page(found, tmp_path / "page.html", quiet=True)
    told = [repr(found.to_dict())]
    for wrong in (address.replace("s-{000..003}", "none"), address.replace("http", "gopher")):
        with pytest.raises(fb.InputError, match=r"\*\*\*") as refused:
            fb.check_data(wrong, quiet=True)
        told.append(str(refused.value))
    assert "geheim7" not in " ".join(told)
    assert kept("geheim7", tmp_path, own_cache) == []
    monkeypatch.setenv("FEATHERBONE_DATA", "")
    with pytest.raises(fb.InputError, match=r"what is \*\*\* was not kept; give the whole address again"):
        CLASSIFICATION.open(shown, quiet=True)
    monkeypatch.setenv("FEATHERBONE_DATA", address)
    data = CLASSIFICATION.open(shown, quiet=True)
    assert (data.name, len(data.train) + len(data.val)) == (shown, 48)


def test_a_run_keeps_no_secret_of_its_address(
    server: Server, colours: Path, own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEATHERBONE_DATA", "")
    write_shards(colours, tmp_path / "served", "s-{:03d}.tar")
    address = f"{server.url}/s-{{000..003}}.tar?access_token=geheim7"
    told: list[str] = []
    run = fb.train(address, out=tmp_path / "run", changes={**QUICK, "epochs": 1}, quiet=True, log=told.append)
    assert run.recipe.data == address.replace("geheim7", "***")
    assert "geheim7" not in " ".join(told)
    assert kept("geheim7", tmp_path / "run", own_cache) == []
    assert evaluated(run.folder, address).confusion.sum() == run.test_images == 9


def kept(secret: str, *folders: Path) -> list[Path]:
    """Return the files that have a secret in their name or content."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if secret in str(path) or secret.encode() in path.read_bytes()]
