"""`rasterloom info NAME --html [FILE]`: the report of a snapshot as a page."""

from __future__ import annotations

import sys
import webbrowser
from argparse import Namespace
from pathlib import Path

from rasterloom.access.reports.store import page_of, place_of
from rasterloom.access.versions.opening import Opened
from rasterloom.access.workspace.place import is_remote
from rasterloom.cli.output import answer
from rasterloom.errors import SpecError


def show_report(args: Namespace, opened: Opened) -> int:
    """Writes FILE; without one tells where the page lies, and opens it where somebody sits at a terminal."""
    if args.html:
        place = _written(Path(args.html).expanduser(), page_of(opened))
    else:
        place = place_of(opened)
        if sys.stdout.isatty() and not args.json and not is_remote(place):
            webbrowser.open(Path(place).as_uri())
    answer(args, {"name": opened.name, "report": place}, place)
    return 0


def _written(path: Path, text: str) -> str:
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise SpecError(f"{path} cannot be written: {error.strerror}", remedy="give another FILE") from error
    return str(path)
