"""The allocator's own peak during one run."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable

import torch

from featherbone.measure.setting import Setting


def measured_peak(run: Callable[[], object], setting: Setting) -> int:
    """Return the most bytes that PyTorch's allocator held at once during ``run``, beyond what it held before.

    On the processor by PyTorch's profiler, on CUDA by the allocator's own counter. Call ``run`` once before, so that
    what is kept for good is there already.
    """
    if setting.device.startswith("cuda"):
        torch.cuda.synchronize(setting.device)
        torch.cuda.reset_peak_memory_stats(setting.device)
        before = torch.cuda.memory_allocated(setting.device)
        run()
        torch.cuda.synchronize(setting.device)
        return torch.cuda.max_memory_allocated(setting.device) - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        run()
    handle, path = tempfile.mkstemp(suffix=".json")
    os.close(handle)
    try:
        profile.export_chrome_trace(path)
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - a plain temporary file
            events = json.load(file)["traceEvents"]
    finally:
        os.remove(path)  # noqa: PTH107
    moments = [
        (event["ts"], event["args"]["Total Allocated"], event["args"]["Bytes"])
        for event in events
        if event.get("name") == "[memory]" and event["args"].get("Device Type") == 0
    ]
    if not moments:
        return 0
    _, first, change = min(moments)
    return max(total for _, total, _ in moments) - (first - change)
