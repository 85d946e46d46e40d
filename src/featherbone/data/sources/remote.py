"""Shards at URLs, of which a few are on disk at a time: for data that does not fit the disk."""

from __future__ import annotations

import json
import posixpath
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

from featherbone.data.address import in_full
from featherbone.data.dataset import ImageInfo, Item, Listing, Skipped
from featherbone.data.image import UnreadableImageError, without_pillows_warnings
from featherbone.data.progress import watched
from featherbone.data.scan import scan_image
from featherbone.data.sources.cache import Cache, RemoteFile, content_of, file_system, state_of
from featherbone.data.sources.shards import CLASS_FILES, Shard, class_names, exactly, expand, inside, listing_of
from featherbone.data.sources.tar import samples_of
from featherbone.errors import InputError, masked
from featherbone.files import read_json, typed, write_text

_AT_ONCE = 4  # shards that are fetched and read side by side
_FORM = 1  # of an index file


@dataclass(frozen=True, slots=True)
class RemoteMember:
    """An image inside a tar file at a URL, which is fetched as a whole when one of its images is read."""

    cache: Cache
    shard: RemoteFile
    name: str
    offset: int
    size: int

    @property
    def group(self) -> str:
        """The shard."""
        return self.shard.url

    @property
    def origins(self) -> tuple[RemoteFile]:
        """The shard in the state in which it was found."""
        return (self.shard,)

    def read(self) -> bytes:
        """Return the encoded image.

        Raises:
            UnreadableImageError: if the shard is shorter than its index says.
            InputError: if the shard cannot be fetched.
        """
        with self.cache.opened(self.shard) as file:
            file.seek(self.offset)
            return exactly(file.read(self.size), self.size)


def list_remote(address: str, *, quiet: bool) -> Listing[str]:
    """Return the images of the shards that an address names; each is read once, and what was seen is kept.

    Args:
        address: a URL of tar files, with braces (``{000..099}``), and with ``*`` or a ``/`` at the end where the
            storage can be listed (not over http).
        quiet: show no progress bar.

    Raises:
        InputError: if a shard cannot be fetched, or there is no labelled image in them.
    """
    cache = Cache.usual()
    name, address = masked(address), in_full(address)
    urls = _urls(address)
    root = _common_folder(urls)
    with without_pillows_warnings(), ThreadPoolExecutor(_AT_ONCE) as pool:
        found = pool.map(lambda url: _shard(cache, url, url.removeprefix(root).partition("?")[0]), urls)
        shards = list(watched(found, "reading shards", total=len(urls), quiet=quiet))
    first, _, query = urls[0].partition("?")
    places = dict.fromkeys([root, first.rpartition("/")[0] + "/"])
    return listing_of(name, shards, _classes(places, f"?{query}" if query else ""))


def _urls(address: str) -> list[str]:
    urls: list[str] = []
    for url in expand(address):
        storage, path = file_system(url)
        if url.endswith("/") or "*" in url:
            if url.startswith("http"):
                raise InputError(
                    f"{url} cannot be listed over http: name the shards with braces, shard-{{000..099}}.tar"
                )
            matches = storage.find(path) if url.endswith("/") else storage.glob(path)
            tars = sorted(match for match in matches if match.endswith(".tar"))
            if not tars:
                raise InputError(f"{url} names no .tar file")
            urls += [str(storage.unstrip_protocol(tar)) for tar in tars]
        else:
            urls.append(url)
    return urls


def _common_folder(urls: Sequence[str]) -> str:
    protocol = urls[0].partition("://")[0]
    folders = [posixpath.dirname(url.partition("://")[2].partition("?")[0]) for url in urls]
    return f"{protocol}://{posixpath.commonpath(folders)}/"


def _classes(folders: Iterable[str], query: str) -> tuple[str, ...]:
    for folder, name in product(folders, CLASS_FILES):
        content = content_of(folder + name + query)
        if content is not None:
            return class_names(name, content)
    return ()


@dataclass(frozen=True)
class _Index:
    """What is kept of a shard that was read: of each image name, offset, size, label and what was seen."""

    form: int
    images: tuple[tuple[str, int, int, str, ImageInfo], ...]
    skipped: tuple[tuple[str, str], ...]


def _shard(cache: Cache, url: str, name: str) -> Shard:
    shard = state_of(url)
    kept = cache.folder / "index" / f"{shard.key}.json"
    rows = _kept(kept, shard.size)
    if rows is None:
        rows = _read(cache, shard)
        write_text(kept, json.dumps({"url": masked(url), **asdict(rows)}))
    items = [
        Item(RemoteMember(cache, shard, f"{name}/{member}", offset, size), label, seen)
        for member, offset, size, label, seen in rows.images
    ]
    return Shard(name, items, inside(name, [Skipped(*one) for one in rows.skipped]))


def _kept(path: Path, most: int) -> _Index | None:
    """Return the index in a file; ``None`` if there is none, or one of another form or that cannot be: it is said."""
    if not path.exists():
        return None
    try:
        values = read_json(path)
        if values.get("form") != _FORM:
            return None
        rows = typed(values, _Index, path)
        if all(offset >= 0 and 0 < size <= most - offset for _, offset, size, _, _ in rows.images):
            return rows
        problem = f"{path} names images outside its shard"
    except InputError as error:
        problem = str(error)
    warnings.warn(f"{problem}; the shard is read again", stacklevel=2)
    return None


def _read(cache: Cache, shard: RemoteFile) -> _Index:
    with cache.opened(shard) as file:
        samples, odd = samples_of(file)
    images, skipped = [], [(one.path, one.reason) for one in odd]
    for sample in samples:
        try:
            seen = scan_image(RemoteMember(cache, shard, sample.name, sample.offset, sample.size))
            images.append((sample.name, sample.offset, sample.size, sample.label, seen))
        except UnreadableImageError as error:
            skipped.append((sample.name, str(error)))
    return _Index(_FORM, tuple(images), tuple(skipped))
