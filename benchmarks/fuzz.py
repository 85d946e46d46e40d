"""Feed damaged files to what reads files: ``python benchmarks/fuzz.py --files 10000 --seed 0``.

Weight files (safetensors whose bytes or whose header were changed, checkpoints of ``torch.save`` in both its forms) and
the JSON files of a run are changed at random places, and read by the public functions. Printed is a table of what came
of it: "read", or "a sentence" (``InputError``). It fails if anything else is raised, if a case takes more than
``--seconds`` of processor time, or if the process dies. A case is told by its kind, the seed and its number.
"""

import argparse
import copy
import io
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch

import featherbone as fb
from featherbone.models.densenet import DenseNetSpec
from featherbone.runs.folder import read_recipe
from featherbone.runs.run import open_run
from featherbone.training import Recipe
from featherbone.weights import row_to_dict

MEMORY = 4 << 30
SMALL = DenseNetSpec(growth_rate=4, layers=(1, 1), stem_channels=4, num_classes=2)
ODD: tuple[Any, ...] = (
    *(None, True, "", "x", "1e9", [], {}, [[]], {"a": 1}, -1, 0, 1, 2.5, 1e-9, 1e308, float("inf"), float("nan")),
    *(10**6, 10**9, 2**63, 10**40, [10**9] * 3, "\x1b[31m", "\udcff", "a" * 5000),
)


@dataclass(frozen=True)
class Kind:
    """One kind of file.

    Attributes:
        name: what the table calls it.
        change: makes a damaged one of the sound one.
        read: reads it; ``InputError`` is a fine answer.
    """

    name: str
    change: Callable[[random.Random], None]
    read: Callable[[], object]


