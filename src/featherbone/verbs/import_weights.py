"""Turn another project's weight file into one of ours."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from featherbone.data import Preprocess
from featherbone.data.names import class_list
from featherbone.errors import InputError, check_type, masked
from featherbone.files import AnyPath, check_replaceable, read_text
from featherbone.models import spec as named_spec
from featherbone.models import spec_from_row
from featherbone.spec import Backbone, Spec, spec_to_dict
from featherbone.verbs.evaluate import evaluate
from featherbone.weights import Imported, import_weights, save
from featherbone.weights.importers.proof import TOLERANCE
from featherbone.weights.store import MARK


def import_file(
    source: AnyPath,
    network: str | Spec,
    out: AnyPath,
    *,
    changes: Mapping[str, Any] | None = None,
    config: AnyPath | None = None,
    part: str = "",
    rename: Sequence[tuple[str, str]] = (),
    form: str = "",
    check: AnyPath | None = None,
    tolerance: float = TOLERANCE,
    data: AnyPath | None = None,
    least: float | None = None,
    classes: AnyPath | Sequence[str] = (),
    preprocess: Preprocess | None = None,
    overwrite: bool = False,
) -> tuple[Backbone, Imported]:
    """Turn another project's weights into a file of ours, which describes itself.

    Args:
        source: safetensors, a PyTorch checkpoint of tensors, or darknet's ``.weights``.
        network: the name of the network, or a row.
        out: the safetensors file to write.
        changes: columns of the row that are otherwise, as ``{"layers": (6, 12, 24)}``.
        config: darknet's ``.cfg``, if it does not lie beside the weights under the same name.
        part: which weights of several in the file, by the name under which they lie there, as "state_dict_ema".
        rename: regular expressions and replacements, applied in turn to the file's names before they are compared.
        form: the project whose form the file has, where its names and shapes are those of several.
        check: an .npz file with ``input`` ``(N, C, H, W)`` and what the original network makes of it, ``output``
            ``(N, classes)``, or its last map ``(N, channels, H, W)``.
        tolerance: the largest difference of an output that is allowed, as a share of the largest output.
        data: labelled images to evaluate the network on, as ``evaluate`` takes them.
        least: the top-1 on them that it must reach, in percent.
        classes: names of the outputs, or a text file that lists them, one a line.
        preprocess: how the weights want their images; default: as the project publishes them, if that is known.
        overwrite: replace an ``out`` that featherbone did not make.

    Returns:
        The network, and what of the file was loaded, missing or left over.

    Raises:
        InputError: if the file cannot be read or does not fit, a column is unknown or a value not allowed in it,
            outputs differ from the reference, too few answers are right, or ``out`` cannot be written. Nothing is
            written then.
    """
    check_type("network", network, (str, Spec), "the name of a network, or its row")
    check_replaceable("out", out, overwrite=overwrite, mark=MARK)
    if least is not None and (data is None or not 0 <= least <= 100):
        raise InputError(f"least={least!r} is not allowed: a percentage from 0 to 100, together with data")
    if changes:
        row = named_spec(network) if isinstance(network, str) else network
        if "family" in changes:
            raise InputError("family is no column that can be changed: name another network")
        network = spec_from_row({**spec_to_dict(row), **changes})
    model, report = import_weights(
        network, source, config=config, part=part, rename=rename, form=form, check=check, tolerance=tolerance
    )
    names = class_list(read_text(Path(classes))) if isinstance(classes, (str, os.PathLike)) else classes
    images = preprocess or report.preprocess
    if data is not None:
        report = replace(report, accuracy=_accuracy(model, report, names, images, data, least))
    save(model, out, classes=names, preprocess=images, notes=report.remarks, overwrite=overwrite)
    return model, report


def _accuracy(
    model: Backbone,
    report: Imported,
    classes: Sequence[str],
    preprocess: Preprocess | None,
    data: AnyPath,
    least: float | None,
) -> float:
    """Return the share of a data set's images whose class is right.

    Raises:
        InputError: if it is less than asked for, or the network cannot be evaluated.
    """
    if report.missing:
        raise InputError("the file has no classifier, so there is no accuracy to check: give a reference instead")
    lacking = [
        words
        for words, given in (("its classes (--classes)", classes), ("its images' mean (--mean, --std)", preprocess))
        if not given
    ]
    if lacking:
        raise InputError(f"to evaluate the network on {masked(os.fspath(data))}, say {' and '.join(lacking)}")
    with TemporaryDirectory() as folder:
        file = Path(folder) / "imported.safetensors"
        save(model, file, classes=classes, preprocess=preprocess)
        found = evaluate(file, data, quiet=True).headline
    if found is None:
        raise InputError(f"{masked(os.fspath(data))} has no images to evaluate on")
    if least is not None and 100 * found < least:
        raise InputError(
            f"top-1 on {masked(os.fspath(data))} is {found:.2%}, less than least={least:g}: nothing is written"
        )
    return found
