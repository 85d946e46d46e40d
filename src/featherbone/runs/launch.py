"""The processes and the device that train a run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from featherbone.device import device_named, usual_device
from featherbone.errors import InputError, InterruptedRunError
from featherbone.runs.folder import RESULT
from featherbone.runs.run import Run, open_run

_PATIENCE = 3600.0  # seconds that processes wait for the first one to read the data


def device_for(device: str | None, processes: int) -> torch.device:
    """Return where a run is trained.

    Raises:
        InputError: if there is no such device, or each of several processes has its own.
    """
    if device is None:
        return usual_device()
    if processes > 1:
        raise InputError(f"device={device} is not allowed with {processes} processes: each has its own; leave it out")
    return device_named(device)


def check_devices(devices: int) -> None:
    """Refuse more processes than this machine has use for.

    Raises:
        InputError: if there are fewer accelerators, of which each process takes one; any number may share processors.
    """
    here = torch.accelerator.device_count() if torch.accelerator.is_available() else None
    if devices < 1 or (here is not None and devices > here):
        allowed = "1 or more" if here is None else f"1 to {here}, one for each accelerator of this machine"
        raise InputError(f"devices={devices} is not allowed: {allowed}")


def await_file(file: Path) -> None:
    """Wait for a file that the first process writes.

    Raises:
        InputError: if it does not come.
    """
    deadline = time.monotonic() + _PATIENCE
    while not file.exists():
        if time.monotonic() > deadline:
            raise InputError(f"{file} has not been written by the first process in {_PATIENCE / 60:.0f} minutes")
        time.sleep(0.2)


@contextmanager
def resumable(folder: Path) -> Iterator[None]:
    """Say of a request to stop within the block that the run in the folder can go on.

    Raises:
        InterruptedRunError: on such a request.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        raise InterruptedRunError(folder, stop.args[0] if stop.args else signal.SIGINT) from None


def launch(folder: Path, devices: int, *, accept_changes: bool, quiet: bool) -> Run:
    """Train with several processes, by PyTorch's own launcher, which starts them again when one dies."""
    launcher = ["torch.distributed.run", "--standalone", f"--nproc-per-node={devices}", "--max-restarts=3"]
    options = [*(["--accept-changes"] if accept_changes else []), *(["--quiet"] if quiet else [])]
    program = ["-m", "featherbone", "train", "--resume", os.fspath(folder), *options]
    cores = os.cpu_count() or 1
    environment = {"OMP_NUM_THREADS": str(max(1, cores // devices)), **os.environ}
    call = [sys.executable, "-m", *launcher, *program]
    with subprocess.Popen(call, env=environment, stdout=subprocess.DEVNULL) as running:  # noqa: S603 - our own program
        try:
            code = running.wait()
        except KeyboardInterrupt as stop:
            number = stop.args[0] if stop.args else signal.SIGINT
            if number != signal.SIGINT:  # Ctrl-C the terminal has told them, too
                running.terminate()
            running.wait()
            raise InterruptedRunError(folder, number) from None
    if code or not (folder / RESULT).exists():
        raise InputError(
            f"{devices} processes did not finish the run (exit code {code}); the reason stands above; "
            f"to go on: featherbone train --resume {folder} --devices {devices}"
        )
    return open_run(folder)
