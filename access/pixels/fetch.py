"""Bytes of files whose headers are known: that they are still the same files, and what of a header its row does not hold."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

from rasterloom.access.archive.stores import Located, Stores
from rasterloom.access.archive.transfer import Part, Transfer
from rasterloom.access.network.translate import FOREIGN, error_of
from rasterloom.access.pixels.meter import Meter
from rasterloom.access.pixels.plan import identity_of
from rasterloom.access.pixels.values import BandFile
from rasterloom.access.values import Traffic
from rasterloom.errors import Unreadable
from rasterloom.raster.header import Header
from rasterloom.raster.tiff import Buffer, NeedMore, read_header
from rasterloom.specs.effort import Effort

_KEPT = 256
"""Whole headers of files, of which their rows hold less than is read."""
_FIRST = 16 << 10
"""Bytes of a header without its tables."""
_MOST_PARTS = 16
_REINDEX = "build the collection again: `rasterloom run NAME --force` reads all headers anew"


class Files:
    """Ranges of the files of one source. Thread-safe. `sleep` is what waits are made of."""

    def __init__(
        self, stores: Stores, effort: Effort, headers: HeaderCache, meter: Meter, sleep: Callable[[float], object] = time.sleep
    ) -> None:
        self._stores = stores
        self._effort = effort
        self._headers = headers
        self._meter = meter
        self._sleep = sleep

    def range(self, file: BandFile, start: int, end: int, transfer: Transfer | None = None) -> memoryview:
        """Bytes `start <= byte < end`, with the retries of the spec. `transfer`: what was begun of it.

        Raises `Unreadable` (`changed` where the file is not the one that was indexed), `Unavailable`, `AccessDenied`.
        """
        return memoryview(self._part(transfer or self.transfer(file), file, start, end).data)

    def taken(self, file: BandFile, start: int, end: int, part: Part) -> memoryview:
        """The bytes of one answer that somebody else received. Raises as `range`."""
        self._meter.add(Traffic(requests=1, bytes=len(part.data)))
        return memoryview(_checked(file, start, end, part).data)

    def broken_off(self, requests: int) -> None:
        """So many were sent, and their answers are not waited for."""
        self._meter.add(Traffic(requests=requests))

    def header(self, file: BandFile) -> Header:
        """The whole header, for what the row of `file` does not hold of it. Remembered for files that were read last."""
        known = self._headers.get(identity_of(file))
        return known or self._headers.put(identity_of(file), self._read_header(file))

    def transfer(self, file: BandFile) -> Transfer:
        """For one range. May wait for a name or a token; raises as `range`."""
        return self._to(self._stores.locate(file.href))

    def known_transfer(self, file: BandFile) -> Transfer | None:
        """The same, where nothing has to be waited for."""
        located = self._stores.known(file.href)
        return None if located is None else self._to(located)

    def _to(self, located: Located) -> Transfer:
        return Transfer(located, self._stores.gate(located.host), effort=self._effort, sleep=self._sleep)

    def _part(self, transfer: Transfer, file: BandFile, start: int, end: int) -> Part:
        asked = transfer.requests
        try:
            part = transfer.range(start, end)
        except FOREIGN as error:
            raise error_of(f"read {file.href}", error) from error
        finally:
            self._meter.add(Traffic(requests=transfer.requests - asked))
        self._meter.add(Traffic(bytes=len(part.data)))
        return _checked(file, start, end, part)

    def _read_header(self, file: BandFile) -> Header:
        transfer = self.transfer(file)
        part = self._part(transfer, file, 0, _FIRST + _table_bytes(file.header))
        buffer = Buffer(bytes(part.data), part.size)
        for _ in range(_MOST_PARTS):
            try:
                return read_header(buffer)
            except NeedMore as more:
                end = min(more.end, part.size)
                buffer.add(more.start, bytes(self._part(transfer, file, more.start, end).data))
        raise Unreadable(f"the header of {file.href} lies in more than {_MOST_PARTS} pieces", reason="scattered-header")


class HeaderCache:
    """Whole headers of the files that were read last. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, Header] = OrderedDict()

    def get(self, key: Hashable) -> Header | None:
        with self._lock:
            return self._kept.get(key)

    def put(self, key: Hashable, header: Header) -> Header:
        with self._lock:
            self._kept[key] = header
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            return header


def _table_bytes(header: Header) -> int:
    """Of offsets and byte counts of all levels."""
    tiles = sum(level.tiles_across * level.tiles_down for level in (header.full, *header.overviews))
    return 16 * tiles * (header.samples_per_pixel if header.planar_configuration == 2 else 1)


def _checked(file: BandFile, start: int, end: int, part: Part) -> Part:
    _check_same(file, part)
    if len(part.data) != min(end, part.size) - start:
        raise Unreadable(f"{file.href} gave {len(part.data)} bytes of {end - start}", reason="truncated", remedy="fetch the file again")
    return part


def _check_same(file: BandFile, part: Part) -> None:
    """Offsets of one file say nothing about another one under the same name."""
    etag, size = file.header.etag, file.header.size
    if size is not None and part.size != size:
        raise _changed(file, f"it had {size} bytes, and has {part.size}")
    if etag and part.etag and _bare(etag) != _bare(part.etag):
        raise _changed(file, f"its ETag was {etag}, and is {part.etag}")


def _changed(file: BandFile, how: str) -> Unreadable:
    return Unreadable(f"{file.href} was replaced after it was indexed: {how}", reason="changed", remedy=_REINDEX)


def _bare(etag: str) -> str:
    """Without the mark of a weak one: servers set it for the encoding of an answer, not for its bytes."""
    return etag.removeprefix("W/")
