"""Bricks and wirings: the whole vocabulary in which the papers' networks are written.

The networks of this field differ in what is concatenated with what. A *brick* is a convolution with its norm and
activation, in either order; a *wiring* says how the outputs of its parts meet.
"""

from featherbone.layers.bricks import Activation as Activation
from featherbone.layers.bricks import Attention as Attention
from featherbone.layers.bricks import ChannelNorm as ChannelNorm
from featherbone.layers.bricks import First as First
from featherbone.layers.bricks import Gate as Gate
from featherbone.layers.bricks import Head as Head
from featherbone.layers.bricks import Maxout as Maxout
from featherbone.layers.bricks import Scale as Scale
from featherbone.layers.bricks import Shuffle as Shuffle
from featherbone.layers.bricks import Subsample as Subsample
from featherbone.layers.bricks import blur_pool as blur_pool
from featherbone.layers.bricks import conv as conv
from featherbone.layers.bricks import depthwise as depthwise
from featherbone.layers.bricks import ese as ese
from featherbone.layers.bricks import leaky_relu as leaky_relu
from featherbone.layers.bricks import max_pool as max_pool
from featherbone.layers.bricks import pool_pyramid as pool_pyramid
from featherbone.layers.bricks import pools as pools
from featherbone.layers.bricks import preconv as preconv
from featherbone.layers.bricks import relu as relu
from featherbone.layers.bricks import se as se
from featherbone.layers.bricks import silu as silu
from featherbone.layers.cross_stage import Crossed as Crossed
from featherbone.layers.cross_stage import Fusion as Fusion
from featherbone.layers.cross_stage import bypass_channels as bypass_channels
from featherbone.layers.cross_stage import cross_stage as cross_stage
from featherbone.layers.dilation import dilate as dilate
from featherbone.layers.initialization import as_pytorch as as_pytorch
from featherbone.layers.initialization import darknet_uniform as darknet_uniform
from featherbone.layers.initialization import he_normal as he_normal
from featherbone.layers.initialization import he_normal_outputs as he_normal_outputs
from featherbone.layers.initialization import inverse_of_inputs as inverse_of_inputs
from featherbone.layers.initialization import small_classifier as small_classifier
from featherbone.layers.initialization import zero_biases as zero_biases
from featherbone.layers.initialization import zero_last_norms as zero_last_norms
from featherbone.layers.recomputation import concat as concat
from featherbone.layers.wirings import Dense as Dense
from featherbone.layers.wirings import OneShot as OneShot
from featherbone.layers.wirings import Parallel as Parallel
from featherbone.layers.wirings import Residual as Residual
from featherbone.layers.wirings import Split as Split
from featherbone.layers.wirings import Wiring as Wiring
from featherbone.layers.wirings import paths as paths
from featherbone.layers.wirings import recompute as recompute
from featherbone.layers.wirings import stochastic_depth as stochastic_depth
