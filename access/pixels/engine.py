"""Reads windows of many files at once: ranges from a bounded pool, tiles decoded as they come."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass

import numpy as np

from rasterloom.access.hosts import backoff_seconds
from rasterloom.access.pixels.values import Pixels, WindowRead
from rasterloom.access.stores import Located, Stores
from rasterloom.access.transfer import several
from rasterloom.access.translate import translated
from rasterloom.errors import RasterloomError, Unavailable
from rasterloom.raster.decode import read_window
from rasterloom.raster.tiles import Span
from rasterloom.specs.effort import Effort

_WINDOWS_AT_ONCE = 16


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer:
    """What became of one `WindowRead`."""

    index: int
    """0-based place of the read in what was asked."""
    read: Pixels | RasterloomError
    """The error is `Unreadable`, `Unavailable` or `AccessDenied`: one file's, and no reason to stop reading the others."""

    @property
    def pixels(self) -> Pixels:
        """Raises the error where there is one."""
        if isinstance(self.read, RasterloomError):
            raise self.read
        return self.read


class Engine:
    """Reads pixels of files whose headers are known, with nothing but range requests. Thread-safe; made once per job or call."""

    def __init__(self, stores: Stores, *, effort: Effort) -> None:
        self._stores = stores
        self._effort = effort

    def read(self, reads: Sequence[WindowRead]) -> Iterator[Answer]:
        """An answer for each read, in the order in which they are done."""
        with ThreadPoolExecutor(min(_WINDOWS_AT_ONCE, self._effort.max_concurrent)) as pool:
            futures: list[Future[Answer]] = [pool.submit(self._answer, index, read) for index, read in enumerate(reads)]
            for future in as_completed(futures):
                yield future.result()

    def read_all(self, reads: Sequence[WindowRead]) -> list[Pixels]:
        """In the order of `reads`. Raises the first error."""
        answers = sorted(self.read(reads), key=lambda answer: answer.index)
        return [answer.pixels for answer in answers]

    def _answer(self, index: int, read: WindowRead) -> Answer:
        try:
            return Answer(index=index, read=self._pixels(read))
        except RasterloomError as error:
            return Answer(index=index, read=error)

    def _pixels(self, read: WindowRead) -> Pixels:
        header = read.file.header
        located = self._stores.locate(read.file.href)
        level = (header.full, *header.overviews)[read.level]
        data = read_window(header, read.file.band_index, level, read.window, lambda spans: self._fetched(located, spans))
        nodata = header.nodata
        valid = np.ones(data.shape, bool) if nodata is None else ~np.isnan(data) if nodata != nodata else data != nodata
        return Pixels(data=data, valid=valid)

    def _fetched(self, located: Located, spans: Sequence[Span]) -> list[bytes]:
        """The ranges, with the retries of the spec."""
        for attempt in range(1, self._effort.retries + 2):
            self._stores.gate(located.host).wait()
            try:
                with translated(f"read {located.href}"):
                    return several(located, [(span.start, span.end) for span in spans])
            except Unavailable:
                if attempt > self._effort.retries:
                    raise
                time.sleep(backoff_seconds(attempt))
        raise Unavailable(f"{located.href} was not read", remedy="raise build.retries")
