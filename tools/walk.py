"""Print which files of featherbone work, in order, while a folder of images is learned from and one image is predicted.

``python tools/walk.py`` writes two lists: a file stands where one of its functions is called first. What only defines
things (errors, types, constants) does not appear. It runs on any version that has ``fb.train`` and ``fb.predict``.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import numpy as np
from PIL import Image

import featherbone as fb

ROOT = Path(fb.__file__).parent


def walk(work: Callable[[], object]) -> list[str]:
    """Return the files whose functions were called, in the order of their first call."""
    found: dict[str, None] = {}

    def called(frame: FrameType, event: str, _: object) -> None:
        name = frame.f_code.co_filename
        if event == "call" and name.startswith(str(ROOT)) and not imported(frame):
            found.setdefault(str(Path(name).relative_to(ROOT)))

    sys.setprofile(called)
    try:
        work()
    finally:
        sys.setprofile(None)
    return list(found)


def imported(frame: FrameType | None) -> bool:
    """Return whether a module of featherbone is just being imported: what its body calls is no step of the way."""
    while frame:
        if frame.f_code.co_name == "<module>" and frame.f_code.co_filename.startswith(str(ROOT)):
            return True
        frame = frame.f_back
    return False


def main() -> None:
    """Learn from two classes of ten images for one epoch, and predict one of them."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data, out = Path(folder) / "images", Path(folder) / "run"
        for place, name in enumerate(("dark", "light")):
            (data / name).mkdir(parents=True)
            for i in range(10):
                pixels = np.random.default_rng(i).integers(0, 100, (16, 16, 3)) + 120 * place
                Image.fromarray(pixels.astype(np.uint8)).save(data / name / f"{i}.png")
        changes = {"epochs": 1, "batch_size": 4, "size": 16, "workers": 0, "precision": "f32", "channels_last": True}
        steps = {
            "train": lambda: fb.train(data, "shufflenet_v2_x0_5", out=out, changes=changes, quiet=True),
            "predict": lambda: fb.predict(out, [data / "light" / "0.png"], quiet=True),
        }
        for name, work in steps.items():
            files = walk(work)
            print(f"{name}: {len(files)} files")
            print(*(f"  {place:2}  {file}" for place, file in enumerate(files, 1)), sep="\n")


if __name__ == "__main__":
    main()
