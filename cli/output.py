"""What the command line prints: answers on stdout, as text or as one JSON document; everything else on stderr."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from io import TextIOWrapper
from typing import Any, TextIO

from rasterloom.access.describe import size_text
from rasterloom.errors import Problem, RasterloomError, SpecError

__all__ = [
    "Json",
    "Unwritten",
    "answer",
    "complain",
    "error_document",
    "note",
    "pairs",
    "problem_document",
    "show_anything",
    "size_text",
    "table",
]

Json = Mapping[str, Any]


class Unwritten(Exception):
    """Stdout takes no more; the cause is the OSError: its reader went away, e.g. `| head`, or its disk is full."""


def answer(args: Namespace, document: Json, text: str) -> None:
    """Prints the document under --json, else the text (nothing where it is empty). Raises Unwritten."""
    whole = json.dumps(document, indent=2, ensure_ascii=not _holds_all(sys.stdout), default=_plain) if args.json else text
    if not whole:
        return
    try:
        print(whole, flush=True)
    except OSError as error:
        raise Unwritten from error


def _holds_all(stream: TextIO | None) -> bool:
    return str(getattr(stream, "encoding", None) or "utf-8").lower().replace("-", "") in ("utf8", "utf8sig")


def show_anything() -> None:
    """From here on stdout writes what its encoding lacks as `\\xfc`: not every terminal is UTF-8, and a path may be no text at all."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def note(text: str) -> None:
    """A line for the person at the terminal, on stderr."""
    if sys.stderr is not None:  # closed by who started us, print would take stdout for it
        print(text, file=sys.stderr, flush=True)


def complain(error: RasterloomError, *, name: str = "") -> None:
    """The error as a message with its remedy, on stderr; `name` is the collection that it is about."""
    note(f"rasterloom: {name}{': ' if name else ''}{error}")


def error_document(error: RasterloomError) -> Json:
    problems = error.problems if isinstance(error, SpecError) else ()
    return {
        "kind": type(error).__name__,
        "message": error.message,
        "remedy": error.remedy,
        "exit_code": error.exit_code,
        "problems": [problem_document(problem) for problem in problems],
    }


def problem_document(problem: Problem) -> Json:
    return {name: getattr(problem, name) for name in ("file", "line", "column", "path", "message", "value", "remedy")}


def table(rows: Sequence[Sequence[object]], header: Sequence[str]) -> str:
    """Left-aligned columns, two spaces apart; numbers to the right."""
    cells = [list(header), *[[_cell(value) for value in row] for row in rows]]
    widths = [max(len(line[column]) for line in cells) for column in range(len(header))]
    numeric = [bool(rows) and all(isinstance(row[column], (int, float)) for row in rows) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width) for cell, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in cells
    )


def pairs(values: Mapping[str, object], *, parts: str = ", ") -> str:
    """`key  value` lines, keys padded to one width; lists joined with `parts`, further lines below the first, empty values left out."""
    shown = {key: _joined(value, parts) for key, value in values.items() if value not in (None, "", (), [])}
    width = max(map(len, shown), default=0)
    below = "\n" + " " * (width + 2)
    return "\n".join(f"{key:<{width}}  {value.replace(chr(10), below)}" for key, value in shown.items())


def _joined(value: object, parts: str) -> str:
    return parts.join(map(str, value)) if isinstance(value, (list, tuple)) else _cell(value)


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _plain(value: object) -> object:
    """JSON for the few values of an answer that are not JSON: instants and tuples of numpy numbers."""
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if hasattr(value, "item"):
        return value.item()  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownVariableType]
    return str(value)
