"""Processes that cost no start of Python: they are forked from one that has imported everything."""

import multiprocessing
import os
import signal
import socket
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from typing import Any

import torch

import featherbone as fb
from featherbone.cli import main

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["featherbone.cli.app", "featherbone.evaluation.classification", "featherbone.training.loop"]
)


def begun(run: Path, processes: int = 1, **wanted: Any) -> list[BaseProcess]:
    """Start a run, or go on with it, as a launcher would, and return the processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [_started(_begin, run, rank, processes, port, wanted) for rank in range(processes)]


def resumed(run: Path, processes: int = 1) -> list[BaseProcess]:
    """Start to resume a run, as a launcher would, and return the processes."""
    return begun(run, processes)


def ended(processes: list[BaseProcess], seconds: float) -> bool:
    """Wait for processes to finish, and return whether they have, within so many seconds."""
    deadline = time.monotonic() + seconds
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
    return all(process.exitcode == 0 for process in processes)


def killed(processes: list[BaseProcess], random: Random) -> bool:
    """Kill one of the processes, whichever; a launcher then ends the others. Return whether it was still running."""
    team = random.sample(processes, len(processes))
    team[0].kill()
    ended(team[:1], 20)
    for other in team[1:]:
        other.terminate()
    ended(team, 20)
    for other in team:  # one that waits for its partner may not hear of it
        other.kill()
        other.join()
    assert team[0].exitcode in (0, -signal.SIGKILL), "it ended with an error of its own"
    return team[0].exitcode != 0


def typed(*arguments: object, errors: Path) -> BaseProcess:
    """Start a command line whose error stream is a file; the process leads a group of its own, as in a terminal."""
    return _started(_main, tuple(map(str, arguments)), errors)


def _started(does: object, *arguments: object) -> BaseProcess:
    process = _CONTEXT.Process(target=does, args=arguments)  # type: ignore[arg-type]
    process.start()
    return process


def _like_any_other() -> None:
    torch.set_num_threads(1)
    multiprocessing.set_start_method(None, force=True)  # for the loader's own processes


def _begin(run: Path, rank: int, processes: int, port: int, wanted: dict[str, Any]) -> None:
    _like_any_other()
    if processes > 1:
        of = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
        place = {"TORCHELASTIC_RUN_ID": "forked", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        os.environ.update({name: str(value) for name, value in {**of, **place}.items()})
    if wanted and (processes > 1 or not (run / "recipe.json").exists()):
        fb.train(out=run, quiet=True, **wanted)
    else:
        fb.resume(run, quiet=True)


def _main(arguments: tuple[str, ...], errors: Path) -> None:
    os.setsid()
    _like_any_other()
    sys.argv = ["featherbone", *arguments]
    with errors.open("w") as sys.stderr, Path(os.devnull).open("w") as sys.stdout:
        main()
