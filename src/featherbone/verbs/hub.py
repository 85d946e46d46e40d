"""Networks on the Hugging Face hub: upload one, or fetch one."""

from __future__ import annotations

import os
from collections.abc import Sequence

from featherbone.data import Preprocess
from featherbone.errors import InputError, check_type, first_line, needs
from featherbone.spec import Backbone
from featherbone.weights import Header


def push_to_hub(
    model: Backbone,
    repository: str,
    *,
    classes: Sequence[str] = (),
    preprocess: Preprocess | None = None,
    private: bool = False,
) -> str:
    """Upload a network to the Hugging Face hub with its row, class names and preprocessing; return the address.

    Args:
        model: the network.
        repository: "user/name".
        classes: names of the outputs.
        preprocess: how the network wants its images.
        private: whether only you may see it.

    Raises:
        InputError: if the hub cannot be reached or refuses.
    """
    check_type("model", model, Backbone, "a classifier")
    check_type("repository", repository, str, "'user/name'")
    with needs("hub", "the Hugging Face hub"):
        from featherbone.weights.hub import HubModel
    try:
        shared = HubModel(model, Header(model.spec, tuple(classes), preprocess))
        return str(shared.push_to_hub(repository, private=private))
    except OSError as error:
        raise InputError(f"{repository} cannot be uploaded: {first_line(error)}") from error


def from_pretrained(repository: str | os.PathLike[str]) -> Backbone:
    """Return a network that ``push_to_hub`` uploaded, or one in a folder, in evaluation mode.

    Args:
        repository: "user/name", or a folder that holds its file.

    Raises:
        InputError: if it cannot be reached or read.
    """
    check_type("repository", repository, (str, os.PathLike), "'user/name', or a folder")
    with needs("hub", "the Hugging Face hub"):
        from featherbone.weights.hub import HubModel
    try:
        return HubModel.from_pretrained(os.fspath(repository)).model
    except OSError as error:
        raise InputError(f"{repository} cannot be downloaded: {first_line(error)}") from error
