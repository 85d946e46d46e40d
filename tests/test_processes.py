"""Several processes: the same batches and the same result as one; one that dies costs nothing."""

import csv
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from conftest import QUICK, draw_classes
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

import featherbone as fb
from featherbone.data.loading import EpochBatches
from featherbone.data.sets import ImageSet
from featherbone.models.rdnet import RDNetSpec
from featherbone.train.processes import Processes, processes


def images(count: int, groups: tuple[int, ...] = ()) -> ImageSet:
    return ImageSet(tuple(Path(str(i)) for i in range(count)), (0,) * count, groups)


@given(
    count=st.integers(1, 60),
    batch_size=st.integers(1, 20),
    world=st.integers(1, 4),
    start=st.integers(0, 5),
    seed=st.integers(0, 9),
)
def test_processes_share_every_batch_and_a_resumed_epoch_is_its_rest(
    count: int, batch_size: int, world: int, start: int, seed: int
) -> None:
    def batches(rank: int = 0, world: int = 1) -> EpochBatches:
        order = EpochBatches(images(count), batch_size, shuffle=True, seed=seed, rank=rank, world=world)
        order.set_epoch(3)
        return order

    whole = list(batches())
    assert sorted(i for batch in whole for _, i in batch) == list(range(count))
    assert [len(batch) for batch in whole] == [batches().size(number) for number in range(len(whole))]
    shares = [list(batches(rank, world)) for rank in range(world)]
    for number, batch in enumerate(whole):
        assert sorted(pair for share in shares for pair in share[number]) == sorted(batch)
        assert batches().places(number) == batch
    resumed = batches()
    resumed.start = start
    assert list(resumed) == whole[start:]
    assert list(resumed) == whole  # only the first pass is a rest


@given(groups=st.lists(st.integers(1, 6), min_size=1, max_size=8), seed=st.integers(0, 9))
def test_what_is_stored_together_is_read_together(groups: list[int], seed: int) -> None:
    order = EpochBatches(images(sum(groups), tuple(groups)), 4, shuffle=True, seed=seed)
    seen = [i for batch in order for _, i in batch]
    assert sorted(seen) == list(range(sum(groups)))
    owner = [number for number, size in enumerate(groups) for _ in range(size)]
    runs = [owner[i] for i in seen]
    assert sum(a != b for a, b in itertools.pairwise(runs)) == len(groups) - 1


def test_a_last_batch_of_too_few_is_left_out() -> None:
    assert [len(batch) for batch in EpochBatches(images(9), 4, least=2)] == [4, 4]
    assert [len(batch) for batch in EpochBatches(images(10), 4, least=2)] == [4, 4, 2]


def test_launchers_are_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    assert processes() == Processes(0, 1, 1)
    for name, value in (("SLURM_PROCID", "5"), ("SLURM_NTASKS", "16"), ("SLURM_NTASKS_PER_NODE", "8")):
        monkeypatch.setenv(name, value)
    assert processes() == Processes(5, 16, 8)
    for name, value in (("RANK", "1"), ("WORLD_SIZE", "2"), ("LOCAL_WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    assert processes() == Processes(1, 2, 2)


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_classes(tmp_path_factory.mktemp("team") / "colours", count=20)


# norms over channels see one image at a time: with batch norm, processes on processors have statistics of their own
TINY = RDNetSpec(stem_channels=8, growth_rates=(8, 8), shrinks=(True,), layers=1)
CHANGES = {**QUICK, "epochs": 3, "workers": 0, "val_fraction": 0.4, "checkpoint_seconds": 0.0}


@pytest.fixture(scope="module")
def two(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> fb.Run:
    """Return a run of two processes."""
    return fb.train(colours, TINY, out=tmp_path_factory.mktemp("two") / "run", changes=CHANGES, devices=2, quiet=True)


def weights(run: fb.Run) -> dict[str, torch.Tensor]:
    return load_file(run.folder / "model.safetensors")


def test_two_processes_give_what_one_gives(colours: Path, two: fb.Run, tmp_path: Path) -> None:
    one = fb.train(colours, TINY, out=tmp_path / "one", changes=CHANGES, quiet=True)
    alone = weights(one)
    for name, tensor in weights(two).items():
        torch.testing.assert_close(tensor, alone[name], rtol=1e-3, atol=1e-5)
    assert one.test_top1 == two.test_top1
    with (one.folder / "history.csv").open() as ours, (two.folder / "history.csv").open() as theirs:
        for row, other in zip(csv.DictReader(ours), csv.DictReader(theirs), strict=True):
            for column in ("train_loss", "val_loss", "val_top1", "lr"):
                assert float(row[column]) == pytest.approx(float(other[column]), rel=1e-4)


def workers_of(launcher: int) -> list[int]:
    """Return the processes that a launcher's launcher started."""
    parents = {int(file.parent.name): int(file.read_text().rpartition(")")[2].split()[1]) for file in stats()}
    elastic = [pid for pid, parent in parents.items() if parent == launcher]
    return [pid for pid, parent in parents.items() if parent in elastic]


def stats() -> Iterator[Path]:
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            file.read_text()
            yield file


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found in Linux's /proc")
def test_a_process_that_is_killed_is_started_again_and_nothing_is_lost(two: fb.Run, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for name in ("recipe.json", "data.json"):
        shutil.copy(two.folder / name, run)
    script = f"import featherbone as fb; fb.resume({str(run)!r}, devices=2, quiet=True)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        deadline = time.monotonic() + 60
        while not list((run / "checkpoints").glob("[0-9]*")) and time.monotonic() < deadline:
            time.sleep(0.02)
        killed = workers_of(process.pid)
        os.kill(killed[-1], signal.SIGKILL)
        said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said.decode()
    assert len(killed) == 2
    first, second = weights(two), load_file(run / "model.safetensors")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_what_several_processes_cannot_do(colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(fb.InputError, match="devices=0 is not allowed"):
        fb.train(colours, TINY, out=tmp_path / "run", devices=0, quiet=True)
    with pytest.raises(fb.InputError, match="a teacher that is a module"):
        fb.train(colours, TINY, out=tmp_path / "run", devices=2, teacher=torch.nn.Identity(), quiet=True)
    for name, value in (("RANK", "1"), ("WORLD_SIZE", "2"), ("LOCAL_WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    with pytest.raises(fb.InputError, match="2 processes share the run's folder"):
        fb.train(colours, TINY, quiet=True)
