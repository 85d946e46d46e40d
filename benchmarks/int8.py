"""int8 beside float: accuracy on CIFAR-10's test set, and speed of ShuffleNet V2.

``python benchmarks/int8.py DATA WEIGHTS``. ``DATA`` holds CIFAR-10 as ``train_00.webp`` ... and ``test_00.webp`` ...
(sheets of 25 x 40 images of 32 pixels) with ``train_labels.npy`` and ``test_labels.npy``; ``WEIGHTS`` is a DenseNet-
BC-100 of another project. A ShuffleNet V2 is trained for a few minutes: the point is what int8 loses, not how far it
gets.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from cifar10_folder import sheet, write_images
from cifar10_weights import MEAN, STD
from torch import Tensor, nn
from torchvision.models import shufflenet_v2_x1_0

import featherbone as fb
from featherbone.cost.measurement.race import race
from featherbone.deploy.engines import Runner
from featherbone.deploy.engines import openvino as engine
from featherbone.deploy.program import captured, rewritable
from featherbone.deploy.quantize import quantized
from featherbone.deploy.variants import PLAIN, Variant

CALIBRATION = 300


def images_of(data: Path, split: str, sheets: int, mean: Tensor, std: Tensor) -> Tensor:
    """Return the first sheets of a split, preprocessed: ``(N, 3, 32, 32)``."""
    pixels = np.concatenate([sheet(data / f"{split}_{number:02}.webp") for number in range(sheets)])
    images = torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy())
    return (images / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)


def accuracy(images: Tensor, labels: Tensor) -> Callable[[Runner], float]:
    """Return the share of right answers of a function from images to outputs."""
    return lambda run: float((run(images).argmax(1) == labels).double().mean())


def compared(name: str, model: nn.Module, data: Path, mean: Tensor, std: Tensor) -> None:
    """Print float and int8 accuracy on the whole test set; the fallback looks at training images only."""
    train = images_of(data, "train", 2, mean, std)
    labels = torch.from_numpy(np.load(data / "train_labels.npy").astype(np.int64))[: len(train)]
    graph, _ = Variant().of(rewritable(captured(model, train[:2])))
    result = quantized(
        graph,
        train[:CALIBRATION],
        score=accuracy(train[CALIBRATION:], labels[CALIBRATION : len(train)]),
        log=lambda text: print(f"  {text}", flush=True),
    )
    test = images_of(data, "test", 10, mean, std)
    right = accuracy(test, torch.from_numpy(np.load(data / "test_labels.npy").astype(np.int64)))
    plain = engine.start(engine.translate(graph, test[:100]), test[:100], "f32", 2)
    before = right(lambda images: torch.cat([plain(part) for part in torch.split(images, 100)]))
    after = right(result.runner(2))
    print(f"{name}: float {before:.2%}, int8 {after:.2%} of {len(test)}: drop {100 * (before - after):.2f} points")
    kept = ", ".join(result.report.kept_float) or "none"
    print(f"  in float: {kept} (of {result.report.layers})")
    worst = sorted(result.report.layer_errors.items(), key=lambda item: -item[1])[:5]
    print(f"  largest errors: {', '.join(f'{layer} {error:.1%}' for layer, error in worst)}", flush=True)


def trained(data: Path, name: str, epochs: int, sheets: int) -> tuple[nn.Module, Tensor, Tensor]:
    """Train a network on the first sheets; return it with the mean and deviation of its preprocessing."""
    with tempfile.TemporaryDirectory() as place:
        photos = Path(place) / "photos"
        write_images(data, "train", sheets, photos / "train")
        write_images(data, "test", 1, photos / "val")
        run = fb.train(photos, name, out=Path(place) / "run", changes={"epochs": epochs}, quiet=True)
        prepare = fb.read_header(run.folder).preprocess
        assert prepare is not None
        print(f"{name}: {epochs} epochs of {1000 * sheets} images, {run.train_seconds:.0f} s", flush=True)
        return fb.load(run.folder), torch.tensor(prepare.mean), torch.tensor(prepare.std)


def timed() -> None:
    """Print the time of ShuffleNet V2 1.0 at 224 as torchvision has it and rewritten, in three precisions, in turn."""
    torch.manual_seed(0)
    model = shufflenet_v2_x1_0()
    with torch.no_grad():  # statistics as of a network in use: speed depends on weights only where they vanish
        model.train()(torch.randn(16, 3, 128, 128))
    model.eval()
    samples = torch.randn(16, 3, 224, 224)
    graph = rewritable(captured(model, samples))
    models: dict[str, tuple[object, str]] = {}
    for name, variant in (("plain", PLAIN), ("rewritten", Variant())):
        rewritten, _ = variant.of(graph)
        network = engine.translate(rewritten, samples)
        models |= {f"{name} {precision}": (network, precision) for precision in engine.precisions()}
        models[f"{name} int8"] = (quantized(rewritten, samples, max_drop=1).model, "int8")
    for batch in (1, 16):
        images = samples[:batch].contiguous()
        runners = {name: engine.start(network, images, kind, 2) for name, (network, kind) in models.items()}
        times = race(runners, images, rounds=60 if batch == 1 else 20)
        print(f"ShuffleNet V2 1.0 at 224, batch {batch}, 2 threads: median ms (p10)")
        for name, time in sorted(times.items(), key=lambda item: item[1].median_ms):
            print(f"  {time.median_ms:8.3f} ({time.p10_ms:7.3f})  {name}", flush=True)


def main() -> None:
    """Print the parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the folder with the sheets")
    parser.add_argument("weights", type=Path, help="the foreign weight file of DenseNet-BC-100")
    parser.add_argument("--model", default="shufflenet_v2_x0_5", help="what is trained")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--sheets", type=int, default=10, help="thousands of images to train on")
    parser.add_argument("--parts", default="speed,real,trained", help="some of these, by comma")
    arguments = parser.parse_args()
    parts = arguments.parts.split(",")
    if "speed" in parts:
        timed()
    if "real" in parts:
        model, _ = fb.import_weights("densenet_bc100_k12_cifar", arguments.weights)
        compared("densenet_bc100_k12_cifar", model, arguments.data, torch.tensor(MEAN), torch.tensor(STD))
    if "trained" in parts:
        network, mean, std = trained(arguments.data, arguments.model, arguments.epochs, arguments.sheets)
        compared(arguments.model, network, arguments.data, mean, std)


if __name__ == "__main__":
    main()
