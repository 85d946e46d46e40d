"""One file an engine: what it runs in, what it reads, and how it starts."""

from __future__ import annotations

from collections.abc import Mapping

from featherbone.deploy.engines.aot import AOT
from featherbone.deploy.engines.cuda_graphs import CUDA_GRAPHS
from featherbone.deploy.engines.eager import EAGER
from featherbone.deploy.engines.engine import Engine as Engine
from featherbone.deploy.engines.engine import Runner as Runner
from featherbone.deploy.engines.onnxruntime import ONNXRUNTIME
from featherbone.deploy.engines.openvino import OPENVINO
from featherbone.deploy.engines.torch_compile import COMPILED

_ALL = (OPENVINO, ONNXRUNTIME, EAGER, COMPILED, AOT, CUDA_GRAPHS)
ENGINES: Mapping[str, Engine] = {engine.name: engine for engine in _ALL}

# those that start in seconds; the compilers take minutes, and are tried when they are named
QUICK = (OPENVINO.name, ONNXRUNTIME.name, EAGER.name)
QUICK_ON_GPU = (CUDA_GRAPHS.name,)
