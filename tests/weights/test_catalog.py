"""Published weights: where they are, how they want their images, and the way to the hub and back."""

from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import timm
import torch
import torchvision
from helpers.reference import differs, randomize
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

import featherbone as fb
from featherbone.data.transforms import evaluation_transform
from featherbone.weights.catalog import PUBLISHED
from featherbone.weights.importers.match import layers_of
from featherbone.weights.importers.sources import SOURCES


def test_published_preprocessing_comes_along(tmp_path: Path) -> None:
    torch.save(torchvision.models.densenet121().state_dict(), tmp_path / "m.pth")
    _, report = fb.import_weights("densenet121", tmp_path / "m.pth")
    assert (
        report.preprocess == fb.published_weights("densenet121").preprocess == fb.Preprocess.usual(224, 3, crop=0.875)
    )


@pytest.mark.parametrize("name", [name for name, weights in PUBLISHED.items() if weights.place == "torchvision"])
def test_preprocessing_is_that_of_torchvisions_weights(name: str) -> None:
    ours, weights = PUBLISHED[name].preprocess, next(iter(torchvision.models.get_model_weights(PUBLISHED[name].name)))
    theirs = weights.transforms()
    assert [ours.size] == theirs.crop_size
    assert [ours.size / ours.crop] == pytest.approx(theirs.resize_size)
    assert (list(ours.mean), list(ours.std), ours.bgr) == (theirs.mean, theirs.std, False)


@pytest.mark.parametrize("name", [name for name, weights in PUBLISHED.items() if weights.place == "hub"])
def test_preprocessing_is_that_of_timms_configurations(name: str) -> None:
    ours, theirs = PUBLISHED[name].preprocess, timm.get_pretrained_cfg(PUBLISHED[name].name.partition("/")[2])
    assert theirs is not None
    assert theirs.hf_hub_id == PUBLISHED[name].name
    assert (ours.channels, ours.size, ours.size) == theirs.input_size
    assert (ours.crop, ours.mean, ours.std, ours.bgr) == (theirs.crop_pct, theirs.mean, theirs.std, False)


def test_blue_first_images_are_turned_round() -> None:
    transform = evaluation_transform(fb.Preprocess(size=2, mean=(0.0, 0.0, 0.5), std=(1.0, 1.0, 1.0), bgr=True))
    pixels = np.zeros((2, 2, 3), np.uint8)
    pixels[..., 0] = 255  # red
    assert transform(Image.fromarray(pixels))[:, 0, 0].tolist() == [0.0, 0.0, 0.5]


def test_published_weights_are_named_or_their_form_is() -> None:
    assert fb.published_weights("densenet121").place == "torchvision"
    assert fb.published_weights("cspresnet50.timm").name == "timm/cspresnet50.ra_in1k"
    with pytest.raises(fb.InputError, match=r"cspresnet50\.timm has some"):
        fb.published_weights("cspresnet50")
    with pytest.raises(fb.InputError, match="those that have are densenet121"):
        fb.create_model("peleenet", pretrained=True)
    with pytest.raises(fb.InputError, match="needs the name"):
        fb.create_model(fb.spec("densenet121"), pretrained=True)


def test_torchvisions_weights_are_downloaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = randomize(torchvision.models.shufflenet_v2_x0_5())
    asked: list[str] = []

    def arrive(url: str, target: str, hash_prefix: str, *, progress: bool) -> None:
        assert not progress
        asked.append(f"{url} {hash_prefix}")
        torch.save(theirs.state_dict(), target)

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", arrive)
    for _ in range(2):
        model = fb.create_model("shufflenet_v2_x0_5.tv", pretrained=True).eval()
        assert differs(model, theirs) < 1e-6
    assert asked == ["https://download.pytorch.org/models/shufflenetv2_x0.5-f707e7126e.pth f707e7126e"]
    maps = fb.create_model("shufflenet_v2_x0_5.tv", pretrained=True, features_only=True, in_chans=1, out_indices=(-1,))
    assert maps.channels == (192,)


