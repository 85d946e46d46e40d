"""A bounded folder of whole remote files, shared by threads and processes."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import fsspec
from filelock import FileLock, Timeout
from fsspec.asyn import AbstractAsyncStreamedFile
from fsspec.exceptions import FSTimeoutError
from fsspec.spec import AbstractFileSystem

from featherbone.errors import InputError, first_line, masked
from featherbone.files import cache_folder

T = TypeVar("T")

ROOM = "FEATHERBONE_CACHE_GB"
_USUAL_GB = 20.0
_CHUNK = 1 << 20
_TRIES = 3
_EVICTIONS = 20  # between fetching and opening, by other processes, before we give up
_PATIENCE_S = 0.05
_ANSWER_S = 30.0  # in which a server must answer, and then give this many bytes again and again, or all the rest
_LEAST_BYTES = 30_000
_MOST_BYTES = 1 << 24  # of a list of classes
_VERSIONS = ("ETag", "etag", "Content-MD5", "md5Hash", "LastModified", "Last-Modified", "mtime", "created")
_NOT_THERE = {401, 403, 404, 410}  # public stores say 403 of what does not exist


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file at a URL in the state in which it was found: its size, and whatever else tells when it changes."""

    url: str
    size: int
    version: str

    @property
    def key(self) -> str:
        """A name for it that no other file and no other state of it has; who asks for it is no part of it."""
        return hashlib.sha256(repr((masked(self.url), self.size, self.version)).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Cache:
    """Whole files, the last used of them, together never more than ``most_bytes``.

    A file that is being fetched has its full size from the start, so the bound holds while it comes. One lock guards
    the room, one each file; both are the system's, and end with the process that holds them.
    """

    folder: Path
    most_bytes: int

    @classmethod
    def usual(cls) -> Cache:
        """Return the cache of this user: in ``files.cache_folder``, of ``FEATHERBONE_CACHE_GB`` gigabytes (20).

        Raises:
            InputError: if that is no number above 0.
        """
        given = os.environ.get(ROOM) or str(_USUAL_GB)
        try:
            most = float(given) * 1e9
        except ValueError:
            most = 0.0
        if not 0 < most < float("inf"):
            raise InputError(f"{ROOM}={given} is not allowed: a number of gigabytes above 0")
        return cls(cache_folder() / "shards", int(most))

    def opened(self, file: RemoteFile) -> BinaryIO:
        """Open the local copy of a file, fetched unless it is here. It stays readable though others may need its room.

        Raises:
            InputError: if it cannot be fetched, is larger than the cache, or there is no room on the disk.
        """
        path = self.folder / f"{file.key}.tar"
        if file.size > self.most_bytes:
            raise InputError(
                f"{file.url} has {file.size:,} bytes, more than the whole cache ({self.most_bytes:,}): raise {ROOM}"
            )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for _ in range(_EVICTIONS):
                if not _used(path):
                    with FileLock(path.with_suffix(".lock")):
                        if not _used(path):
                            self._fetch(file, path)
                with suppress(FileNotFoundError):  # others were quicker, and needed the room
                    return path.open("rb")
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror or error}") from error
        raise InputError(f"the cache of shards ({self.most_bytes:,} bytes) is too small for so many processes")

    def _fetch(self, file: RemoteFile, path: Path) -> None:
        part = path.with_suffix(".part")
        try:
            for tries_left in reversed(range(_TRIES)):
                self._reserve(part, file.size)
                try:
                    _download(file, part)
                    break
                except Exception as error:  # every storage has errors of its own
                    if not tries_left or isinstance(error, (FileNotFoundError, InputError)):
                        raise InputError(f"{file.url} cannot be fetched: {_said(error)}") from error
                    time.sleep(_PATIENCE_S * 4 ** (_TRIES - tries_left))
            with self._room():
                part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    def _reserve(self, part: Path, size: int) -> None:
        """Make ``part`` a file of this size as soon as there is room."""
        while True:
            with self._room():
                part.unlink(missing_ok=True)
                if self._free(size) >= size:
                    with part.open("wb") as file:
                        file.truncate(size)
                    return
            time.sleep(_PATIENCE_S)  # others are fetching, and hold the room

    def _room(self) -> FileLock:
        """Return the lock under which files appear and go."""
        return FileLock(self.folder / "room.lock")

    def _free(self, wanted: int) -> int:
        """Return the free bytes, after the files that were not used for longest have made room."""
        parts = [part for part in self.folder.glob("*.part") if not _abandoned(part)]
        whole = {path: path.stat() for path in self.folder.glob("*.tar")}
        free = self.most_bytes - sum(status.st_size for status in whole.values()) - sum(map(_size, parts))
        for path in sorted(whole, key=lambda path: whole[path].st_mtime_ns):
            if free >= wanted:
                break
            with suppress(PermissionError):  # some systems keep what is open
                path.unlink()
                free += whole[path].st_size
        return free


