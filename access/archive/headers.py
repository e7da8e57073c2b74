"""The header stage: one ranged GET per file where that is enough, on a bounded pool of threads, and no exception for one bad file."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from queue import SimpleQueue
from typing import BinaryIO, cast

from rasterloom.access.archive.stores import Stores
from rasterloom.access.archive.transfer import Part, Transfer
from rasterloom.access.network.translate import FOREIGN, Kind, failure_of, fault_of, raised, summary
from rasterloom.access.values import Asset, Failure, Traffic
from rasterloom.errors import AccessDenied, SpecError, Unavailable, Unreadable
from rasterloom.raster.fallback import SparseFile, read_header_with_tifffile
from rasterloom.raster.header import Header
from rasterloom.raster.tiff import Buffer, NeedMore, read_header
from rasterloom.specs.effort import Effort

FIRST_RANGE = 16384
"""Bytes of the first request for an asset key nobody has seen yet: enough for all directories of an ordinary COG."""
STEP, SMALLEST, LARGEST = 4096, 4096, 262144
"""A learned first range is rounded up to STEP and kept in SMALLEST..LARGEST."""
WIDEST = 256
"""Threads; more of them cost CPU and bring no throughput."""
MOST_PARTS = 16
"""Range requests for one header."""
_SECOND_OPINION = frozenset({"duplicate-tag", "field-type", "value-count"})
"""Reasons of our strict reader that are about the form of a tag: files that others read all the same."""
_SYSTEMIC = (Unavailable, AccessDenied, SpecError)


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
    batch = _Batch(stores, effort)
    done = {reading.href: reading for reading in batch.run([_Reading(href, first, batch) for href, first in wanted.items()])}
    _refuse_total_loss(list(done.values()))
    return Headers(
        results=[_result(asset, done[asset.href]) for asset in assets],
        traffic=Traffic(requests=sum(one.requests for one in done.values()), bytes=sum(one.bytes for one in done.values())),
        first_range=_learned(assets, done),
    )


def _first_request(needed: int) -> int:
    return min(LARGEST, max(SMALLEST, -(-needed // STEP) * STEP))


def _learned(assets: Sequence[Asset], done: Mapping[str, _Reading]) -> dict[str, int]:
    """A header that lies further back than LARGEST (directories at the end of the file) is out of reach of any first range."""
    ends: dict[str, list[int]] = {}
    for asset in assets:
        header = done[asset.href].header
        if header is not None and header.header_end <= LARGEST:
            ends.setdefault(asset.key, []).append(header.header_end)
    return {key: sorted(found)[math.ceil(0.99 * len(found)) - 1] for key, found in ends.items()}


def _result(asset: Asset, reading: _Reading) -> Header | Failure:
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


def _refuse_total_loss(done: Sequence[_Reading]) -> None:
    """A batch of which every file failed for the same systemic kind of reason says nothing about the files."""
    errors = [reading.error for reading in done if reading.error is not None]
    if not errors or len(errors) < len(done):
        return
    kinds = {fault_of(error).kind if isinstance(error, FOREIGN) else Kind.UNREADABLE for error in errors}
    if kinds in ({Kind.UNAVAILABLE}, {Kind.DENIED}):
        raise raised(fault_of(errors[0]), f"not one of {len(errors)} files could be read, the first one: {summary(errors[0])}")


class _Batch:
    """Threads that fetch, and the caller's thread that parses: a hundred threads that parse fight for the interpreter lock,
    which costs half as much again as all the work.
    """

    def __init__(self, stores: Stores, effort: Effort) -> None:
        self.stores = stores
        self.effort = effort
        self._stop = threading.Event()
        self._asked: SimpleQueue[_Reading | None] = SimpleQueue()
        self._fetched: SimpleQueue[_Reading] = SimpleQueue()

    def run(self, readings: Sequence[_Reading]) -> Sequence[_Reading]:
        """All readings, finished. Raises what concerns them all."""
        width = max(1, min(self.effort.max_concurrent, WIDEST, len(readings)))
        with ThreadPoolExecutor(width, thread_name_prefix="headers") as pool:
            workers = [pool.submit(self._work) for _ in range(width)]
            try:
                self._drive(iter(readings), len(readings), width)
            finally:
                self._stop.set()
                for _ in workers:
                    self._asked.put(None)
        for worker in workers:
            worker.result()
        return readings

    def _drive(self, left: Iterator[_Reading], count: int, width: int) -> None:
        """Keep two readings per thread under way, no more: what was fetched waits in memory."""
        for _, reading in zip(range(2 * width), left, strict=False):
            self._asked.put(reading)
        while count:
            reading = self._fetched.get()
            if isinstance(reading.error, _SYSTEMIC):
                raise reading.error
            if not reading.came:
                return  # its worker broke: `run` raises why
            following = next(left, None) if reading.parse() else reading
            count -= reading.finished
            if following is not None:
                self._asked.put(following)

    def _work(self) -> None:
        while (reading := self._asked.get()) is not None and not self._stop.is_set():
            try:
                reading.fetch()
            finally:
                self._fetched.put(reading)

    def sleep(self, seconds: float) -> None:
        """Sleeps, unless the batch stops: then raises `Unavailable`, which nobody sees behind the error that stopped it."""
        if self._stop.wait(seconds):
            raise Unavailable("the batch was stopped", remedy="see the first error")


class _Reading:
    """One header under way: fetched by one thread, parsed by another, never at the same time."""

    __slots__ = (
        "_batch",
        "_begun_again",
        "_buffer",
        "_end",
        "_first",
        "_head",
        "_part",
        "_parts",
        "_start",
        "_transfer",
        "bytes",
        "error",
        "first_seen",
        "header",
        "href",
        "last_seen",
        "requests",
    )

    def __init__(self, href: str, first: int, batch: _Batch) -> None:
        self.href = href
        self.header: Header | None = None
        self.error: BaseException | None = None
        self.first_seen = 0.0
        self.last_seen = 0.0
        self.requests = 0
        self.bytes = 0
        self._first = first
        self._batch = batch
        self._transfer: Transfer | None = None
        self._start, self._end = 0, first
        self._part: Part | None = None
        self._head: Part | None = None
        self._buffer: Buffer | None = None
        self._parts = 0
        self._begun_again = False

    @property
    def came(self) -> bool:
        """Whether the last fetch ended in one way or the other."""
        return self._part is not None or self.error is not None

    @property
    def finished(self) -> bool:
        return self.header is not None or self.error is not None

    def fetch(self) -> None:
        """The range that is wanted, or the error of this file, or one that concerns all."""
        self._part = None
        try:
            self._part = self._fetched()
        except (Unreadable, *_SYSTEMIC, *FOREIGN) as error:
            self.error = error

    def _fetched(self) -> Part:
        if self._transfer is None:
            self.first_seen = time.time()
            located = self._batch.stores.locate(self.href)
            gate = self._batch.stores.gate(located.host)
            self._transfer = Transfer(located, gate, effort=self._batch.effort, sleep=self._batch.sleep)
        return self._transfer.first(self._end) if self._start == 0 else self._transfer.range(self._start, self._end)

    def parse(self) -> bool:
        """Take in what was fetched. False: more bytes are wanted first."""
        if self._part is not None:
            try:
                self.header = self._parsed(self._part)
            except NeedMore as more:
                self._start, self._end = more.start, min(more.end, self._part.size)
            except Unreadable as error:
                self.error = error
        if not self.finished:
            return False
        self._let_go()
        return True

    def _let_go(self) -> None:
        """The bytes are of no more use, and thousands of readings wait for the end of their batch."""
        self.last_seen = time.time()
        if self._transfer is not None:
            self.requests, self.bytes = self._transfer.requests, self._transfer.bytes
        self._transfer = self._part = self._head = self._buffer = None

    def _parsed(self, part: Part) -> Header:
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise Unreadable(
                f"the header lies in more than {MOST_PARTS} pieces", reason="scattered-header", remedy="rewrite the file as a COG"
            )
        if self._head is None or self._buffer is None:
            self._head = part
            self._buffer = Buffer(bytes(part.data), part.size)
        elif (part.etag, part.size) != (self._head.etag, self._head.size):
            self._begin_again()
        else:
            self._buffer.add(self._start, bytes(part.data))
        header = _header_of(self._buffer)
        # nobody has seen the header yet; a copy of all its fields would cost as much as reading one directory
        object.__setattr__(header, "etag", part.etag)
        return header

    def _begin_again(self) -> None:
        """The file was replaced between two requests; raises `NeedMore`, or `Unreadable` the second time."""
        if self._begun_again:
            raise Unreadable("the file is replaced while it is read", reason="changed", remedy="run again when it is written")
        self._begun_again = True
        self._head = None
        raise NeedMore(0, self._first)


def _header_of(buffer: Buffer) -> Header:
    """By our own reader; what it refuses as malformed in form gets a second opinion from tifffile. Raises `NeedMore`, `Unreadable`."""
    try:
        return read_header(buffer)
    except Unreadable as refusal:
        if refusal.reason not in _SECOND_OPINION:
            raise
        try:
            return read_header_with_tifffile(cast(BinaryIO, SparseFile(buffer)), buffer.size)
        except Unreadable:
            raise refusal from None
