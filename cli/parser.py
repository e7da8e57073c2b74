"""The words of the command line. Imports nothing heavy: a command's module is loaded when the command runs."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from typing import NoReturn

from rasterloom.cli.commands import COMMANDS, GROUPS, Command
from rasterloom.errors import SpecError


class Parser(argparse.ArgumentParser):
    """Raises SpecError instead of ending the process, so that wrong words look like every other error."""

    def error(self, message: str) -> NoReturn:
        raise SpecError(f"{message[:1].lower()}{message[1:]}", remedy=f"see `{self.prog} --help`")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments, with `command` a Command or None. Raises SpecError; ends the process for --help alone."""
    if argv and not argv[0].startswith("-") and argv[0] not in COMMANDS:
        raise _unknown(argv[0])
    parser = Parser(prog="rasterloom", add_help=False)
    parser.format_help = overview
    parser.add_argument("-h", "--help", action="help")
    parser.add_argument("--version", action="store_true")
    parser.set_defaults(command=None, json=False, debug=False)
    parts = parser.add_subparsers(parser_class=Parser, metavar="COMMAND")
    for command in COMMANDS.values():
        _add(parts, command)
    return parser.parse_args(argv)


_HEAD = """\
usage: rasterloom COMMAND ... [--workspace URI] [--json] [--debug]

YAML specs become Prefect flows that build collections of cloud-optimized GeoTIFFs.
"""
_FOOT = """
Start with:
  rasterloom demo                   see it work, offline
  rasterloom init && rasterloom run sentinel-2-l2a.yaml

Every command: --help with examples; --workspace directory or s3://, gs://, az:// prefix (default:
RASTERLOOM_WORKSPACE, else ~/rasterloom_workspace); --json one JSON document; --debug tracebacks.

Exit codes: 0 done; 1 a bug; 2 the spec or the command line is wrong; 3 access denied; 4 a service is unavailable;
5 the error budget or a check failed, and the old snapshot stands; 130 interrupted.
"""


def overview() -> str:
    """The help page of the program: commands by group, with what they take."""
    lines: list[str] = []
    for group, commands in GROUPS.items():
        lines += ["", f"{group}:", *map(_line, commands)]
    return _HEAD + "\n".join(lines) + "\n" + _FOOT


def _line(command: Command) -> str:
    """What it takes beside what it does, or above where that is long."""
    usage = f"{command.name} {command.usage}"
    return f"  {usage:<33} {command.summary}" if len(usage) <= 33 else f"  {usage}\n{'':<36}{command.summary}"


def _add(parts: argparse._SubParsersAction[Parser], command: Command) -> None:  # pyright: ignore[reportPrivateUsage]
    examples = "examples:\n" + "\n".join(f"  {example}" for example in command.examples)
    parser = parts.add_parser(
        command.name,
        description=f"{command.summary[:1].upper()}{command.summary[1:]}.",
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.arguments(parser)
    shared = parser.add_argument_group("every command")
    shared.add_argument(
        "--workspace", metavar="URI", help="where collections live (default: RASTERLOOM_WORKSPACE, else ~/rasterloom_workspace)"
    )
    shared.add_argument("--json", action="store_true", help="print one JSON document on stdout; logs and progress stay on stderr")
    shared.add_argument("--debug", action="store_true", help="show tracebacks")
    parser.set_defaults(command=command)


def _unknown(word: str) -> SpecError:
    near = difflib.get_close_matches(word, COMMANDS, n=1)
    hint = f"did you mean `rasterloom {near[0]}`? " if near else ""
    return SpecError(f"there is no command {word[:60]!r}", remedy=f"{hint}the commands are {', '.join(COMMANDS)}")
