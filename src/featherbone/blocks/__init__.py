"""The papers' blocks, one file a paper, for a network of anybody's own; the families in ``models`` are made of them.

A block is a function that returns a plain ``nn.Module`` of ``featherbone.layers``, ``(B, c_in, H, W)`` to
``(B, c_out, H / stride, W / stride)``, rounded up but by a transition's pool. Its input is never changed in place. A
``dilation`` spreads its kernels wider than 1x1, and the padding with them.
"""

from featherbone.blocks.cspnet import csp_dense_block as csp_dense_block
from featherbone.blocks.densenet import dense_block as dense_block
from featherbone.blocks.densenet import dense_layer as dense_layer
from featherbone.blocks.densenet import transition as transition
from featherbone.blocks.shufflenet_v1 import shufflenet_v1_unit as shufflenet_v1_unit
from featherbone.blocks.shufflenet_v2 import shufflenet_v2_unit as shufflenet_v2_unit
from featherbone.blocks.vovnet import osa_module as osa_module
from featherbone.blocks.vovnet import separable_conv as separable_conv
