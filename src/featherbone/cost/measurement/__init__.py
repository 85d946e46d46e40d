"""What a network takes on the machine at hand, with everything that the figure depends on."""

from featherbone.cost.measurement.allocator import measured_peak as measured_peak
from featherbone.cost.measurement.energy import Energy as Energy
from featherbone.cost.measurement.energy import energy as energy
from featherbone.cost.measurement.latency import Timing as Timing
from featherbone.cost.measurement.latency import measure as measure
from featherbone.cost.measurement.machine import Machine as Machine
from featherbone.cost.measurement.machine import Rates as Rates
from featherbone.cost.measurement.machine import machine as machine
from featherbone.cost.measurement.machine import rates as rates
from featherbone.cost.measurement.machine import usable_cores as usable_cores
from featherbone.cost.measurement.ranks import rank_correlation as rank_correlation
