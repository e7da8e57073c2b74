"""Reads windows of many files at once: ranges from a bounded pool, tiles decoded as they come, answers as they are whole."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import closing

from rasterloom.access.archive.stores import Stores
from rasterloom.access.pixels.fetch import HeaderCache
from rasterloom.access.pixels.meter import Meter
from rasterloom.access.pixels.reading import Kept, Limits, Reading
from rasterloom.access.pixels.tilecache import TileCache
from rasterloom.access.pixels.values import Answer, Pixels, WindowRead
from rasterloom.access.values import Traffic
from rasterloom.raster.recycled import Recycled
from rasterloom.specs.effort import Effort

__all__ = ["Answer", "Engine", "Limits"]


class Engine:
    """Reads pixels of files whose headers are known, with nothing but range requests. Thread-safe; made once per job or call.

    Reads of the same level of one file that are asked near each other share their requests and their decoded tiles, whatever their
    bands and windows; tiles that may be wanted again are kept. Memory is bounded by `limits` and the largest single read, not by
    the number of reads.
    """

    def __init__(self, stores: Stores, *, effort: Effort, limits: Limits | None = None) -> None:
        self._stores = stores
        self._effort = effort
        self._limits = limits or Limits()
        self._kept = Kept(TileCache(self._limits.cached), HeaderCache(), Recycled())
        self._meter = Meter()

    @property
    def traffic(self) -> Traffic:
        """What was asked of the network so far."""
        return self._meter.traffic

    @property
    def decoded(self) -> int:
        """Tiles that were decoded so far."""
        return self._meter.tiles

    def read(self, reads: Iterable[WindowRead]) -> Generator[Answer]:
        """An answer for each read, in the order in which they are done.

        `reads` is consumed as room is made, in the thread that asks for the answers: a slow reader of answers holds the requests back.
        Closing the generator ends what is under way.
        """
        reading = Reading(self._stores, self._effort, self._limits, self._kept, self._meter)
        return reading.answers(reads)

    def read_all(self, reads: Iterable[WindowRead]) -> list[Pixels]:
        """In the order of `reads`. Raises the first error that there is, and reads no further."""
        reading = Reading(self._stores, self._effort, self._limits, self._kept, self._meter)
        found: dict[int, Pixels] = {}
        with closing(reading.answers(reads)) as answers:
            for answer in answers:
                found[answer.index] = answer.pixels
        return [found[index] for index in range(len(found))]