def mutated(content: bytes, chance: random.Random, most: int | None = None) -> bytes:
    """Return bytes of which a few were changed, cut, repeated or moved; within the first ``most``."""
    out = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        end = max(min(most or len(out), len(out)), 1)
        at, length = chance.randrange(end), chance.choice((1, 1, 2, 8, 64))
        match chance.randrange(6):
            case 0:
                out[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                out[at : at + length] = chance.randbytes(length)
            case 2:
                del out[at : at + length]
            case 3:
                out[at:at] = out[at : at + length]
            case 4:
                out[at : at + length] = b"\xff" * length
            case _:
                if chance.random() < 0.2:
                    del out[at:]
    return bytes(out)


def mistyped(value: Any, chance: random.Random) -> Any:
    """Return JSON values of which one, anywhere, is another, missing, repeated or deep."""
    value = copy.deepcopy(value)
    parent: Any = None
    key: Any = None
    inner = value
    while isinstance(inner, dict | list) and inner and (parent is None or chance.random() < 0.8):
        parent, key = inner, chance.choice(list(inner) if isinstance(inner, dict) else range(len(inner)))
        inner = inner[key]
    if parent is None or chance.random() < 0.02:
        return chance.choice(ODD)
    if chance.random() < 0.15:
        del parent[key]
    elif isinstance(parent, dict) and chance.random() < 0.1:
        parent[str(chance.choice(ODD))] = chance.choice(ODD)
    elif isinstance(inner, int | float) and chance.random() < 0.3:
        parent[key] = chance.choice((-inner, inner * 10**6, inner + 1, float(inner), str(inner), [inner]))
    else:
        parent[key] = chance.choice(ODD)
    return value


def dumped(value: Any, chance: random.Random) -> bytes:
    """Return JSON, now and then damaged, or with a value 100,000 lists deep."""
    text = json.dumps(value, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")
    if chance.random() < 0.05:
        text = text.replace(b"null", b"[" * 100_000, 1) if b"null" in text else b"[" * 100_000
    return mutated(text, chance) if chance.random() < 0.2 else text


def weight_files(place: Path) -> Iterator[Kind]:
    """Yield weight files of ours; each kind is written into ``place`` and read from there."""
    model = SMALL.build().eval()
    preprocess = fb.Preprocess(size=32, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    ours = place / "m.safetensors"
    fb.save(model, ours, classes=("a", "b"), preprocess=preprocess)
    sound = ours.read_bytes()
    length = int.from_bytes(sound[:8], "little")
    whole = json.loads(sound[8 : 8 + length])
    own = json.loads(whole["__metadata__"]["featherbone"])

    def header(chance: random.Random) -> None:
        text = dumped(mistyped(own, chance), chance).decode("utf-8", "replace")
        head = json.dumps({**whole, "__metadata__": {"featherbone": text}}).encode()
        ours.write_bytes(len(head).to_bytes(8, "little") + head + sound[8 + length :])

    def table(chance: random.Random) -> None:
        head = dumped(mistyped(whole, chance), chance)
        ours.write_bytes(len(head).to_bytes(8, "little") + head + sound[8 + length :])

    def load() -> None:
        fb.read_header(ours)
        fb.load(ours)

    yield Kind("weight file: our header", header, load)
    yield Kind("weight file: table of tensors", table, load)
    yield Kind("weight file: bytes", lambda chance: _write(ours, mutated(sound, chance, 8 + length)), load)
    yield Kind(
        "import: safetensors, bytes",
        lambda chance: _write(ours, mutated(sound, chance)),
        lambda: fb.import_weights(SMALL, ours),
    )


def checkpoints(place: Path) -> Iterator[Kind]:
    """Yield what ``torch.save`` writes, in both its forms."""
    theirs, model = place / "m.pth", SMALL.build().eval()
    content = {"epoch": 3, "state_dict": model.state_dict(), "args": argparse.Namespace(lr=0.1), "acc": [0.5, 0.7]}
    zipped, old = io.BytesIO(), io.BytesIO()
    torch.save(content, zipped)
    torch.save(content, old, _use_new_zipfile_serialization=False)
    members = {info.filename: zipfile.ZipFile(zipped).read(info) for info in zipfile.ZipFile(zipped).infolist()}

    def pickled(chance: random.Random) -> None:
        with zipfile.ZipFile(theirs, "w") as archive:
            for name, data in members.items():
                archive.writestr(name, mutated(data, chance) if name.endswith("data.pkl") else data)

    def read() -> None:
        fb.import_weights(SMALL, theirs)

    yield Kind("import: pickle in a zip", pickled, read)
    yield Kind("import: zip, bytes", lambda c: _write(theirs, mutated(zipped.getvalue(), c)), read)
    yield Kind("import: old form", lambda c: _write(theirs, mutated(old.getvalue(), c, 4000)), read)


def runs(place: Path) -> Iterator[Kind]:
    """Yield the JSON files of a finished run."""
    run, model = place / "run", SMALL.build().eval()
    run.mkdir()
    preprocess = fb.Preprocess(size=32, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    files = {
        "recipe.json": {**Recipe().to_dict(), "data": "digits", "model": row_to_dict(SMALL)},
        "data.json": {"classes": ["a", "b"], "val_images": 9, "skipped": [{"path": "x", "reason": "y"}],
                      "examples": ["a.png"], "fingerprint": "0", "task": "classification"},
        "result.json": {"top1": 0.5, "top5": 1.0, "train_seconds": 1.5, "epochs": 3, "torch": "2", "threads": 1},
    }  # fmt: skip
    fb.save(model, run / "model.safetensors", classes=("a", "b"), preprocess=preprocess)
    for name, values in files.items():

        def change(chance: random.Random, name: str = name, values: Any = values) -> None:
            for other, whole_values in files.items():
                _write(run / other, json.dumps(whole_values).encode())
            _write(run / name, dumped(mistyped(values, chance), chance))

        def read(name: str = name) -> None:
            if name == "recipe.json":
                read_recipe(run)
            else:
                found = open_run(run)
                json.dumps((found.to_dict(), found.summary))

        yield Kind(f"run: {name}", change, read)


def _write(file: Path, content: bytes) -> None:
    file.write_bytes(content)


class Late(BaseException):
    """A case took too long. No ``except Exception`` on its way stops it."""


def late(_signal: int, _frame: FrameType | None) -> None:
    """End a case whose time is over."""
    raise Late


def outcome(kind: Kind, chance: random.Random, seconds: float) -> str:
    """Return what came of one case: "read", "a sentence", or what must not be."""
    kind.change(chance)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        kind.read()
    except fb.InputError:
        return "a sentence"
    except Late:
        return "too slow"
    except BaseException as error:  # noqa: BLE001 - it is counted
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} in {Path(where.filename).name}:{where.lineno}"
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return "read"


def attempt(number: int, seed: int, seconds: float, stop: int, report: Callable[[int, str, str], None]) -> None:
    """Go through cases from ``number`` on, each told to ``report`` before and after it."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    signal.signal(signal.SIGVTALRM, late)
    with tempfile.TemporaryDirectory() as place:
        every = [*weight_files(Path(place)), *checkpoints(Path(place)), *runs(Path(place))]
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))
        for case in range(number, stop):
            kind = every[case % len(every)]
            report(case, kind.name, "")
            report(case, kind.name, outcome(kind, random.Random(f"{seed} {case}"), seconds))  # noqa: S311


def fuzz(cases: int, seed: int, seconds: float = 10.0) -> Counter[tuple[str, str]]:
    """Return how often what came of the cases, by kind; a process that dies is another outcome, and one goes on."""
    found: Counter[tuple[str, str]] = Counter()
    number = 0
    while number < cases:
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.close(reader)
            with os.fdopen(writer, "w", buffering=1) as lines:
                attempt(number, seed, seconds, cases, lambda *told: print(*told, sep="\t", file=lines))
            os._exit(0)
        os.close(writer)
        begun = ""
        with os.fdopen(reader) as lines:
            for line in lines:
                case, name, result = line.rstrip("\n").split("\t")
                number, begun = int(case) + bool(result), name if not result else ""
                if result:
                    found[name, result] += 1
                    if result not in ("read", "a sentence"):
                        print(f"case {case}, {name}: {result}", file=sys.stderr)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if not begun and status:
            raise RuntimeError(f"the process that reads the files ended with {status}")
        if begun:
            found[begun, f"the process died ({status})"] += 1
            print(f"case {number}, {begun}: the process died ({status})", file=sys.stderr)
            number += 1
    return found


def main() -> int:
    """Print the table; 1 if anything but a sentence came of a file that cannot be read."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=10.0, help="processor seconds that a case may take")
    arguments = parser.parse_args()
    begun = time.process_time()
    found = fuzz(arguments.files, arguments.seed, arguments.seconds)
    for (name, result), times in sorted(found.items()):
        print(f"{name:32} {times:6,}  {result}")
    wrong = sum(times for (_, result), times in found.items() if result not in ("read", "a sentence"))
    spent = time.process_time() - begun + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    print(f"{arguments.files:,} files, seed {arguments.seed}: {wrong} neither read nor a sentence; {spent:.0f} s")
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main())
