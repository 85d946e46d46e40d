"""Turn another project's weight file into one of ours."""

from __future__ import annotations

from collections.abc import Sequence

from featherbone.data import Preprocess
from featherbone.files import AnyPath
from featherbone.spec import Backbone
from featherbone.weights import Imported, import_weights, save


def import_file(
    source: AnyPath,
    network: str,
    out: AnyPath,
    *,
    config: AnyPath | None = None,
    classes: Sequence[str] = (),
    preprocess: Preprocess | None = None,
) -> tuple[Backbone, Imported]:
    """Turn another project's weights into a file of ours, which describes itself.

    Args:
        source: safetensors, a PyTorch checkpoint of tensors, or darknet's ``.weights``.
        network: the name of the network.
        out: the safetensors file to write.
        config: darknet's ``.cfg``, if it does not lie beside the weights under the same name.
        classes: names of the outputs.
        preprocess: how the weights want their images; default: as the project publishes them, if that is known.

    Returns:
        The network, and what of the file was loaded, missing or left over.

    Raises:
        InputError: if the file cannot be read or does not fit, or ``out`` cannot be written.
    """
    model, report = import_weights(network, source, config=config)
    save(model, out, classes=classes, preprocess=preprocess or report.preprocess)
    return model, report
