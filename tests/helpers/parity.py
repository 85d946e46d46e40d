"""Which of our networks equals which network of another library: name, library, its name, our columns that differ."""

from typing import Any

Pair = tuple[str, str, str, dict[str, Any]]

_SHUFFLENET_V1 = {"x0_25": "wd4", "x0_5": "wd2", "x0_75": "w3d4", "x1_0": "w1"}
_SIZES = ("x0_5", "x1_0", "x1_5", "x2_0")
_CIFAR: dict[str, dict[str, Any]] = {
    "densenet_bc100_k12_cifar": {},
    "densenet_bc250_k24_cifar": {},
    "densenet_bc190_k40_cifar": {},
    "densenet_bc40_k36_cifar": {},
    # pytorchcv's plain ones have another stem and compress their transitions, which the paper's do not
    "densenet40_k12_cifar": {"stem_channels": 24, "compression": 0.5},
    "densenet100_k12_cifar": {"stem_channels": 24, "compression": 0.5},
    "densenet100_k24_cifar": {"stem_channels": 48, "compression": 0.5},
}


def _pytorchcv_cifar(name: str) -> str:
    _, depth, rest = name.replace("_bc", "_").replace("densenet", "densenet_").replace("__", "_").split("_", 2)
    return f"densenet{depth}_{rest.removesuffix('_cifar')}{'_bc' if '_bc' in name else ''}"


PAIRS: list[Pair] = [
    *((f"densenet{n}", library, f"densenet{n}", {})
      for library in ("torchvision", "timm", "pytorchcv") for n in (121, 161, 169, 201)),
    *((f"shufflenet_v2_{x}.tv", "torchvision", f"shufflenet_v2_{x}", {}) for x in _SIZES),
    *((name, library, theirs, {}) for library, name, theirs in (
        ("torchvision", "resnet50", "resnet50"), ("timm", "resnet50", "resnet50"),
        ("torchvision", "resnext50", "resnext50_32x4d"), ("timm", "resnext50", "resnext50_32x4d"))),
    *((f"{name}.timm", "timm", name, {}) for name in (
        "cspresnet50", "cspresnext50", "cspdarknet53", "darknet53", "darknetaa53", "densenetblur121d",
        *(f"cs3darknet{focus}_{size}" for focus in ("", "_focus") for size in ("s", "m", "l", "x")),
        "cs3sedarknet_l", "cs3sedarknet_x", "cs3edgenet_x", "cs3se_edgenet_x",
        *(f"cspnext_{size}" for size in ("tiny", "s", "m", "l", "x")))),
    *((f"vovnet_v2_{name}", "timm", f"ese_vovnet{theirs}", {}) for name, theirs in (
        ("19_slim_dw", "19b_slim_dw"), ("19_dw", "19b_dw"), ("19_slim", "19b_slim"),
        ("39.timm", "39b"), ("57.timm", "57b"), ("99.timm", "99b"))),
    *((f"{name}.timm", "timm", name, {}) for name in ("vovnet39a", "vovnet57a")),
    *((f"rdnet_{size}", "timm", f"rdnet_{size}", {}) for size in ("tiny", "small", "base", "large")),
    *((name, "pytorchcv", f"{_pytorchcv_cifar(name)}_cifar10", columns) for name, columns in _CIFAR.items()),
    *((name, "pytorchcv", f"{_pytorchcv_cifar(name)}_cifar100", {**_CIFAR[name], "num_classes": 100})
      for name in ("densenet_bc100_k12_cifar", "densenet_bc40_k36_cifar", "densenet40_k12_cifar")),
    *((name, "pytorchcv", f"{_pytorchcv_cifar(name)}_svhn", _CIFAR[name])
      for name in ("densenet_bc100_k12_cifar", "densenet40_k12_cifar")),
    ("densenet_bc40_k36_cifar", "pytorchcv", "densenet40_k24_bc_cifar10", {"growth_rate": 24, "stem_channels": 48}),
    ("densenet_bc40_k36_cifar", "pytorchcv", "densenet40_k12_bc_cifar10", {"growth_rate": 12, "stem_channels": 24}),
    *((f"shufflenet_v1_g{g}_{x}.pcv", "pytorchcv", f"shufflenet_g{g}_{_SHUFFLENET_V1[x]}", {})
      for g in (1, 2, 3, 4, 8) for x in _SHUFFLENET_V1 if x == "x1_0" or g in (1, 3)),
    *((f"shufflenet_v2_{x}.pcv", "pytorchcv", f"shufflenetv2b_{w}", {})
      for x, w in zip(_SIZES, ("wd2", "w1", "w3d2", "w2"), strict=True)),
    ("peleenet", "pytorchcv", "peleenet", {}),
    ("darknet53", "pytorchcv", "darknet53", {}),
    ("vovnet27_slim", "pytorchcv", "vovnet27s", {}),
    ("vovnet39", "pytorchcv", "vovnet39", {}),
    ("vovnet57", "pytorchcv", "vovnet57", {}),
]  # fmt: skip
