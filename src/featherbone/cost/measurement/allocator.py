"""The allocator's own peak during one run."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from featherbone.cost.measurement.setting import Setting


def measured_peak(run: Callable[[], object], setting: Setting) -> int | None:
    """Return the most bytes that PyTorch's allocator held at once during ``run``, beyond what it held before.

    On the processor by PyTorch's profiler, on CUDA by the allocator's own counter; ``None`` on MPS, whose allocator
    counts no peak. Call ``run`` once before, so that what is kept for good is there already.
    """
    if setting.device.startswith("mps"):
        return None
    if setting.device.startswith("cuda"):
        torch.cuda.synchronize(setting.device)
        torch.cuda.reset_peak_memory_stats(setting.device)
        before = torch.cuda.memory_allocated(setting.device)
        run()
        torch.cuda.synchronize(setting.device)
        return torch.cuda.max_memory_allocated(setting.device) - before
    cpu = [torch.profiler.ProfilerActivity.CPU]
    with _quiet(), torch.profiler.profile(activities=cpu, profile_memory=True) as profile:
        run()
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "trace.json"
        profile.export_chrome_trace(str(written))
        events = json.loads(written.read_text(encoding="utf-8"))["traceEvents"]
    moments = [
        (event["ts"], event["args"]["Total Allocated"], event["args"]["Bytes"])
        for event in events
        if event.get("name") == "[memory]" and event["args"].get("Device Type") == 0
    ]
    if not moments:
        return 0
    _, first, change = min(moments)
    return max(total for _, total, _ in moments) - (first - change)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the profiler's library from telling the error stream that a processor is no GPU."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
