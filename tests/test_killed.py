"""A run that is killed again and again, in the middle of anything, ends as if nothing had happened."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import QUICK, draw_classes
from safetensors.torch import load_file

import featherbone as fb
from featherbone.files import write_json
from featherbone.train.checkpoints import newest_whole, written

SMALL = {**QUICK, "epochs": 6, "averaging": 0.9, "mixup": 0.2, "checkpoint_seconds": 0.0}
# one process that has imported everything forks the runs: so a kill costs no start of Python
KILLER = """
import os, random, signal, sys, time
import torch
torch.set_num_threads(1)
import featherbone as fb
from featherbone.train import loop
folder, kills, longest, seed = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
random.seed(seed)
hit = 0
while True:
    child = os.fork()
    if not child:
        fb.resume(folder, quiet=True)
        os._exit(0)
    if hit == kills:
        break
    time.sleep(random.uniform(0.1, longest))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status):
        break
    hit += 1
else:
    os.waitpid(child, 0)
if hit == kills:
    _, status = os.waitpid(child, 0)
print(hit)
sys.exit(os.WEXITSTATUS(status))
"""


def same(first: Path, second: Path) -> bool:
    a, b = (load_file(run / "model.safetensors") for run in (first, second))
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def prepared(folder: Path, undisturbed: fb.Run) -> Path:
    """Return a run that has not begun."""
    folder.mkdir()
    for name in ("recipe.json", "data.json"):
        shutil.copy(undisturbed.folder / name, folder)
    return folder


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> fb.Run:
    place = tmp_path_factory.mktemp("undisturbed")
    return fb.train(draw_classes(place / "colours"), out=place / "run", changes=SMALL, quiet=True)


def test_twenty_kills_change_nothing(undisturbed: fb.Run, tmp_path: Path) -> None:
    run = prepared(tmp_path / "run", undisturbed)
    call = [sys.executable, "-W", "ignore", "-c", KILLER, str(run), "20", "0.9", "0"]
    done = subprocess.run(call, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == 20
    assert same(undisturbed.folder, run)
    assert not [path for path in (run / "checkpoints").iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("damage", ["cut short", "one byte", "empty", "a pickle"])
def test_a_damaged_checkpoint_is_passed_over(damage: str, undisturbed: fb.Run, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(undisturbed.folder, run)
    newest, before = written(run)
    content = bytearray(newest.read_bytes())
    if damage == "one byte":
        content[len(content) // 2] ^= 0xFF
    damaged = {"cut short": content[:-1000], "one byte": content, "empty": b"", "a pickle": b"\x80\x04N."}
    newest.write_bytes(bytes(damaged[damage]))
    with pytest.warns(UserWarning, match=f"{newest.name} is damaged .*: the one before is taken"):
        assert newest_whole(run) == before
    before.write_bytes(b"")
    with (
        pytest.warns(UserWarning, match="is damaged"),
        pytest.raises(fb.InputError, match="no checkpoint .* can be read"),
    ):
        newest_whole(run)


def test_a_full_disk_is_said_and_the_last_checkpoint_stays(undisturbed: fb.Run, tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk."""
    run = prepared(tmp_path / "run", undisturbed)
    script = """
import resource, sys
import featherbone as fb
from featherbone.cli import main
from featherbone.train import checkpoints
save, times = checkpoints.AtomicIO.save_checkpoint, []
def limited(self, *rest, **named):
    times.append(1)
    if len(times) == 4:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    return save(self, *rest, **named)
checkpoints.AtomicIO.save_checkpoint = limited
sys.argv = ["featherbone", "train", "--resume", sys.argv[1]]
main()
"""
    call = [sys.executable, "-W", "ignore", "-c", script, str(run)]
    # sums of other threads are sums in another order
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(call, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 2, done.stderr
    said = done.stderr.strip().splitlines()[-1]
    assert "the run has stopped" in said
    assert f"featherbone train --resume {run}" in said
    assert "Traceback" not in done.stderr
    assert len(written(run)) == 2
    assert same(undisturbed.folder, fb.resume(run, quiet=True).folder)


def test_ctrl_c_saves_the_step(undisturbed: fb.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = prepared(tmp_path / "run", undisturbed)
    write_json(run / "recipe.json", {**undisturbed.recipe.to_dict(), "checkpoint_seconds": 1e9})
    from featherbone.train.callbacks import History

    def interrupted(self: History, trainer, *rest) -> None:  # type: ignore[no-untyped-def]
        if trainer.global_step == 7:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch, pytest.raises(fb.InterruptedRunError):
        patch.setattr(History, "on_train_batch_end", interrupted)
        fb.resume(run, quiet=True)
    assert written(run)[0].stem == "000000007"
    assert same(undisturbed.folder, fb.resume(run, quiet=True).folder)


def test_a_loss_that_is_not_finite_names_the_batch(tmp_path: Path) -> None:
    colours = draw_classes(tmp_path / "colours")
    with pytest.raises(fb.InputError, match=r"the loss became (nan|inf) in epoch \d, in batch \d \(.*png.*lower lr"):
        fb.train(colours, out=tmp_path / "run", changes={**SMALL, "mixup": 0.0, "lr": 1e30}, quiet=True)
