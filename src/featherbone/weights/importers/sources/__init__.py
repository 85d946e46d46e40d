"""The forms in which other projects publish each family."""

from collections.abc import Mapping

from featherbone.weights.importers.sources.c3 import CS3DARKNET, CSPNEXT
from featherbone.weights.importers.sources.cspnet import CSPDARKNET, CSPRESNET, RDNET, YOLOX
from featherbone.weights.importers.sources.densenet import DENSENET, PELEENET
from featherbone.weights.importers.sources.resnet import RESNET
from featherbone.weights.importers.sources.shufflenet import SHUFFLENET_V1, SHUFFLENET_V2
from featherbone.weights.importers.sources.source import Layer as Layer
from featherbone.weights.importers.sources.source import LayerMapping as LayerMapping
from featherbone.weights.importers.sources.source import Project as Project
from featherbone.weights.importers.sources.source import State as State
from featherbone.weights.importers.sources.vovnet import VOVNET, VOVNET_V2

SOURCES: Mapping[str, tuple[Project, ...]] = {
    "densenet": DENSENET,
    "peleenet": PELEENET,
    "cspresnet": CSPRESNET,
    "cspdarknet": CSPDARKNET,
    "resnet": RESNET,
    "cspdarknet_yolox": YOLOX,
    "cs3darknet": CS3DARKNET,
    "cspnext": CSPNEXT,
    "vovnet": VOVNET,
    "vovnet_v2": VOVNET_V2,
    "shufflenet_v1": SHUFFLENET_V1,
    "shufflenet_v2": SHUFFLENET_V2,
    "rdnet": RDNET,
}
