"""Write a run, a named network or any module as a file for an engine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor, nn

from featherbone.detect.detector import Detector
from featherbone.detect.postprocess import IOU_THRESHOLD, MAX_DETECTIONS, SCORE_THRESHOLD, table
from featherbone.errors import InputError, nearest, needs
from featherbone.files import AnyPath, check_outside
from featherbone.runs.folder import read_recipe
from featherbone.verbs.samples import folder_inputs, samples_of
from featherbone.weights import Header
from featherbone.weights.open import AnyNetwork

if TYPE_CHECKING:
    from featherbone.deploy import Contents, Exported
    from featherbone.deploy.nms import Postprocess


def export(
    source: AnyNetwork,
    out: AnyPath,
    *,
    to: str | None = None,
    size: int | None = None,
    in_chans: int | None = None,
    optimize: bool = False,
    folder: bool = False,
    precision: Literal["f32", "int8"] = "f32",
    calibration: Tensor | AnyPath | None = None,
    max_drop: float = 0.01,
    score: float | None = None,
    iou: float | None = None,
    max_detections: int | None = None,
    overwrite: bool = False,
) -> Exported:
    """Write a network for ONNX Runtime, OpenVINO, PyTorch or ExecuTorch, rewritten exactly.

    The written file is run on random images and on photographs (for a run also on its held-out images). It appears
    under its name only if its outputs are those of the network: every class, or map, is judged by how far it varies
    over these images. A network may give several tensors, in a tuple, list or dictionary: each is named and judged.

    A detector's file, ONNX or OpenVINO, returns boxes: decoding and non-maximum suppression are in it. It takes
    one image, letterboxed, and gives ``(1, max_detections, 6)``: x1, y1, x2, y2 in pixels of the input, score and class
    of every box, the best first, zeros after the last.

    Args:
        source: a run or its folder, a weight file, the name or row of a network (freshly initialized), or any module
            that takes images.
        out: the file; its suffix, ``.onnx``, ``.xml``, ``.pt2`` or ``.pte``, says the format.
        to: "onnx", "openvino", "torch" or "executorch", if ``out`` has no suffix; default for a folder: "onnx".
        size: side of the input, in pixels; default: as trained, else as published, else 224.
        in_chans: channels of a module's input; default: those its first convolution reads.
        optimize: try equal forms of the network on the format's engine on this machine, and write the fastest.
        folder: make ``out`` a folder that needs only the runtime: the model, ``preprocessing.json``, ``labels.txt``
            and ``run.py``, which classifies image files, or finds boxes in them. The source must know its classes and
            preprocessing.
        precision: "f32", or "int8" for OpenVINO: the rewritten network in eight-bit integers.
        calibration: for "int8": images ``(N, C, size, size)`` as the network gets them in use, preprocessed, or a
            folder of them, of which up to 300 are taken; 50 or more of different content. One half gives the scales,
            the other judges the file.
        max_drop: in int8, the share of the images that may get another first class than from the network; the worst
            layers stay in float for it.
        score: of a detector: the least score of a box, 0 to 1; default 0.25.
        iou: of a detector: of two boxes of a class that overlap more, the better one stays; default 0.6.
        max_detections: of a detector: boxes of an image at most; default 100.
        overwrite: replace a file of this name that featherbone did not make.

    Raises:
        InputError: if an argument is not usable, the network's weights are no numbers, or the file's outputs differ.
    """
    if precision not in ("f32", "int8"):
        raise InputError(f"precision={precision!r} is not allowed{nearest(precision, ('f32', 'int8'))}: f32 or int8")
    if (calibration is None) is (precision == "int8"):
        raise InputError("precision='int8' and calibration=... go together: give both, or neither")
    model, samples, header = samples_of(source, size=size, in_chans=in_chans)
    asked = {"score": score, "iou": iou, "max_detections": max_detections}
    postprocess = _postprocess(model, {name: value for name, value in asked.items() if value is not None})
    if calibration is not None and not isinstance(calibration, Tensor):
        calibration = folder_inputs(calibration, header.preprocess if header else None, samples)
    with needs("export", "exporting"):
        from featherbone.deploy import export_network
    if folder:
        _check_known(source, header)
        if isinstance(source, str | os.PathLike):
            check_outside("out", out, read_recipe(source).data)
    return export_network(
        model,
        out,
        samples,
        to=to,
        metadata=_metadata(header, postprocess),
        optimize=optimize,
        contents=_contents(header, postprocess) if folder and header else None,
        calibration=calibration,
        max_drop=max_drop,
        postprocess=postprocess,
        overwrite=overwrite,
    )


def _postprocess(model: nn.Module, asked: dict[str, Any]) -> Postprocess | None:
    """Return how a detector's file ends; ``None`` for another network, which has no such options."""
    if not isinstance(model, Detector):
        if asked:
            raise InputError(f"{' and '.join(asked)} go with a detector: this network finds no boxes")
        return None
    with needs("export", "exporting"):
        from featherbone.deploy.nms import Postprocess
    return Postprocess(
        **({"score": SCORE_THRESHOLD, "iou": IOU_THRESHOLD, "max_detections": MAX_DETECTIONS} | asked), table=table
    )


def _metadata(header: Header | None, postprocess: Postprocess | None) -> dict[str, Any] | None:
    """Return what the file says of itself."""
    if header is None:
        return None
    boxes = (
        {"score": postprocess.score, "iou": postprocess.iou, "max_detections": postprocess.max_detections}
        if postprocess
        else None
    )
    return header.to_dict() | ({"boxes": boxes} if boxes else {})


def _check_known(source: AnyNetwork, header: Header | None) -> None:
    if not (header and header.classes and header.preprocess):
        name = "a module" if isinstance(source, nn.Module) else source
        raise InputError(
            f"folder=True, but {name} does not say its classes and preprocessing: "
            "name a run, or a file saved with classes=... and preprocess=..."
        )


def _contents(header: Header, postprocess: Postprocess | None) -> Contents:
    """Return what a folder says of a network, as steps that a program without featherbone can follow."""
    from featherbone.data.letterbox import FILL
    from featherbone.deploy import Contents

    how = header.preprocess
    assert how is not None
    letterbox = {"resize_long_side": how.size, "place": "top left", "fill": FILL}
    crop = {"resize_short_side": round(how.size / how.crop), "crop": "center"}
    preprocessing = {
        "size": how.size,
        **(letterbox if how.fit == "letterbox" else crop),
        "interpolation": "bilinear, antialiased",
        "colours": "L" if how.channels == 1 else "BGR" if how.bgr else "RGB",
        "range": [0, 1],
        "mean": list(how.mean),
        "std": list(how.std),
    }
    return Contents(header.classes, preprocessing, postprocess)
