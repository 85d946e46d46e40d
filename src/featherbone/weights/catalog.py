"""Where the weights that others trained are published, and how to get them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

import torch

from featherbone.data import Preprocess
from featherbone.errors import InputError, first_line, needs, some
from featherbone.models import spec
from featherbone.weights.signature import is_torch, read_start

_HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Published:
    """Weights of one network.

    Attributes:
        place: "torchvision", which knows their address, "hub", the Hugging Face hub, or "url", an address.
        name: what they are called there; the address.
        preprocess: how they want their images.
    """

    place: str
    name: str
    preprocess: Preprocess


def _usual(place: str, name: str, size: int = 224, crop: float = 0.875) -> Published:
    return Published(place, name, Preprocess.usual(size, 3, crop=crop))


# the authors of VoVNet list these two in the README of their repository and in its code
_VOVNET = "https://github.com/stigma0617/VoVNet.pytorch"
_VOVNET_FILES = {
    "vovnet39": "https://dl.dropbox.com/s/1lnzsgnixd8gjra/vovnet39_torchvision.pth?dl=1",
    "vovnet57": "https://dl.dropbox.com/s/6bfu9gstbwfw31m/vovnet57_torchvision.pth?dl=1",
}
PUBLISHED: Mapping[str, Published] = {
    **{f"densenet{n}": _usual("torchvision", f"densenet{n}") for n in (121, 161, 169, 201)},
    **{f"shufflenet_v2_x{x}.tv": _usual("torchvision", f"shufflenet_v2_x{x}") for x in ("0_5", "1_0")},
    # the newer recipe resizes to 232
    **{f"shufflenet_v2_x{x}.tv": _usual("torchvision", f"shufflenet_v2_x{x}", crop=224 / 232) for x in ("1_5", "2_0")},
    "resnet50": _usual("torchvision", "resnet50"),
    "resnext50": _usual("torchvision", "resnext50_32x4d"),
    "cspresnet50.timm": _usual("hub", "timm/cspresnet50.ra_in1k", 256, 0.887),
    "cspresnext50.timm": _usual("hub", "timm/cspresnext50.ra_in1k", 256, 0.887),
    "cspdarknet53.timm": _usual("hub", "timm/cspdarknet53.ra_in1k", 256, 0.887),
    "darknet53.timm": _usual("hub", "timm/darknet53.c2ns_in1k", 256, 0.887),
    **{name: _usual("url", address) for name, address in _VOVNET_FILES.items()},
    "vovnet_v2_19_dw": _usual("hub", "timm/ese_vovnet19b_dw.ra_in1k"),
    "vovnet_v2_39.timm": _usual("hub", "timm/ese_vovnet39b.ra_in1k"),
    "vovnet_v2_57.timm": Published(
        "hub",
        "timm/ese_vovnet57b.ra4_e3600_r256_in1k",
        Preprocess(size=256, mean=_HALF, std=_HALF, crop=0.95),
    ),
    "densenetblur121d.timm": _usual("hub", "timm/densenetblur121d.ra_in1k"),
    "darknetaa53.timm": _usual("hub", "timm/darknetaa53.c2ns_in1k", 256, 0.887),
    **{f"cs3{name}.timm": _usual("hub", f"timm/cs3{name}.c2ns_in1k", 256, 0.887)
       for name in ("darknet_m", "darknet_l", "darknet_focus_m", "darknet_focus_l", "sedarknet_l", "sedarknet_x")},
    **{f"cs3{name}.timm": _usual("hub", f"timm/cs3{name}.c2ns_in1k", 256, 0.95)
       for name in ("darknet_x", "se_edgenet_x")},
    "cs3edgenet_x.timm": _usual("hub", "timm/cs3edgenet_x.c2_in1k", 256, 0.887),
    "cs3darknet_focus_s.timm": Published(
        "hub",
        "timm/cs3darknet_focus_s.ra4_e3600_r256_in1k",
        Preprocess(size=256, mean=_HALF, std=_HALF, crop=0.887),
    ),
    **{f"cspnext_{size}.timm": _usual("hub", f"munehiro-k/cspnext_{size}.rsb_a1_in1k", crop=0.949)
       for size in ("tiny", "s", "m", "l", "x")},
    **{f"rdnet_{size}": _usual("hub", f"naver-ai/rdnet_{size}.nv_in1k", crop=0.9)
       for size in ("tiny", "small", "base", "large")},
}  # fmt: skip


def published_weights(name: str) -> Published:
    """Return where the weights of a network are published.

    Raises:
        InputError: if the network is unknown, or nobody publishes weights of it; if another form of it has some, the
            message names that form.
    """
    spec(name)
    if name in PUBLISHED:
        return PUBLISHED[name]
    stem = name.partition(".")[0]
    others = [other for other in PUBLISHED if other.partition(".")[0] == stem]
    hint = f"; {some(others)} has some" if others else f": those that have are {some(list(PUBLISHED), 99)}"
    raise InputError(f"nobody publishes weights of {name} for download{hint}")


def download(name: str) -> Path:
    """Return the file of a network's published weights, from the cache or from the net, its checksum compared.

    Raises:
        InputError: if there are none, they cannot be reached, or they arrive damaged.
    """
    published = published_weights(name)
    try:
        return _GET[published.place](published.name)
    except (URLError, OSError, RuntimeError) as error:
        reason = first_line((isinstance(error, URLError) and error.reason) or error)
        at = f"at {published.name}; {_VOVNET} lists them" if published.place == "url" else ""
        where = at or f"{published.name} at {published.place}"
        raise InputError(
            f"the weights of {name} ({where}) are not on this machine and cannot be "
            f"downloaded: {reason}. Fetch the file elsewhere, and 'featherbone import FILE --as {name}'"
        ) from error


def _from_torchvision(name: str) -> Path:
    with needs("train", "knowing the addresses of torchvision's weights"):
        from torchvision.models import get_model_weights
    url = next(iter(get_model_weights(name))).url
    target = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        # the name ends in the beginning of the file's SHA-256; torch writes to a temporary file first
        start = target.stem.rpartition("-")[2]
        torch.hub.download_url_to_file(url, os.fspath(target), hash_prefix=start, progress=False)
    return target


def _from_hub(repository: str) -> Path:
    with needs("hub", "the Hugging Face hub"):
        from huggingface_hub import hf_hub_download
    file = Path(hf_hub_download(repository, "model.safetensors"))
    stored = file.resolve()  # the hub's cache calls a large file by its SHA-256
    if len(stored.name) == 64:  # hexadecimal digits
        with stored.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != stored.name:
                raise OSError(f"{stored} is damaged: delete it and try again")
    return file


def _from_url(address: str) -> Path:
    target = Path(torch.hub.get_dir()) / "checkpoints" / address.rpartition("/")[2].partition("?")[0]
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(address, os.fspath(target), progress=False)
        if not is_torch(read_start(target), target):  # a page that says that the file is gone
            target.unlink()
            raise OSError("what the address answers is no PyTorch checkpoint")
    return target


_GET = {"torchvision": _from_torchvision, "hub": _from_hub, "url": _from_url}
