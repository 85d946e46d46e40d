"""Networks on the Hugging Face hub, by the hub's own mixin."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from huggingface_hub import ModelHubMixin, hf_hub_download

from featherbone.spec import Backbone
from featherbone.weights.store import FILE_NAME, Header, load, read_header, save


class HubModel(ModelHubMixin, library_name="featherbone", tags=["image-classification"]):
    """A network with what its weight file says of it; the mixin gives push_to_hub, save_pretrained, from_pretrained."""

    def __init__(self, model: Backbone, header: Header) -> None:
        self.model = model
        self.header = header

    def _save_pretrained(self, save_directory: Path) -> None:
        save(
            self.model,
            save_directory / FILE_NAME,
            classes=self.header.classes,
            preprocess=self.header.preprocess,
            notes=self.header.notes,
        )

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        **_: Any,
    ) -> Self:
        local = Path(model_id) / FILE_NAME
        file = (
            local
            if local.exists()
            else hf_hub_download(
                model_id,
                FILE_NAME,
                revision=revision,
                cache_dir=cache_dir,
                force_download=force_download,
                local_files_only=local_files_only,
                token=token,
            )
        )
        return cls(load(file, Backbone), read_header(file))
