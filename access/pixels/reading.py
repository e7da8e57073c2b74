"""One call of the engine: reads are grouped by file, their requests and tiles go to the pools, answers come back as they are whole.

The thread that asks for answers admits reads, and nothing else does: what is under way is bounded by `Limits`. No file waits for
another one, and no tile for the rest of its file.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Generator, Hashable, Iterable, Iterator
from dataclasses import dataclass

from rasterloom.access.archive.stores import Stores
from rasterloom.access.pixels.fetch import Files, HeaderCache
from rasterloom.access.pixels.meter import Meter
from rasterloom.access.pixels.plan import Block, Slot, bytes_of, check, identity_of, plan
from rasterloom.access.pixels.pools import Crash, Done, Event, Freed, Group, Pools, Ready
from rasterloom.access.pixels.tilecache import CACHED, TileCache
from rasterloom.access.pixels.values import Answer, WindowRead
from rasterloom.errors import RasterloomError, Unavailable
from rasterloom.raster.recycled import Recycled
from rasterloom.raster.tiles import Span, spans_of
from rasterloom.specs.effort import Effort

AHEAD = 512
"""Reads that are looked at together, to find those of the same file."""
FILES_AT_FIRST = 32
"""Of so many files the reads are looked at before anything is under way."""
WIDEST = 64
"""Requests at once: where every answer has pixels to decode, more threads cost more than they bring."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bytes in memory. One read that is larger goes alone."""

    arrays: int = 256 << 20
    """Arrays of reads under way, and of answers that nobody has taken."""
    compressed: int = 64 << 20
    """Ranges that are asked for or wait for their decoding."""
    cached: int = CACHED
    """Decoded tiles that may be wanted again."""


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """What one call leaves to the next ones of its engine."""

    tiles: TileCache
    headers: HeaderCache
    memory: Recycled
    """Of decoded tiles."""


class Reading:
    """See above. Used once, by one thread."""

    def __init__(self, stores: Stores, effort: Effort, limits: Limits, kept: Kept, meter: Meter) -> None:
        self._limits = limits
        self._tiles, self._memory = kept.tiles, kept.memory
        self._stop = threading.Event()
        files = Files(stores, effort, kept.headers, meter, self._sleep)
        self._pools = Pools(files, kept.tiles, meter, width=max(1, min(effort.max_concurrent, WIDEST)), timeout=effort.timeout)
        self._waiting: OrderedDict[Hashable, deque[tuple[int, WindowRead]]] = OrderedDict()
        self._looked_at = 0
        self._exhausted = False
        self._under_way: set[Hashable] = set()
        self._arrays = 0
        self._compressed = 0
        self._spans: deque[tuple[Group, Span[Block]]] = deque()

    def answers(self, reads: Iterable[WindowRead]) -> Generator[Answer]:
        """An answer for each read, in the order in which they are done."""
        left, files = enumerate(reads), FILES_AT_FIRST
        try:
            while True:
                yield from self._look_ahead(left, files)
                if self._begin_what_fits():
                    files = AHEAD
                    continue
                if not self._under_way:
                    return
                yield from self._handle(self._pools.events.get())
        finally:
            self._stop.set()
            self._pools.close()

    def _sleep(self, seconds: float) -> None:
        """Sleeps, unless nobody wants answers any more."""
        if self._stop.wait(seconds):
            raise Unavailable("the reading was stopped", remedy="read again")

    def _look_ahead(self, left: Iterator[tuple[int, WindowRead]], files: int) -> Generator[Answer]:
        while self._looked_at < AHEAD and len(self._waiting) < files:
            following = next(left, None)
            if following is None:
                self._exhausted = True
                return
            index, read = following
            try:
                check(read)
            except RasterloomError as error:
                yield Answer(index=index, read=error)
                continue
            self._waiting.setdefault((identity_of(read.file), read.level), deque()).append((index, read))
            self._looked_at += 1

    def _begin_what_fits(self) -> bool:
        """Whether anything was begun. Two groups of one file are never under way: the second takes the tiles of the first."""
        begun = False
        for key in self._ready():
            if self._under_way and self._arrays + bytes_of(self._waiting[key][0][1]) > self._limits.arrays:
                break
            self._begin(self._taken(key))
            begun = True
        return begun

    def _ready(self) -> list[Hashable]:
        """Files whose reads may begin: not the one that was looked at last, more of which may follow, unless it fills all that is seen."""
        ready = [key for key in self._waiting if key not in self._under_way]
        if ready and not self._exhausted and ready[-1] == next(reversed(self._waiting)) and (len(ready) > 1 or self._looked_at < AHEAD):
            ready.pop()
        return ready

    def _taken(self, key: Hashable) -> Group:
        """Reads of one file, as many as fit in half of the memory, so that other files go on beside it."""
        waiting, slots, room = self._waiting[key], list[Slot](), self._limits.arrays // 2
        while waiting and (not slots or bytes_of(waiting[0][1]) <= room):
            slots.append(Slot(*waiting.popleft()))
            room -= slots[-1].bytes
        again = self._tiles.is_read_again(key) or bool(waiting)
        if not waiting:
            del self._waiting[key]
        self._looked_at -= len(slots)
        self._arrays += sum(slot.bytes for slot in slots)
        self._under_way.add(key)
        return Group(key, slots, len(slots), again)

    def _begin(self, group: Group) -> None:
        if any(slot.needs_header for slot in group.slots):
            self._pools.complete(group)
        else:
            self._plan(group)

    def _plan(self, group: Group) -> None:
        here: list[Block] = []
        missing: list[Block] = []
        for block in plan(group.slots, self._memory):
            block.pixels = self._tiles.get((group.key, block.place), block.rows)
            (missing if block.byte_count and block.pixels is None else here).append(block)
        self._pools.place(group, here)
        self._spans.extend((group, span) for span in spans_of(missing))
        self._send()

    def _send(self) -> None:
        """Ask for as many ranges as there is room for."""
        while self._spans:
            group, span = self._spans[0]
            size = span.end - span.start
            if self._compressed and self._compressed + size > self._limits.compressed:
                return
            self._spans.popleft()
            self._compressed += size
            self._pools.fetch(group, span)

    def _handle(self, event: Event) -> Generator[Answer]:
        match event:
            case Done(group, slot, answer):
                yield from self._answered(group, slot, answer)
            case Ready(group):
                failed = [slot for slot in group.slots if slot.error is not None]
                for slot in failed:
                    yield from self._answered(group, slot, slot.answer())
                if not failed:
                    self._plan(group)
            case Freed(size):
                self._compressed -= size
                self._send()
            case Crash(error):
                raise error

    def _answered(self, group: Group, slot: Slot, answer: Answer) -> Generator[Answer]:
        group.left -= 1
        if not group.left:
            self._under_way.discard(group.key)
        yield answer
        self._arrays -= slot.bytes  # now the caller has asked for the next one
