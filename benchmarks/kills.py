"""Kill trainings at random moments, let two race for one folder: ``python benchmarks/kills.py --kills 30 --races 20``.

Of every variant (early stopping, a teacher, a detector, loader processes, two processes) a short run is trained
undisturbed. The same run is then begun, killed (SIGKILL, at moments drawn evenly over its life: while it prepares,
learns, saves, writes its result or its page) and begun or resumed once more, until it has been killed so often and has
finished. Printed is how often it ended as the undisturbed one: the same weights to the bit, the same history, a page.

A race is two commands ``train`` into one folder, started together or a little apart. Printed is in how many of them one
ended with 0, the other with 2 and a sentence that names the first one's process, and the weights are the recipe's.
"""

import argparse
import json
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from helpers.boxes import BOXES_MODEL, QUICK_BOXES, draw_boxes
from helpers.images import draw_classes
from helpers.processes import begun, ended, killed, typed
from helpers.training import QUICK, history, same_weights

SHORT = {**QUICK, "epochs": 4, "ema_decay": 0.9, "mixup": 0.2, "checkpoint_seconds": 0.0}
PATIENT = 600.0  # seconds


def variants(place: Path) -> dict[str, tuple[int, dict[str, Any]]]:
    """Return how many processes train each variant, and what they are asked for."""
    colours = draw_classes(place / "colours", 12)
    taught = {"data": colours, "changes": SHORT}
    teacher = place / "teacher"
    assert ended(begun(teacher, data=colours, changes={**SHORT, "epochs": 1, "seed": 5}), PATIENT)
    boxes = {"data": draw_boxes(place / "boxes"), "model": BOXES_MODEL, "head": "free"}
    stopped = {**SHORT, "epochs": 12, "patience": 1, "lr": 0.3, "mixup": 0.0, "ema_decay": 0.0, "seed": 2}
    return {
        "early stopping": (1, {**taught, "changes": stopped}),
        "teacher": (1, {**taught, "teacher": teacher}),
        "detector": (1, {**boxes, "changes": {**QUICK_BOXES, "epochs": 2, "checkpoint_seconds": 0.0}}),
        "loader processes": (1, {**taught, "changes": {**SHORT, "workers": 2}}),
        "two processes": (2, taught),
    }


def as_undisturbed(whole: Path, run: Path) -> bool:
    """Return whether a run ended as another one, and left nothing unfinished behind."""
    halves = [path for place in (run, run / "checkpoints") for path in place.glob(".*") if path.name != ".lock"]
    return same_weights(whole, run) and history(whole) == history(run) and (run / "run.html").exists() and not halves


def kills(whole: Path, run: Path, count: int, team: int, wanted: Mapping[str, Any], seconds: float) -> tuple[int, int]:
    """Kill a run so many times; return how often it finished, and how often as the undisturbed one."""
    moments, hit, finished, same = Random(0), 0, 0, 0  # noqa: S311
    while hit < count or run.exists() or not finished:  # what was killed last ends, too
        processes = begun(run, team, **wanted)
        if hit < count and not ended(processes, moments.uniform(0.05, 1.1 * seconds)):
            hit += killed(processes, moments)
            saved = max((int(path.stem) for path in run.glob("checkpoints/[0-9]*.ckpt")), default=0)
            print(f"kill {hit}, last saved at step {saved}", file=sys.stderr)
        else:
            seconds *= 0.9 if hit < count else 1  # it was quicker than its kill: the machine has less to do than before
            if not ended(processes, PATIENT):
                raise SystemExit(f"a run did not end: {[process.exitcode for process in processes]}")
        if not (run / "run.html").exists():  # which is written last; it may be there though its process was killed
            continue
        finished += 1
        same += as_undisturbed(whole, run)
        print(f"finished {finished} times, {same} times as the undisturbed run", file=sys.stderr)
        shutil.rmtree(run)
    return finished, same


def races(place: Path, count: int) -> tuple[int, list[str]]:
    """Let pairs of commands race; return how many ended as they should, and what the others said."""
    colours, moments = draw_classes(place / "raced", 8), Random(0)  # noqa: S311
    changes = {**QUICK, "epochs": 1}
    for seed in (0, 1):
        assert ended(begun(place / f"alone-{seed}", data=colours, changes={**changes, "seed": seed}), PATIENT)
    options = ("--epochs", 1, "--batch-size", 8, "--lr", 0.02, "--precision", "f32", "--workers", 0, "--quiet")
    columns = ("--set", "flip=0", "--set", "channels_last=true")
    good, odd = 0, []
    for number in range(count):
        run, said, pair = place / f"race-{number}", [], []
        for seed in (0, 1):
            said.append(place / f"said-{number}-{seed}.txt")
            pair.append(typed("train", colours, "--out", run, "--seed", seed, *options, *columns, errors=said[-1]))
            time.sleep(moments.choice((0.0, moments.uniform(0.0, 1.0))))
        for process in pair:
            process.join(PATIENT)
        codes = [process.exitcode for process in pair]
        if sorted(codes, key=str) != [0, 2]:
            odd.append(f"exit codes {codes}: {[path.read_text() for path in said]}")
            continue
        first, sentence = pair[codes.index(0)], said[codes.index(2)].read_text().strip()
        own = json.loads((run / "recipe.json").read_text())["seed"]
        right = own == codes.index(0) and same_weights(run, place / f"alone-{own}")
        named = re.search(rf"process {first.pid} on \S+, since ", sentence) and len(sentence.splitlines()) == 1
        good += bool(right and named)
        if not (right and named):
            odd.append(f"recipe of seed {own}, weights of it: {right}; {sentence}")
    return good, odd


def main() -> int:
    """Print the table; 1 if a run ended otherwise."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30, help="of every variant")
    parser.add_argument("--races", type=int, default=20)
    parser.add_argument("--variant", help="only this one")
    arguments = parser.parse_args()
    right = True
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        if arguments.kills:
            print(f"{'variant':<18}{'kills':>6}{'finished':>10}{'same bits and history':>23}", flush=True)
            for number, (name, (team, wanted)) in enumerate(variants(place).items()):
                if arguments.variant not in (None, name):
                    continue
                whole, start = place / f"whole-{number}", time.monotonic()
                assert ended(begun(whole, team, **wanted), PATIENT)
                seconds = time.monotonic() - start
                finished, same = kills(whole, place / f"run-{number}", arguments.kills, team, wanted, seconds)
                print(f"{name:<18}{arguments.kills:>6}{finished:>10}{same:>23}", flush=True)
                right = right and finished == same
        if arguments.races:
            good, odd = races(place, arguments.races)
            print(f"races of two: {arguments.races}; one won, the other was told by whom, in {good}", *odd, sep="\n")
            right = right and good == arguments.races
    return int(not right)


if __name__ == "__main__":
    raise SystemExit(main())
