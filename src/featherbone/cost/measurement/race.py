"""Programs timed side by side that keep threads of their own."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from torch import Tensor

from featherbone.cost.measurement.latency import Timing, timing

# After a run the threads of an engine look for more work for a while, on the cores that the next one needs. Those of
# ONNX Runtime do so for more than 4 ms, in which a network that takes OpenVINO 2.3 ms takes 3.3; not for 20.
_QUIET = 0.03
_FEWEST = 2


def race(
    runners: Mapping[str, Callable[[Tensor], object]],
    images: Tensor,
    *,
    rounds: int = 12,
    in_a_row: int = 4,
    warm_up: int = 2,
    most_seconds: float = 8.0,
) -> dict[str, Timing]:
    """Time functions on the same images, each a few times in a row and then the next, round after round.

    Args:
        runners: by name.
        images: what each is called with.
        rounds: how often each gets its turn.
        in_a_row: timed runs of a turn.
        warm_up: runs of a turn that do not count, after a pause in which the others' threads go to sleep.
        most_seconds: no round begins after so long, once there were two.
    """
    times: dict[str, list[float]] = {name: [] for name in runners}
    until = time.perf_counter() + most_seconds
    for number in range(rounds):
        if number >= _FEWEST and time.perf_counter() > until:
            break
        for name, run in runners.items():
            time.sleep(_QUIET)
            for _ in range(warm_up):
                run(images)
            for _ in range(in_a_row):
                start = time.perf_counter()
                run(images)
                times[name].append((time.perf_counter() - start) * 1e3)
    return {name: timing(values) for name, values in times.items()}
