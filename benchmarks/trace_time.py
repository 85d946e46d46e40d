"""Three ways to learn what a network runs, on DenseNet-201 at 224: time, and which networks they can trace at all.

Each measurement is a fresh interpreter, because the first trace is the one that a user waits for.
"""

import statistics
import subprocess
import sys

RUNS = 3

PREPARE = """
import time, torch, torch.fx, torch.export, featherbone as fb
from torch.fx.passes.shape_prop import ShapeProp
from featherbone.graph import trace
model, image = fb.create_model("densenet201").eval(), torch.randn(1, 3, 224, 224)

class Branching(torch.nn.Module):
    def forward(self, x):
        return x.relu() if x.shape[2] > 8 else x

branching = Branching()

def fx(module, image):
    ghost = torch.fx.symbolic_trace(module).to("meta")
    ShapeProp(ghost).propagate(image.to("meta"))
    return len(ghost.graph.nodes)

def export(module, image):
    return len(torch.export.export(module, (image,), strict=False).graph.nodes)

def recorded(module, image):
    return len(trace(module, image.shape[2]).nodes)
"""

MEASURE = """
start = time.perf_counter()
nodes = {0}(model, image)
first = time.perf_counter() - start
start = time.perf_counter()
{0}(model, image)
again = time.perf_counter() - start
try:
    {0}(branching, image)
    branches = "yes"
except Exception as error:
    branches = "no (" + type(error).__name__ + ")"
print(first, again, nodes, branches, sep="|")
"""


def main() -> None:
    """Print one line per way."""
    print(f"{'DenseNet-201 at 224':<30}{'first, s':>10}{'again, s':>10}{'nodes':>8}   control flow on shapes")
    ways = {"torch.fx, then shapes on meta": "fx", "torch.export": "export", "recorded at dispatch (ours)": "recorded"}
    for name, way in ways.items():
        command = [sys.executable, "-c", PREPARE + MEASURE.format(way)]
        runs = [
            subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip().split("|")
            for _ in range(RUNS)
        ]
        first, again = (statistics.median(float(run[i]) for run in runs) for i in (0, 1))
        print(f"{name:<30}{first:>10.2f}{again:>10.2f}{runs[0][2]:>8}   {runs[0][3]}")


if __name__ == "__main__":
    main()
