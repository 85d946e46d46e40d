"""The benchmark's own conversion: Megvii's ShuffleNet V2 in torchvision's form, beside our import of the same file."""

from pathlib import Path

import torch
import torchvision
from peer_weights import MAIN, MEAN, PROJECTION, REPEATS, STD, torchvision_state
from safetensors.torch import save_file
from torch import Tensor

import featherbone as fb


def megvii_state() -> dict[str, Tensor]:
    """Return random weights under the authors' names, for channels 24, 48, 96, 192."""
    state: dict[str, Tensor] = {}

    def layer(prefix: str, parts: tuple[int, int], shape: tuple[int, ...]) -> None:
        convolution, norm = (f"{prefix}.{part}" for part in parts)
        state[f"{convolution}.weight"] = torch.randn(shape) * (2 / (shape[1] * shape[2] * shape[3])) ** 0.5
        state[f"{norm}.weight"] = 0.5 + torch.rand(shape[0])
        for part in ("bias", "running_mean"):
            state[f"{norm}.{part}"] = 0.1 * torch.randn(shape[0])
        state[f"{norm}.running_var"] = 0.5 + torch.rand(shape[0])
        state[f"{norm}.num_batches_tracked"] = torch.tensor(0)

    layer("first_conv", (0, 1), (24, 3, 3, 3))
    read = 24
    for stage, repeats in enumerate(REPEATS, 2):
        half = 24 * 2 ** (stage - 2)
        for unit in range(repeats):
            where = f"stage{stage}.{unit}"
            reads = half if unit else read
            if not unit:
                layer(f"{where}.branch_proj", PROJECTION[0], (reads, 1, 3, 3))
                layer(f"{where}.branch_proj", PROJECTION[1], (half, reads, 1, 1))
            for parts, shape in zip(MAIN, ((half, reads, 1, 1), (half, 1, 3, 3), (half, half, 1, 1)), strict=True):
                layer(f"{where}.branch_main", parts, shape)
        read = 2 * half
    return state


def test_torchvision_computes_the_same(tmp_path: Path) -> None:
    """All stages, and the first convolution away from the border, where images are normalized."""
    torch.manual_seed(0)
    state, images = megvii_state(), torch.rand(2, 3, 64, 64)
    save_file(state, tmp_path / "weights.safetensors")
    ours, _ = fb.import_weights("shufflenet_v2_x0_5", tmp_path / "weights.safetensors")
    ours.eval()
    new, order = torchvision_state(state)
    theirs = torchvision.models.shufflenet_v2_x0_5(num_classes=10).eval()
    missing, unexpected = theirs.load_state_dict(new, strict=False)
    assert not unexpected
    assert {name.split(".")[0] for name in missing} == {"conv5", "fc"}
    normalized = (images.flip(1) - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    with torch.no_grad():
        first, stem = theirs.conv1(normalized), ours.stem(images)
        torch.testing.assert_close(first[..., 1:, 1:], stem[..., 1:, 1:], rtol=1e-4, atol=1e-4)
        maps = theirs.stage4(theirs.stage3(theirs.stage2(theirs.maxpool(stem))))
        expected = ours.forward_features(images)[:, order]
    torch.testing.assert_close(maps, expected, rtol=1e-3, atol=1e-3)
