"""CNN backbones built on feature reuse: build them, measure them, train them, ship them.

>>> import featherbone as fb
>>> model = fb.create_model("vovnet39", num_classes=10)
>>> maps = fb.create_model("densenet121", features_only=True, out_indices=(1, 2, 3))
>>> maps.strides
(4, 8, 16)
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from featherbone import signals as signals  # a request to stop may come while the rest is imported

if TYPE_CHECKING:
    from featherbone import blocks as blocks  # a room that is public as it is
    from featherbone.api import *  # noqa: F403 - all that it has is public

    __all__: list[str]
    __version__: str


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("featherbone")
    except PackageNotFoundError:  # sources on a path, or packed into a program without metadata
        return "unknown"


class _Package(ModuleType):
    """Public names are imported when the first of them is used: what needs none of them, such as --help, is quick."""

    def __getattr__(self, name: str) -> Any:
        if name == "__version__":
            return _version()
        if name.startswith("__") and name != "__all__":  # tools ask for such names, and no function has one
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        api = vars(import_module("featherbone.api"))
        public = {name: value for name, value in api.items() if not name.startswith("_")}
        vars(self).update(public, __all__=list(public))
        if name not in vars(self):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return vars(self)[name]

    def __setattr__(self, name: str, value: Any) -> None:
        # a room that is imported becomes an attribute of its package, but these names are functions
        if not (isinstance(value, ModuleType) and name in ("cost", "spec")):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*vars(self), *self.__all__})


sys.modules[__name__].__class__ = _Package
