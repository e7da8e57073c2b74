"""The progress bar on the page of a run. A short run has none: every artifact is a request and a row of the database."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from rasterloom.flows.progress import Progress, share

FIRST_AFTER = 10.0
"""Seconds that a run lasts before it gets a bar."""
EVERY = 5.0
"""Seconds between two changes of the bar."""
_LOG = logging.getLogger("rasterloom.report")


class Bar:
    """A bar on the page of a run, once that has lasted some seconds; it never goes back. Used by one run, in its thread."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due = clock() + FIRST_AFTER
        self._artifact: UUID | None = None
        self._percent = 0.0

    def move(self, name: str, percent: float, words: str, *, is_done: bool) -> None:
        """`name`, of dots and dashes, is what the bar is of; its artifact is named after it."""
        is_last = is_done and self._artifact is not None
        if not is_last and (is_done or self._clock() < self._due):
            return
        self._due = self._clock() + EVERY
        self._percent = max(self._percent, percent)  # what is found later would move it back
        try:
            self._show(f"{name.replace('.', '-')}-progress", words)
        except Exception as error:  # noqa: BLE001 - Prefect's pages fail in many ways, and a bar is never worth a run
            _LOG.warning("%s: the progress is not shown: %s", name, type(error).__name__)

    def _show(self, key: str, words: str) -> None:
        if self._artifact is None:
            made = create_progress_artifact(self._percent, key=key, description=words)
            self._artifact = made if isinstance(made, UUID) else None
        else:
            update_progress_artifact(self._artifact, self._percent, description=words)


class RunPage(Bar):
    """A listener: makes the bar of a build, moves it, and fills it when the build is done."""

    def __call__(self, progress: Progress) -> None:
        self.move(progress.collection, round(100 * share(progress), 1), said(progress), is_done=progress.stage == "done")


def said(progress: Progress) -> str:
    """Where the build is, in one line."""
    if progress.stage == "decided":
        return f"{progress.action}: {progress.reason}"
    return (
        f"{progress.stage}: searches {progress.shards_done:,} of {progress.shards:,}, header batches {progress.batches_done:,} of "
        f"{progress.batches:,}; {progress.scenes:,} scenes, {progress.headers:,} headers, {progress.failures:,} failures"
    )
