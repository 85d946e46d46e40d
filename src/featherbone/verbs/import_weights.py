"""Turn another project's weight file into one of ours."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from featherbone.data import Preprocess
from featherbone.data.names import class_list
from featherbone.files import AnyPath, read_text
from featherbone.spec import Backbone
from featherbone.weights import Imported, import_weights, save


def import_file(
    source: AnyPath,
    network: str,
    out: AnyPath,
    *,
    config: AnyPath | None = None,
    part: str = "",
    classes: AnyPath | Sequence[str] = (),
    preprocess: Preprocess | None = None,
    overwrite: bool = False,
) -> tuple[Backbone, Imported]:
    """Turn another project's weights into a file of ours, which describes itself.

    Args:
        source: safetensors, a PyTorch checkpoint of tensors, or darknet's ``.weights``.
        network: the name of the network.
        out: the safetensors file to write.
        config: darknet's ``.cfg``, if it does not lie beside the weights under the same name.
        part: which weights of several in the file, by the name under which they lie there, as "state_dict_ema".
        classes: names of the outputs, or a text file that lists them, one a line.
        preprocess: how the weights want their images; default: as the project publishes them, if that is known.
        overwrite: replace an ``out`` that featherbone did not make.

    Returns:
        The network, and what of the file was loaded, missing or left over.

    Raises:
        InputError: if the file cannot be read or does not fit, or ``out`` cannot be written.
    """
    model, report = import_weights(network, source, config=config, part=part)
    names = class_list(read_text(Path(classes))) if isinstance(classes, (str, os.PathLike)) else classes
    save(model, out, classes=names, preprocess=preprocess or report.preprocess, overwrite=overwrite)
    return model, report
