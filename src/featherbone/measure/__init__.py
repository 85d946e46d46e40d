"""What a network takes on the machine at hand, with everything that the figure depends on."""

from featherbone.measure.energy import Energy as Energy
from featherbone.measure.energy import energy as energy
from featherbone.measure.latency import Timing as Timing
from featherbone.measure.latency import measure as measure
from featherbone.measure.machine import Machine as Machine
from featherbone.measure.machine import Rates as Rates
from featherbone.measure.machine import machine as machine
from featherbone.measure.machine import rates as rates
from featherbone.measure.machine import usable_cores as usable_cores
from featherbone.measure.memory import measured_peak as measured_peak
from featherbone.measure.ranks import rank_correlation as rank_correlation
