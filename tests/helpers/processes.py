"""Processes that cost no start of Python: they are forked from one that has imported everything."""

import multiprocessing
import os
import socket
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

import featherbone as fb
from featherbone.cli import main

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["featherbone.cli.app", "featherbone.evaluation.classification", "featherbone.training.loop"]
)


def resumed(run: Path, processes: int = 1) -> list[BaseProcess]:
    """Start to resume a run, as a launcher would, and return the processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [_started(_resume, run, rank, processes, port) for rank in range(processes)]


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


def _resume(run: Path, rank: int, processes: int, port: int) -> None:
    _like_any_other()
    if processes > 1:
        of = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
        place = {"TORCHELASTIC_RUN_ID": "forked", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        os.environ.update({name: str(value) for name, value in {**of, **place}.items()})
    fb.resume(run, quiet=True)


def _main(arguments: tuple[str, ...], errors: Path) -> None:
    os.setsid()
    _like_any_other()
    sys.argv = ["featherbone", *arguments]
    with errors.open("w") as sys.stderr:
        main()
