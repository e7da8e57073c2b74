"""One header under way: what was fetched of it, what is wanted next, and what came of it in the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, cast

from rasterloom.access.archive.stores import Located, Stores
from rasterloom.access.archive.transfer import Part, Transfer
from rasterloom.access.network.lane import Lane
from rasterloom.access.network.translate import FOREIGN
from rasterloom.access.network.wire import Outcome, Question
from rasterloom.errors import AccessDenied, SpecError, Unavailable, Unreadable
from rasterloom.raster.fallback import SparseFile, read_header_with_tifffile
from rasterloom.raster.header import Header
from rasterloom.raster.tiff import Buffer, NeedMore, read_header
from rasterloom.specs.effort import Effort

MOST_PARTS = 16
"""Range requests for one header."""
_SECOND_OPINION = frozenset({"duplicate-tag", "field-type", "value-count"})
"""Reasons of our strict reader that are about the form of a tag: files that others read all the same."""
SYSTEMIC = (Unavailable, AccessDenied, SpecError)


@dataclass(frozen=True, slots=True)
class How:
    """What all readings of a batch share."""

    stores: Stores
    effort: Effort
    sleep: Callable[[float], object]


class Reading:
    """Asked for and parsed by one thread, fetched by others where that may have to wait, never at the same time."""

    __slots__ = (
        "_begun_again",
        "_buffer",
        "_end",
        "_first",
        "_head",
        "_how",
        "_opened",
        "_part",
        "_parts",
        "_start",
        "_transfer",
        "_unasked",
        "bytes",
        "error",
        "first_seen",
        "header",
        "href",
        "last_seen",
        "requests",
    )

    def __init__(self, href: str, first: int, how: How) -> None:
        self.href = href
        self.header: Header | None = None
        self.error: BaseException | None = None
        self.first_seen = 0.0
        self.last_seen = 0.0
        self.requests = 0
        self.bytes = 0
        self._first = first
        self._how = how
        self._transfer: Transfer | None = None
        self._start, self._end = 0, first
        self._part: Part | None = None
        self._head: Part | None = None
        self._buffer: Buffer | None = None
        self._parts = 0
        self._begun_again = False
        self._unasked: Question | None = None
        """For which the lane had no connection."""
        self._opened = False

    @property
    def came(self) -> bool:
        """Whether the last fetch ended in one way or the other."""
        return self._part is not None or self.error is not None or self._opened

    @property
    def finished(self) -> bool:
        return self.header is not None or self.error is not None

    def ask(self, lane: Lane[Reading]) -> bool:
        """Ask for the range that is wanted, if nothing has to be waited for; False: `fetch` it."""
        self._part, self._opened = None, False
        if self._transfer is None:
            located = self._how.stores.known(self.href)
            if located is None:
                return False
            self._transfer = self._by(located)
        question = self._transfer.question(self._start, self._end)
        if question is None:
            return False
        asked = lane.ask(question, self)
        self._unasked = None if asked else question
        return asked

    def take(self, outcome: Outcome) -> bool:
        """What came of `ask`. False: `fetch` goes on with it."""
        assert self._transfer is not None
        self._part = self._transfer.take(outcome)
        return self._part is not None

    def fetch(self) -> None:
        """The range that is wanted, or the error of this file, or one that concerns all; or a connection alone: the lane asks then."""
        question, self._unasked = self._unasked, None
        try:
            self._opened = question is not None and self._transfer is not None and self._transfer.open(question)
            if not self._opened:
                self._part = self._fetched()
        except (Unreadable, *SYSTEMIC, *FOREIGN) as error:
            self.error = error

    def _fetched(self) -> Part:
        if self._transfer is None:
            self._transfer = self._by(self._how.stores.locate(self.href))
        return self._transfer.first(self._end) if self._start == 0 else self._transfer.range(self._start, self._end)

    def _by(self, located: Located) -> Transfer:
        self.first_seen = self.first_seen or time.time()
        gate = self._how.stores.gate(located.host)
        return Transfer(located, gate, effort=self._how.effort, sleep=self._how.sleep)

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
