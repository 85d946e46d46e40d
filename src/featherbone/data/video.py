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

from featherbone.data.image import UnreadableImageError, check_file
from featherbone.errors import InputError, first_line
from featherbone.files import MARK, check_output, replacing

_WRITTEN = (".mp4", ".mkv", ".mov")
_TICKS = 90_000  # a second: divides the usual rates, 30000/1001 among them
_CODECS = ("libx264", "mpeg4")  # the first that this build of FFmpeg has


@dataclass(frozen=True)
class Frame:
    """A frame of a video.

    Attributes:
        image: upright, RGB.
        at: seconds from the beginning of the film.
    """

    image: Image.Image
    at: Fraction


@dataclass(frozen=True)
class Video:
    """A video that is open.

    Attributes:
        rate: frames per second, on average.
        count: how many frames its file says it has, 0 if it does not say.
        frames: its frames, in order; they can be read once.
    """

    rate: Fraction
    count: int
    frames: Iterator[Frame]


@contextmanager
def reading(path: Path) -> Iterator[Video]:
    """Yield the first video stream of a file.

    Raises:
        InputError: if it is no video, or broken where it is read.
    """
    try:
        container = av.open(check_file(path), metadata_errors="replace")
    except (UnreadableImageError, OSError, FFmpegError) as error:
        raise InputError(f"{path} cannot be read as a video: {_said(error)}") from error
    with container:
        if not container.streams.video:
            raise InputError(f"{path} cannot be read as a video: it has no video stream")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        yield Video(rate, stream.frames, _frames(path, container, rate))


def _frames(path: Path, container: av.container.InputContainer, rate: Fraction) -> Iterator[Frame]:
    try:
        for number, frame in enumerate(container.decode(video=0)):
            image = Image.fromarray(frame.to_ndarray(format="rgb24"))
            ticks, tick = frame.pts, frame.time_base
            at = number / rate if ticks is None or tick is None else ticks * Fraction(tick)
            yield Frame(image.rotate(frame.rotation, expand=True) if frame.rotation else image, at)
    except FFmpegError as error:
        raise InputError(f"{path} is damaged: {_said(error)}") from error


@contextmanager
def writing(path: Path, rate: Fraction) -> Iterator[Callable[[Frame], None]]:
    """Yield a function that appends a frame, of the first one's size; the file is there when all are written.

    Args:
        path: .mp4, .mkv or .mov.
        rate: frames per second, as the file is to state it; each frame has its own time.

    Raises:
        InputError: if it cannot be written, or no frame is given.
    """
    check_output("path", path, _WRITTEN, overwrite=True)  # the verb has asked
    codec = next(name for name in _CODECS if name in av.codecs_available)
    with replacing(path) as temporary, av.open(temporary, "w") as container:
        container.metadata["comment"] = MARK
        stream = container.add_stream(codec, rate)
        assert isinstance(stream, av.VideoStream)
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, _TICKS)
        last = -1

        def append(frame: Frame) -> None:
            nonlocal last
            # this format has one colour for four pixels: odd sides lose a row
            image = frame.image.convert("RGB")
            even = image.crop((0, 0, image.width // 2 * 2, image.height // 2 * 2))
            if not stream.codec_context.is_open:
                stream.width, stream.height = even.size
            drawn = av.VideoFrame.from_ndarray(np.asarray(even), format="rgb24")
            last = max(last + 1, round(frame.at * _TICKS))  # two at one time would be refused
            drawn.pts, drawn.time_base = last, Fraction(1, _TICKS)
            container.mux(stream.encode(drawn))

        yield append
        if not stream.codec_context.is_open:
            raise InputError(f"no frame was given for {path}")
        container.mux(stream.encode())


def _said(error: Exception) -> str:
    return (isinstance(error, FFmpegError | OSError) and error.strerror) or first_line(error)
