"""Videos as images, one after the other, and images as a video (PyAV, which carries FFmpeg with it)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError
from PIL import Image

from featherbone.data.images import UnreadableImageError, check_file
from featherbone.errors import InputError, first_line
from featherbone.files import check_output, replacing

VIDEOS = (".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v", ".mpg", ".mpeg")
_WRITTEN = (".mp4", ".mkv", ".mov")
_CODECS = ("libx264", "mpeg4")  # the first that this build of FFmpeg has


@dataclass(frozen=True)
class Video:
    """A video that is open.

    Attributes:
        rate: frames per second, on average.
        count: how many frames its file says it has, 0 if it does not say.
        frames: its frames, in order, upright, RGB; they can be read once.
    """

    rate: Fraction
    count: int
    frames: Iterator[Image.Image]


@contextmanager
def reading(path: Path) -> Iterator[Video]:
    """Yield the first video stream of a file.

    Raises:
        InputError: if it is no video, or broken where it is read.
    """
    try:
        container = av.open(check_file(path))
    except (UnreadableImageError, OSError, FFmpegError) as error:
        raise InputError(f"{path} cannot be read as a video: {_said(error)}") from error
    with container:
        if not container.streams.video:
            raise InputError(f"{path} cannot be read as a video: it has no pictures")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        yield Video(rate, stream.frames, _frames(path, container))


def _frames(path: Path, container: av.container.InputContainer) -> Iterator[Image.Image]:
    try:
        for frame in container.decode(video=0):
            image = Image.fromarray(frame.to_ndarray(format="rgb24"))
            yield image.rotate(frame.rotation, expand=True) if frame.rotation else image
    except FFmpegError as error:
        raise InputError(f"{path} is damaged: {_said(error)}") from error


@contextmanager
def writing(path: Path, rate: Fraction) -> Iterator[Callable[[Image.Image], None]]:
    """Yield a function that appends a frame, of the first one's size; the file is there when all are written.

    Args:
        path: .mp4, .mkv or .mov.
        rate: frames per second.

    Raises:
        InputError: if it cannot be written, or no frame is given.
    """
    check_output("path", path, _WRITTEN)
    codec = next(name for name in _CODECS if name in av.codecs_available)
    with replacing(path) as temporary, av.open(temporary, "w") as container:
        stream = container.add_stream(codec, rate)
        assert isinstance(stream, av.VideoStream)
        stream.pix_fmt = "yuv420p"

        def append(image: Image.Image) -> None:
            # this format has one colour for four pixels: odd sides lose a row
            even = image.convert("RGB").crop((0, 0, image.width // 2 * 2, image.height // 2 * 2))
            if not stream.codec_context.is_open:
                stream.width, stream.height = even.size
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(even), format="rgb24")))

        yield append
        if not stream.codec_context.is_open:
            raise InputError(f"no frame was given for {path}")
        container.mux(stream.encode())


def _said(error: Exception) -> str:
    return getattr(error, "strerror", None) or first_line(error)
