"""What a build tells while it runs, to whoever listens in this process. The flow itself prints nothing."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

from rasterloom.access.building.decide import Action


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A snapshot of a build: totals so far, each one complete in itself."""

    collection: str
    stage: Literal["decided", "gathering", "publishing", "done"]
    action: Action
    reason: str
    """Why that action, in one line."""
    shards: int = 0
    shards_done: int = 0
    batches: int = 0
    """Header batches known so far; grows while searches come in."""
    batches_done: int = 0
    remembered: int = 0
    """Searches and batches answered from the cache: no request was made for them."""
    scenes: int = 0
    headers: int = 0
    failures: int = 0
    search_requests: int = 0
    """Pages asked for by this run."""
    header_requests: int = 0
    """Ranges asked for by this run."""
    bytes: int = 0
    """Bytes received by this run."""


Listener = Callable[[Progress], None]

_listener: ContextVar[Listener | None] = ContextVar("rasterloom_progress", default=None)


@contextmanager
def listening(listener: Listener | None) -> Generator[None]:
    """For the block, builds of this thread tell `listener`, which is called in the same thread and must be quick."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


@contextmanager
def also(listener: Listener) -> Generator[None]:
    """For the block, builds of this thread tell `listener` too, after the one that they tell already."""
    first = _listener.get()

    def both(progress: Progress) -> None:
        if first is not None:
            first(progress)
        listener(progress)

    with listening(both):
        yield


def share(progress: Progress) -> float:
    """How much of the build is done (0..1), as far as is known: searches and batches count alike, the commit as one of them."""
    if progress.stage == "done":
        return 1.0
    steps = progress.shards + max(progress.batches, progress.shards) + 1
    return (progress.shards_done + progress.batches_done) / steps


def tell(progress: Progress) -> None:
    listener = _listener.get()
    if listener is not None:
        listener(progress)
