"""The command line: every verb is a few lines over ``import featherbone``."""

from __future__ import annotations

import sys

from featherbone.errors import InputError, InterruptedRunError, needs

_INTERRUPTED = 130  # 128 and the signal's number, as shells have it


def main() -> None:
    """Run the command line. Exit codes: 0 done, 2 the caller's mistake, 130 interrupted, 1 ours."""
    debug = "--debug" in sys.argv
    try:
        with needs("cli", "the command line"):
            from featherbone.cli.app import app
            from featherbone.cli.output import complain, next_steps
        app()
    except InputError as error:
        if debug:
            raise
        print(f"featherbone: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except InterruptedRunError as error:
        complain(f"stopped; what was done is saved in {error.folder}")
        next_steps(["train", "--resume", str(error.folder)], stderr=True)
        raise SystemExit(_INTERRUPTED) from None
    except (KeyboardInterrupt, SystemExit) as ended:
        if isinstance(ended, SystemExit) and ended.code != _INTERRUPTED:  # which typer makes of Ctrl-C
            raise
        print("featherbone: stopped", file=sys.stderr)
        raise SystemExit(_INTERRUPTED) from None
