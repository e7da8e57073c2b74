"""`rasterloom ...`: parse, run one command, and turn how it ended into an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from argparse import Namespace
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import version
from typing import cast

from rasterloom.cli.output import Unwritten, answer, complain, error_document, note, show_anything
from rasterloom.cli.parser import Command, overview, parse
from rasterloom.errors import RasterloomError, SpecError, Unavailable

INTERRUPTED = 130
"""128 + SIGINT, as shells count."""
PIPE_CLOSED = 141
"""128 + SIGPIPE: the reader of our stdout went away, e.g. `| head`."""


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code, see SPEC "Command line"."""
    show_anything()
    try:
        return _ended(sys.argv[1:] if argv is None else list(argv))
    except (BrokenPipeError, Unwritten) as error:
        # Python flushes stdout once more at exit, and would complain there again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        cause = error.__cause__ or error
        if isinstance(cause, BrokenPipeError):
            return PIPE_CLOSED
        note(f"rasterloom: the answer cannot be written to stdout: {cause}")
        return Unavailable.exit_code


def _ended(words: Sequence[str]) -> int:
    """The exit code. Raises Unwritten and BrokenPipeError, whose answer nobody would read."""
    fallback = Namespace(json="--json" in words, debug="--debug" in words)
    try:
        return _run(words)
    except RasterloomError as error:
        return _failed(fallback, error)
    except KeyboardInterrupt:
        note("rasterloom: interrupted; what was committed before stands")
        return INTERRUPTED
    except (BrokenPipeError, Unwritten):
        raise
    except Exception as error:  # noqa: BLE001  the outermost edge: whatever arrives here is a bug, and is said to be one
        return _failed(fallback, _bug(error))


def _run(words: Sequence[str]) -> int:
    args = parse(words)
    if args.version:
        found = version("rasterloom")
        answer(args, {"version": found}, found)
        return 0
    if args.command is None:
        note(overview())
        return SpecError.exit_code
    return _loaded(args.command)(args)


def _loaded(command: Command) -> Callable[[Namespace], int]:
    module, _, name = command.target.partition(":")
    return cast("Callable[[Namespace], int]", getattr(import_module(module), name))


def _failed(args: Namespace, error: RasterloomError) -> int:
    if args.debug:
        traceback.print_exc()
    complain(error)
    if args.json:
        answer(args, {"error": error_document(error)}, "")
    return error.exit_code


def _bug(error: Exception) -> RasterloomError:
    where = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{os.path.basename(where.filename)}:{where.lineno}"
    return RasterloomError(
        f"a bug in rasterloom: {type(error).__name__} at {place}: {str(error)[:300]}",
        remedy="run again with --debug and report the traceback; committed collections are untouched",
    )


if __name__ == "__main__":
    sys.exit(main())
