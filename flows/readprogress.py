"""What a read tells while it runs, to whoever listens in this process."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

from rasterloom.access.reads.outputs import OutputRef
from rasterloom.access.values import Traffic


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadProgress:
    """A snapshot of a read: totals so far, each one complete in itself."""

    collection: str
    read: str
    kind: str
    stage: Literal["decided", "reading", "finishing", "done"]
    reason: str
    """Why something is to be done, or nothing."""
    units: int = 0
    """All units of the output."""
    to_make: int = 0
    """Those that are not remembered."""
    made: int = 0
    failures: int = 0
    traffic: Traffic = Traffic()  # noqa: RUF009  frozen
    output: OutputRef | None = None
    """With `done`."""


ReadListener = Callable[[ReadProgress], None]

_listener: ContextVar[ReadListener | None] = ContextVar("rasterloom_read_progress", default=None)


@contextmanager
def listening_to_reads(listener: ReadListener | None) -> Generator[None]:
    """For the block, reads of this thread tell `listener`, which is called in the same thread and must be quick."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def tell_read(progress: ReadProgress) -> None:
    listener = _listener.get()
    if listener is not None:
        listener(progress)
