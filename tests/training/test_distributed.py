"""Several processes: the same batches and the same result as one; one that dies costs nothing."""

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from helpers.training import QUICK, two_processes
from safetensors.torch import load_file

import featherbone as fb
from featherbone.models.rdnet import RDNetSpec
from featherbone.training.distributed import Processes, processes


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has died")
def test_processes_end_with_a_launcher_that_is_killed(tmp_path: Path) -> None:
    """A stand-in for a launcher starts a process, and is killed."""
    told = tmp_path / "told"
    child = f"""
import pathlib, time
from featherbone.training.distributed import follow_the_launcher
follow_the_launcher()
pathlib.Path({str(told)!r}).write_text("ready")
time.sleep(60)
"""
    parent = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {child!r}], start_new_session=True)
print(child.pid, flush=True)
time.sleep(60)
"""
    environment = {**os.environ, "TORCHELASTIC_RUN_ID": "none"}
    with subprocess.Popen(
        [sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True, env=environment
    ) as launcher:
        assert launcher.stdout
        child_id = int(launcher.stdout.readline())
        wait_for(told.exists)
        launcher.kill()
    wait_for(lambda: not alive(child_id))


def alive(process: int) -> bool:
    """Return whether a process runs; one that only waits to be counted does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(happens: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 50
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_launchers_are_recognized(monkeypatch: pytest.MonkeyPatch) -> None:
    assert processes() == Processes(0, 1, 1)
    for name, value in (("SLURM_PROCID", "5"), ("SLURM_NTASKS", "16"), ("SLURM_NTASKS_PER_NODE", "8")):
        monkeypatch.setenv(name, value)
    assert processes() == Processes(5, 16, 8)
    for name, value in (("RANK", "1"), ("WORLD_SIZE", "2"), ("LOCAL_WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    assert processes() == Processes(1, 2, 2)


# norms over channels see one image at a time: with batch norm, processes on processors have statistics of their own
TINY = RDNetSpec(stem_channels=8, growth_rates=(8, 8), shrinks=(True,), layers=1)
CHANGES = {**QUICK, "epochs": 3, "workers": 0, "val_fraction": 0.4, "checkpoint_seconds": 0.0}


def weights(run: fb.Run) -> dict[str, torch.Tensor]:
    return load_file(run.folder / "model.safetensors")


def workers() -> list[int]:
    """Return the processes that our launcher has started."""
    parents = {int(file.parent.name): int(file.read_text().rpartition(")")[2].split()[1]) for file in stats()}
    ours = [pid for pid, parent in parents.items() if parent == os.getpid()]
    launchers = [pid for pid in ours if b"torch.distributed.run" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return [pid for pid, parent in parents.items() if parent in launchers]


def stats() -> Iterator[Path]:
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            file.read_text()
            yield file


def kill_one() -> list[int]:
    """Kill one of two processes as soon as they are there; return them."""
    deadline = time.monotonic() + 100
    while len(found := workers()) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(found[-1], signal.SIGKILL)
    return found


@pytest.mark.slow
@two_processes
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found in Linux's /proc")
def test_two_processes_of_which_one_dies_give_what_one_gives(
    colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The launcher starts both again. What dies in the middle of training is tested in test_killed.py."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with ThreadPoolExecutor() as pool:
        killed = pool.submit(kill_one)
        two = fb.train(colours, TINY, out=tmp_path / "two", changes=CHANGES, devices=2, quiet=True)
    assert len(killed.result()) == 2
    one = fb.train(colours, TINY, out=tmp_path / "one", changes=CHANGES, quiet=True)
    alone = weights(one)
    for name, tensor in weights(two).items():
        torch.testing.assert_close(tensor, alone[name], rtol=1e-3, atol=1e-5)
    assert one.test_top1 == two.test_top1
    with (one.folder / "history.csv").open() as ours, (two.folder / "history.csv").open() as theirs:
        for row, other in zip(csv.DictReader(ours), csv.DictReader(theirs), strict=True):
            for column in ("train_loss", "val_loss", "val_top1", "lr"):
                assert float(row[column]) == pytest.approx(float(other[column]), rel=1e-4)


def test_what_several_processes_cannot_do(colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(fb.InputError, match="devices=0 is not allowed"):
        fb.train(colours, TINY, out=tmp_path / "run", devices=0, quiet=True)
    with pytest.raises(fb.InputError, match="a teacher that is a module"):
        fb.train(colours, TINY, out=tmp_path / "run", devices=2, teacher=torch.nn.Identity(), quiet=True)
    with monkeypatch.context() as patch:
        patch.setattr(torch.accelerator, "is_available", lambda: True)
        patch.setattr(torch.accelerator, "device_count", lambda: 2)
        with pytest.raises(fb.InputError, match="devices=3 is not allowed: 1 to 2, one for each accelerator"):
            fb.train(colours, TINY, out=tmp_path / "run", devices=3, quiet=True)
    for name, value in (("RANK", "1"), ("WORLD_SIZE", "2"), ("LOCAL_WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    with pytest.raises(fb.InputError, match="2 processes share the run's folder"):
        fb.train(colours, TINY, quiet=True)
