"""How a build is shown while it runs: a bar on a terminal, plain lines elsewhere, nothing under --json. Always on stderr."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rasterloom.cli.output import note, size_text

if TYPE_CHECKING:
    from rasterloom.flows.progress import Listener, Progress
    from rasterloom.flows.readprogress import ReadListener, ReadProgress

EVERY = 5.0
"""Seconds between plain lines about the same stage."""


@contextmanager
def shown(args: Namespace, name: str) -> Generator[Listener | None]:
    """A listener for the build of `name` that shows it until the block ends."""
    if args.json:
        yield None
    elif sys.stderr.isatty():
        with _bar(name) as listener:
            yield listener
    else:
        note(f"{name}: starting Prefect")
        yield _lines()


@contextmanager
def shown_read(args: Namespace, name: str) -> Generator[ReadListener | None]:
    """As `shown`, for a read."""
    if args.json:
        yield None
    elif sys.stderr.isatty():
        with _bars(name) as move:
            yield lambda progress: move(read_sentence(progress), progress.to_make + 1, progress.made + (progress.stage == "done"))
    else:
        note(f"{name}: starting Prefect")
        yield read_lines()


def read_sentence(progress: ReadProgress) -> str:
    """Where the read is, in one line."""
    if progress.stage == "decided":
        return f"{progress.reason}; {progress.to_make:,} of {progress.units:,} units to make"
    asked = f"{progress.traffic.requests:,} requests, {size_text(progress.traffic.bytes)}"
    failed = f", {progress.failures:,} failed" if progress.failures else ""
    return f"{progress.stage}: {progress.made:,} of {progress.to_make:,} units, {asked}{failed}"


def read_lines() -> ReadListener:
    """A listener that prints a line per stage, and one every few seconds within it."""
    last: list[tuple[str, float]] = [("", 0.0)]

    def listener(progress: ReadProgress) -> None:
        key = f"{progress.read} {progress.stage}"
        if last[0][0] != key or time.monotonic() - last[0][1] >= EVERY:
            last[0] = (key, time.monotonic())
            note(f"{progress.collection}.{progress.read}: {read_sentence(progress)}")

    return listener


def both(first: Listener, second: Listener | None) -> Listener:
    """A listener that tells two."""

    def listener(progress: Progress) -> None:
        first(progress)
        if second is not None:
            second(progress)

    return listener


def sentence(progress: Progress) -> str:
    """Where the build is, in one line."""
    stages: dict[str, Callable[[Progress], str]] = {"decided": _decided, "gathering": _gathering, "publishing": _publishing, "done": _done}
    return stages[progress.stage](progress)


def _decided(progress: Progress) -> str:
    return f"{progress.action}: {progress.reason}"


def _gathering(progress: Progress) -> str:
    return (
        f"{progress.scenes:,} scenes, {progress.headers:,} headers; searches {progress.shards_done}/{progress.shards}, "
        f"batches {progress.batches_done}/{progress.batches}"
    )


def _publishing(progress: Progress) -> str:
    return f"writing {progress.scenes:,} scenes"


def _done(progress: Progress) -> str:
    asked = f"{progress.search_requests:,} search and {progress.header_requests:,} header requests, {size_text(progress.bytes)}"
    failed = f", {progress.failures:,} failed" if progress.failures else ""
    return f"{progress.scenes:,} scenes{failed}; {asked}"


def _lines() -> Listener:
    last: list[tuple[str, float]] = [("", 0.0)]

    def listener(progress: Progress) -> None:
        stage, since = last[0]
        if progress.stage != stage or time.monotonic() - since >= EVERY:
            last[0] = (progress.stage, time.monotonic())
            note(f"{progress.collection}: {sentence(progress)}")

    return listener


@contextmanager
def _bar(name: str) -> Generator[Listener]:
    with _bars(name) as move:
        yield lambda progress: move(sentence(progress), *_steps(progress))


@contextmanager
def _bars(name: str) -> Generator[Callable[[str, int | None, int], None]]:
    """Moves a bar: its text, all steps (None: not yet known), those done."""
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    # What changes in length comes last, so that a narrow terminal cuts that alone.
    columns = (
        SpinnerColumn(),
        TextColumn("{task.fields[name]}", style="bold", markup=False),
        TimeElapsedColumn(),
        BarColumn(bar_width=12),
        TextColumn("{task.description}", markup=False),
    )
    with Bars(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task("starting Prefect", name=name, total=None)
        yield lambda text, steps, done: bars.update(task, description=text, total=steps, completed=done)


def _steps(progress: Progress) -> tuple[int | None, int]:
    """All steps and those done: one per search, one per batch, one for the commit. None: not yet known, so that the bar pulses."""
    if progress.stage == "decided":
        return None, 0
    steps = progress.shards + progress.batches + 1
    return steps, steps if progress.stage == "done" else progress.shards_done + progress.batches_done