def test_weights_at_an_address_are_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The authors' files of VoVNet; a file of this machine stands in for theirs."""
    torch.manual_seed(0)
    ours = randomize(fb.create_model("vovnet39"))
    place = tmp_path / "there" / "vovnet39_torchvision.pth"
    place.parent.mkdir()
    torch.save(under_the_authors_names(ours), place)
    published = PUBLISHED["vovnet39"]
    assert published.place == "url"
    assert published.name.startswith("https://dl.dropbox.com/")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "cache"))
    table = {**PUBLISHED, "vovnet39": replace(published, name=f"{place.as_uri()}?dl=1")}
    monkeypatch.setattr("featherbone.weights.catalog.PUBLISHED", table)
    with pytest.raises(fb.InputError, match="featherbone import FILE --as vovnet39"):
        fb.create_model("vovnet39", pretrained=True)  # a file's address has no query
    table["vovnet39"] = replace(published, name=place.as_uri())
    assert differs(fb.create_model("vovnet39", pretrained=True).eval(), ours) < 1e-6
    place.unlink()
    assert differs(fb.create_model("vovnet39", pretrained=True).eval(), ours) < 1e-6
    gone = tmp_path / "there" / "vovnet57_torchvision.pth"
    gone.write_text("<html>This file was deleted</html>")
    table["vovnet57"] = replace(PUBLISHED["vovnet57"], name=gone.as_uri())
    with pytest.raises(
        fb.InputError, match=r"github\.com/stigma0617/VoVNet\.pytorch.*no PyTorch checkpoint.*import FILE"
    ):
        fb.create_model("vovnet57", pretrained=True)
    assert not (tmp_path / "cache" / "checkpoints" / gone.name).exists()


def under_the_authors_names(ours: fb.Backbone) -> dict[str, Tensor]:
    """Return a VoVNet's state under its authors' names, which have slashes."""
    state: dict[str, Tensor] = {}
    source = SOURCES["vovnet"][0]
    for (_, part), layer in zip(layers_of(ours), source.layers_of(ours.spec), strict=True):
        state |= {f"{layer}.{tensor}": value for tensor, value in part.state_dict().items()}
    return state


def test_without_a_net_one_sentence_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: object, **__: object) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", nothing)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", nothing)
    for name in ("densenet121", "rdnet_tiny"):
        with pytest.raises(
            fb.InputError, match=f"(?s)service not known.*featherbone import FILE --as {name}"
        ) as caught:
            fb.create_model(name, pretrained=True)
        assert "\n" not in str(caught.value)


def test_a_failure_without_words_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise TimeoutError

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fail)
    with pytest.raises(fb.InputError, match="cannot be downloaded: TimeoutError"):
        fb.create_model("rdnet_tiny", pretrained=True)


def test_the_hubs_weights_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = randomize(timm.create_model("ese_vovnet19b_dw"))
    good, damaged = tmp_path / "good.safetensors", tmp_path / ("0" * 64)
    save_file(theirs.state_dict(), good)
    damaged.write_bytes(good.read_bytes())
    place = {"file": good}
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_: str(place["file"]))
    assert differs(fb.create_model("vovnet_v2_19_dw", pretrained=True).eval(), theirs) < 1e-6
    place["file"] = damaged
    with pytest.raises(fb.InputError, match="damaged"):
        fb.create_model("vovnet_v2_19_dw", pretrained=True)


def offline(*_: object, **__: object) -> None:
    """Fail as without a net."""
    raise OSError("no route to host")


def test_a_network_goes_to_the_hub_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = randomize(fb.create_model("shufflenet_v2_x0_5", num_classes=2))
    uploaded = tmp_path / "uploaded"

    class Api:
        def __init__(self, *_: object, **__: object) -> None: ...

        def create_repo(self, repo_id: str, **_: object) -> Any:
            return type("Repo", (), {"repo_id": repo_id})()

        def upload_folder(self, folder_path: Path, **_: object) -> str:
            uploaded.mkdir()
            for file in Path(folder_path).iterdir():
                (uploaded / file.name).write_bytes(file.read_bytes())
            return "https://hub/me/net"

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Api)
    preprocess = fb.Preprocess.usual(64, 3)
    assert fb.push_to_hub(model, "me/net", classes=("a", "b"), preprocess=preprocess) == "https://hub/me/net"
    again = fb.from_pretrained(uploaded)
    assert differs(again, model) == 0
    assert fb.read_header(uploaded).classes == ("a", "b")
    assert fb.read_header(uploaded).preprocess == preprocess
    for place in ("featherbone.weights.hub.hf_hub_download", "huggingface_hub.hub_mixin.hf_hub_download"):
        monkeypatch.setattr(place, offline)
    with pytest.raises(fb.InputError, match="cannot be downloaded: no route to host"):
        fb.from_pretrained("me/absent")
