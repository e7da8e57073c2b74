"""The threads of one call of the engine: many that fetch, as many that decode as there are cores, and the events they send back."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Any

from numpy.typing import NDArray

from rasterloom.access.pixels.fetch import Files
from rasterloom.access.pixels.meter import Meter
from rasterloom.access.pixels.plan import Block, Slot, portions
from rasterloom.access.pixels.ranges import Fetch, Ranges
from rasterloom.access.pixels.tilecache import TileCache
from rasterloom.access.pixels.values import Answer
from rasterloom.errors import RasterloomError
from rasterloom.raster.tiles import Span

_PORTION = 1 << 20
"""Decoded bytes of one piece of work for a thread."""


@dataclass(slots=True, eq=False)
class Group:
    """Reads of one level of one file."""

    key: Hashable
    slots: Sequence[Slot]
    left: int
    """Slots without an answer."""
    again: bool
    """Whether the file is read more than once: its tiles are kept."""


@dataclass(frozen=True, slots=True, eq=False)
class Ready:
    """The slots have the header that they need, or an error."""

    group: Group


@dataclass(frozen=True, slots=True, eq=False)
class Done:
    """A read is done, in one way or the other."""

    group: Group
    slot: Slot
    answer: Answer


@dataclass(frozen=True, slots=True, eq=False)
class Freed:
    """A range is decoded."""

    bytes: int


@dataclass(frozen=True, slots=True, eq=False)
class Crash:
    """A thread met what it does not know."""

    error: BaseException


Event = Ready | Done | Freed | Crash


class _Range:
    """One range that was fetched, until its last tile is decoded."""

    __slots__ = ("_left", "_lock", "data", "span")

    def __init__(self, span: Span[Block], data: memoryview, portions: int) -> None:
        self.span = span
        self.data = data
        self._left = portions
        self._lock = threading.Lock()

    def finished(self) -> bool:
        """Called once for each portion; True for the last one."""
        with self._lock:
            self._left -= 1
            return self._left == 0


class Pools:
    """What threads do for one call."""

    def __init__(self, files: Files, tiles: TileCache, meter: Meter, *, width: int, timeout: float) -> None:
        self.events: SimpleQueue[Event] = SimpleQueue()
        self._files = files
        self._tiles = tiles
        self._meter = meter
        self._ranges = Ranges(files, width=width, timeout=timeout, crashed=self._crashed)
        self._cores = ThreadPoolExecutor(_cores(), thread_name_prefix="pixels-decode")

    def close(self) -> None:
        """Comes back when no thread is left."""
        self._ranges.close()  # in this order: what was fetched goes from one to the other
        self._cores.shutdown(wait=True, cancel_futures=True)

    def complete(self, group: Group) -> None:
        """Read the whole header of the file, for slots whose row lacks something; then `Ready`."""
        self._ranges.submit(partial(self._complete, group))

    def fetch(self, group: Group, span: Span[Block]) -> None:
        """Fetch a range and decode its tiles; then `Freed`, and `Done` for slots that have all their tiles."""
        if any(block.wanted for block in span.tiles):
            self._ranges.ask(Fetch(group.slots[0].read.file, span.start, span.end, partial(self._came, group, span)))
        else:
            self._failed(group, span, group.slots[0].error)

    def place(self, group: Group, blocks: Sequence[Block]) -> None:
        """Tiles that need no bytes: sparse ones, and those that were decoded before."""
        for portion in portions(blocks, _PORTION):
            self._cores.submit(self._guarded, self._place, group, portion)

    def _guarded(self, work: Callable[..., None], *arguments: Any) -> None:
        try:
            work(*arguments)
        except BaseException as error:  # noqa: BLE001 - nobody looks at these futures: the thread that waits for events raises it
            self._crashed(error)

    def _crashed(self, error: BaseException) -> None:
        self.events.put(Crash(error))

    def _complete(self, group: Group) -> None:
        try:
            header = self._files.header(group.slots[0].read.file)
            for slot in group.slots:
                slot.header = header
        except RasterloomError as error:
            for slot in group.slots:
                slot.error = error
        self.events.put(Ready(group))

    def _failed(self, group: Group, span: Span[Block], error: RasterloomError | None) -> None:
        for block in span.tiles:
            self._fail(group, block, error)
        self.events.put(Freed(span.end - span.start))

    def _came(self, group: Group, span: Span[Block], data: memoryview | RasterloomError) -> None:
        if isinstance(data, RasterloomError):
            self._failed(group, span, data)
            return
        work = list(portions(span.tiles, _PORTION))
        fetched = _Range(span, data, len(work))
        for portion in work:
            self._cores.submit(self._guarded, self._decode, group, portion, fetched)

    def _decode(self, group: Group, portion: Sequence[Block], fetched: _Range) -> None:
        for block in portion:
            if not block.wanted:
                self._count(group, block)
                continue
            try:
                pixels = block.decode(block.tile, fetched.span.bytes_of(block, fetched.data), block.rows)
            except RasterloomError as error:
                self._fail(group, block, error)
                continue
            self._meter.decoded(1)
            if group.again and block.wanted_again:
                self._tiles.put((group.key, block.place), pixels)
            self._hand_out(group, block, pixels)
        if fetched.finished():
            self.events.put(Freed(fetched.span.end - fetched.span.start))

    def _place(self, group: Group, portion: Sequence[Block]) -> None:
        for block in portion:
            self._hand_out(group, block, block.decode(block.tile, b"") if block.pixels is None else block.pixels)

    def _hand_out(self, group: Group, block: Block, pixels: NDArray[Any]) -> None:
        for use in block.uses:
            use.slot.take(block.tile, pixels[..., use.sample], use.into)
        self._count(group, block)

    def _fail(self, group: Group, block: Block, error: RasterloomError | None) -> None:
        for use in block.uses:
            use.slot.error = use.slot.error or error
        self._count(group, block)

    def _count(self, group: Group, block: Block) -> None:
        for use in block.uses:
            if use.slot.finished():
                self.events.put(Done(group, use.slot, use.slot.answer()))


def _cores() -> int:
    """That this process may use."""
    return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
