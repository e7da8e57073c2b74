"""The header stage: one ranged GET per file where that is enough, on a bounded pool of threads, and no exception for one bad file."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from queue import SimpleQueue

from rasterloom.access.archive.reading import SYSTEMIC, How, Reading
from rasterloom.access.archive.stores import Stores
from rasterloom.access.network.lane import Lane
from rasterloom.access.network.translate import FOREIGN, Kind, failure_of, fault_of, raised, summary
from rasterloom.access.values import Asset, Failure, Traffic
from rasterloom.errors import Unavailable, Unreadable
from rasterloom.raster.header import Header
from rasterloom.specs.effort import Effort

FIRST_RANGE = 16384
"""Bytes of the first request for an asset key nobody has seen yet: enough for all directories of an ordinary COG."""
STEP, SMALLEST, LARGEST = 4096, 4096, 262144
"""A learned first range is rounded up to STEP and kept in SMALLEST..LARGEST."""
WIDEST = 512
"""Requests at once, each over a connection of its own: a process may often open 1,024 files."""
_MOST_THREADS = 256
"""More of them cost CPU and bring no throughput."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Headers:
    """What came of the assets of one batch."""

    results: list[Header | Failure]
    """In the order asked. A failure names band and href; its `item_id` is the caller's to fill in."""
    traffic: Traffic
    first_range: dict[str, int]
    """Asset key -> bytes that the first request of the next batch should ask for (99th percentile of what was needed)."""


def fetch_headers(assets: Sequence[Asset], stores: Stores, *, effort: Effort, first_range: Mapping[str, int]) -> Headers:
    """The header of every asset, or why there is none. The same href is asked once.

    Raises `Unavailable` or `AccessDenied` for the batch only where it is not the files: a host that is down, that refuses everything
    or asks for a pause longer than we wait, or a batch of which nothing could be read; `SpecError` where auth is incomplete.
    """
    wanted: dict[str, int] = {}
    for asset in assets:
        wanted[asset.href] = max(wanted.get(asset.href, 0), _first_request(first_range.get(asset.key, FIRST_RANGE)))
    batch = _Batch(stores, effort, width=max(1, min(effort.max_concurrent, WIDEST, len(wanted))))
    done = {href: Reading(href, first, batch.how) for href, first in wanted.items()}
    batch.run(list(done.values()))
    _refuse_total_loss(list(done.values()))
    return Headers(
        results=[_result(asset, done[asset.href]) for asset in assets],
        traffic=Traffic(requests=sum(one.requests for one in done.values()), bytes=sum(one.bytes for one in done.values())),
        first_range=_learned(assets, done),
    )


def _first_request(needed: int) -> int:
    return min(LARGEST, max(SMALLEST, -(-needed // STEP) * STEP))


def _learned(assets: Sequence[Asset], done: Mapping[str, Reading]) -> dict[str, int]:
    """A header that lies further back than LARGEST (directories at the end of the file) is out of reach of any first range."""
    ends: dict[str, list[int]] = {}
    for asset in assets:
        header = done[asset.href].header
        if header is not None and header.header_end <= LARGEST:
            ends.setdefault(asset.key, []).append(header.header_end)
    return {key: sorted(found)[math.ceil(0.99 * len(found)) - 1] for key, found in ends.items()}


def _result(asset: Asset, reading: Reading) -> Header | Failure:
    header, error = reading.header, reading.error
    if header is not None:
        if 0 <= asset.band_index < header.samples_per_pixel:
            return header
        message = f"the file has {header.samples_per_pixel} samples and no sample {asset.band_index}"
        error = Unreadable(message, reason="band-index", remedy="correct band_index_map")
    assert error is not None
    return failure_of(
        error,
        stage="header",
        band=asset.band,
        href=asset.href,
        attempts=reading.requests,
        first_seen=datetime.fromtimestamp(reading.first_seen, UTC),
        last_seen=datetime.fromtimestamp(reading.last_seen, UTC),
    )


def _refuse_total_loss(done: Sequence[Reading]) -> None:
    """A batch of which every file failed for the same systemic kind of reason says nothing about the files."""
    errors = [reading.error for reading in done if reading.error is not None]
    if not errors or len(errors) < len(done):
        return
    kinds = {fault_of(error).kind if isinstance(error, FOREIGN) else Kind.UNREADABLE for error in errors}
    if kinds in ({Kind.UNAVAILABLE}, {Kind.DENIED}):
        raise raised(fault_of(errors[0]), f"not one of {len(errors)} files could be read, the first one: {summary(errors[0])}")


class _Batch:
    """The caller's thread asks, receives and parses. Threads fetch what may have to wait: what is the first of its host or connection,
    what fails, and all that is not read over http.
    """

    def __init__(self, stores: Stores, effort: Effort, width: int) -> None:
        self.how = How(stores, effort, self._sleep)
        self._width = width
        self._lane: Lane[Reading] = Lane(effort.timeout)
        self._threads = min(width, _MOST_THREADS)
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="headers")
        self._workers: list[Future[None]] = []
        self._stop = threading.Event()
        self._given = 0
        """Readings that are with the threads."""
        self._wanted: SimpleQueue[Reading | None] = SimpleQueue()
        self._fetched: SimpleQueue[Reading] = SimpleQueue()

    def run(self, readings: Sequence[Reading]) -> None:
        """Finish all readings. Raises what concerns them all."""
        with closing(self._lane), self._pool:
            try:
                self._drive(iter(readings), len(readings))
            finally:
                self._stop.set()
                for _ in self._workers:
                    self._wanted.put(None)
        for worker in self._workers:
            worker.result()

    def _drive(self, left: Iterator[Reading], count: int) -> None:
        """Keep as many readings under way as there may be requests, no more: what was fetched waits in memory."""
        for reading in islice(left, self._width):
            self._start(reading)
        while count:
            for reading in self._come():
                if isinstance(reading.error, SYSTEMIC):
                    raise reading.error
                if not reading.came:
                    return  # its worker broke: `run` raises why
                following = next(left, None) if reading.parse() else reading
                count -= reading.finished
                if following is not None:
                    self._start(following)

    def _start(self, reading: Reading) -> None:
        if not reading.ask(self._lane):
            self._give(reading)

    def _give(self, reading: Reading) -> None:
        self._given += 1
        if len(self._workers) < min(self._given, self._threads):
            self._workers.append(self._pool.submit(self._work))
        self._wanted.put(reading)

    def _come(self) -> Iterator[Reading]:
        """Readings of which something came; waits for one, if need be."""
        if self._lane.busy:
            for reading, outcome in self._lane.wait():
                if reading.take(outcome):
                    yield reading
                else:
                    self._give(reading)
        while self._given and not (self._lane.busy and self._fetched.empty()):
            self._given -= 1
            yield self._fetched.get()

    def _work(self) -> None:
        while (reading := self._wanted.get()) is not None and not self._stop.is_set():
            try:
                reading.fetch()
            finally:
                self._fetched.put(reading)
                if self._lane.busy:
                    self._lane.ring()

    def _sleep(self, seconds: float) -> None:
        """Sleeps, unless the batch stops: then raises `Unavailable`, which nobody sees behind the error that stopped it."""
        if self._stop.wait(seconds):
            raise Unavailable("the batch was stopped", remedy="see the first error")
