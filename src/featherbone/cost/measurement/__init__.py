"""What a network takes on the machine at hand, with everything that the figure depends on."""

from featherbone.cost.measured.allocator import measured_peak as measured_peak
from featherbone.cost.measured.energy import Energy as Energy
from featherbone.cost.measured.energy import energy as energy
from featherbone.cost.measured.latency import Timing as Timing
from featherbone.cost.measured.latency import measure as measure
from featherbone.cost.measured.machine import Machine as Machine
from featherbone.cost.measured.machine import Rates as Rates
from featherbone.cost.measured.machine import machine as machine
from featherbone.cost.measured.machine import rates as rates
from featherbone.cost.measured.machine import usable_cores as usable_cores
from featherbone.cost.measured.ranks import rank_correlation as rank_correlation