def state_of(url: str) -> RemoteFile:
    """Return a remote file as it is now.

    Raises:
        InputError: if it cannot be reached, or its size is not known.
    """
    storage, path = file_system(url)
    try:
        # fsspec's name of the coroutine begins so
        info = _in_time(storage, storage._info(path)) if _is_http(path) else storage.info(path)  # noqa: SLF001
    except Exception as error:  # every storage has errors of its own
        raise InputError(f"{url} cannot be reached: {_said(error)}") from error
    if info.get("size") is None:
        raise InputError(f"{url} is of no use: its server does not say how large it is")
    version = next((str(info[key]) for key in _VERSIONS if info.get(key)), "")
    return RemoteFile(url, int(info["size"]), version)


def content_of(url: str) -> bytes | None:
    """Return the whole content of a small remote file; nothing if there is none.

    Raises:
        InputError: if that is not clear, or it is not small, or does not come to its end.
    """
    storage, path = file_system(url)
    content = b""
    try:
        for chunk in _chunks(storage, path):
            content += chunk
            if len(content) > _MOST_BYTES:
                break
    except Exception as error:
        if isinstance(error, (FileNotFoundError, PermissionError)) or _refused(error):
            return None
        raise InputError(f"{url} cannot be read: {_said(error)}") from error
    if len(content) > _MOST_BYTES:
        raise InputError(f"{url} cannot be read: it is too large (more than {_MOST_BYTES:,} bytes)")
    return content


def _refused(error: Exception) -> bool:
    """Return whether a server says that it has no such file."""
    import aiohttp

    return isinstance(error, aiohttp.ClientResponseError) and error.status in _NOT_THERE


def file_system(url: str) -> tuple[AbstractFileSystem, str]:
    """Return the storage that a URL names, and the path in it.

    Raises:
        InputError: if it is of an unknown kind, or a package for it is missing.
    """
    options: dict[str, Any] = {}
    try:
        if url.startswith("http"):  # its usual limit is five minutes for a whole file
            import aiohttp

            limits = aiohttp.ClientTimeout(total=None)  # _in_time has limits
            options = {"client_kwargs": {"timeout": limits}}
        storage, path = fsspec.url_to_fs(url, **options)
    except Exception as error:  # every storage has errors of its own
        raise InputError(f"{url} cannot be opened: {first_line(error)}") from error
    return storage, path


def _download(file: RemoteFile, part: Path) -> None:
    storage, path = file_system(file.url)
    left = file.size
    with part.open("r+b") as local:
        for chunk in _chunks(storage, path):
            left -= len(chunk)
            if left < 0:
                break
            local.write(chunk)
    if left:
        raise OSError(f"it should have {file.size:,} bytes, and has {'fewer' if left > 0 else 'more'}")


def _chunks(storage: AbstractFileSystem, path: str) -> Iterator[bytes]:
    """Yield what a remote file holds, to its end: one read of a stream may give less than it was asked for.

    Raises:
        InputError: if a server is too slow.
    """
    if not _is_http(path):
        with storage.open(path, "rb") as file:
            yield from iter(lambda: file.read(_CHUNK), b"")
        return
    # packed, it would have another length than was said
    stream = _in_time(storage, storage.open_async(path, size=0, headers={"Accept-Encoding": "identity"}))
    try:
        while chunk := _in_time(storage, _next(stream)):
            yield chunk
    finally:
        _in_time(storage, stream.close())


async def _next(stream: AbstractAsyncStreamedFile) -> bytes:
    """Return so much of a stream that a server is not too slow if it gives that in time; nothing at its end."""
    content = b""
    while len(content) < _LEAST_BYTES and (chunk := await stream.read(_CHUNK)):
        content += chunk
    return content


def _in_time(storage: AbstractFileSystem, answer: Coroutine[Any, Any, T]) -> T:
    """Return what a server answers.

    Raises:
        InputError: if it takes too long.
    """

    async def bounded() -> T:
        return await asyncio.wait_for(answer, _ANSWER_S)

    try:
        return cast("T", fsspec.asyn.sync(storage.loop, bounded))
    except FSTimeoutError as error:
        raise InputError(
            f"its server is too slow: it must give {_LEAST_BYTES:,} bytes, or the rest, in {_ANSWER_S:g} seconds"
        ) from error


def _is_http(path: str) -> bool:
    return path.startswith(("http://", "https://"))


def _used(path: Path) -> bool:
    """Return whether a file is here, and note that it is wanted."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def _size(part: Path) -> int:
    try:
        return part.stat().st_size
    except FileNotFoundError:  # given up meanwhile
        return 0


def _abandoned(part: Path) -> bool:
    """Remove a half file whose process has died, and return whether it was one."""
    try:
        with FileLock(part.with_suffix(".lock"), timeout=0):
            part.unlink(missing_ok=True)
            return True
    except Timeout:
        return False


def _said(error: BaseException) -> str:
    """Return the reason: some storages say that a file is not there whatever has happened, and have it as the cause."""
    return first_line(error if isinstance(error, InputError) else error.__cause__ or error)
