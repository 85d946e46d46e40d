"""A peer's own training script, put on the clock: ``python benchmarks/peer.py TRAINER PLACE -- ARGUMENTS``.

``benchmarks/equal_time.py`` starts this file with the interpreter that has the peers; it needs nothing of featherbone.
All is imported before the clock starts. Printed are a line "peer: versions ..." where it starts, what the script
prints, and a line "peer: seconds ..." at the end.

    TRAINER     torchvision, timm, or ultralytics
    PLACE       of train.py; of ultralytics: anything, it is a package
    ARGUMENTS   of the script
    --seed      for torchvision's script, which has no option for it
    --weights   of a shufflenet_v2_x0_5 with torchvision's names, as safetensors, all but the last layers; torchvision's
                script then knows a network "from_weights" that begins with them, with as many classes as it asks for
"""

import argparse
import importlib
import importlib.util
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any


def script(path: Path) -> Any:
    """Return a script as a module, imported as if it were started in its folder."""
    sys.path.insert(0, str(path.parent))
    found = importlib.util.spec_from_file_location("script", path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def register(weights: Path) -> None:
    """Make the network "from_weights" known to ``torchvision.models``."""
    models: Any = importlib.import_module("torchvision.models")
    loaded = importlib.import_module("safetensors.torch").load_file(weights)

    def from_weights(*, num_classes: int, **_: Any) -> Any:
        network = models.shufflenet_v2_x0_5(num_classes=num_classes)
        missing, unexpected = network.load_state_dict(loaded, strict=False)
        assert not unexpected, unexpected
        assert all(name.startswith(("conv5.", "fc.")) for name in missing), missing
        return network

    # its only door; the public functions read what it registers
    importlib.import_module("torchvision.models._api").register_model(name="from_weights")(from_weights)


def entrance(trainer: str, place: Path, arguments: list[str]) -> Callable[[], Any]:
    """Return what starts the training."""
    sys.argv = [str(place), *arguments]
    if trainer == "ultralytics":
        importlib.import_module("ultralytics.models.yolo.classify")
        return importlib.import_module("ultralytics.cfg").entrypoint
    module = script(place)
    if trainer == "timm":
        return module.main
    return lambda: module.main(module.get_args_parser().parse_args(arguments))


def main() -> None:
    """Import, start the clock, train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trainer", choices=("torchvision", "timm", "ultralytics"))
    parser.add_argument("place", type=Path)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--weights", type=Path)
    split = sys.argv.index("--")
    options, arguments = parser.parse_args(sys.argv[1:split]), sys.argv[split + 1 :]
    start = entrance(options.trainer, options.place, arguments)
    if options.weights is not None:
        register(options.weights)
    if options.seed is not None:
        importlib.import_module("torch").manual_seed(options.seed)
    packages = dict.fromkeys((options.trainer, "torch"))
    print("peer: versions", ", ".join(f"{name} {version(name)}" for name in packages), flush=True)
    begun = time.perf_counter()
    start()
    print(f"\npeer: seconds {time.perf_counter() - begun:.1f}", flush=True)


if __name__ == "__main__":
    main()
