"""Headers that are laid out alike: what one taught is used for the next.

The files of a collection come from one program, and differ in little more than where their tiles lie. Where every other byte that
matters is the same as in a file before, only the tile tables, the tiepoint and the pixel scale are read: a third of the work.
Whatever is not exactly so is read in full.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from dataclasses import fields as fields_of
from itertools import accumulate, groupby, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rasterloom.raster import fields
from rasterloom.raster.buffer import Buffer
from rasterloom.raster.geokeys import affine_of, georeference
from rasterloom.raster.header import Header, Level
from rasterloom.raster.ifd import Directories, Value, start_of
from rasterloom.raster.levels import INT64, grid_of, samples_of, sound
from rasterloom.raster.pyramid import Pyramid

MOST_LAYOUTS = 256
"""First directories that are remembered."""
MOST_TWINS = 4
"""Layouts that begin with the same first directory."""
MOST_BYTES = 1 << 14
"""Of a layout. With longer texts in a header there are more that differ from file to file."""
_TABLES = frozenset({fields.TILE_OFFSETS, fields.TILE_BYTE_COUNTS})
_PLACED = frozenset({fields.PIXEL_SCALE, fields.TIEPOINT})
_OWN = frozenset({"full", "overviews", "mask", "overview_masks", "transform", "pixel_scale", "tiepoint", "etag", "size"})
"""Fields of a header that are the file's own."""
_OWN_TABLES = frozenset({"tile_offsets", "tile_byte_counts"})


@dataclass(frozen=True, slots=True)
class _Places:
    """Where the tile tables of all levels are: the offsets of each, then the byte counts of each."""

    runs: tuple[tuple[tuple[slice, ...], np.dtype[Any]], ...]
    """Of tables that follow each other and are of one type."""
    levels: tuple[slice, ...]
    """Which of the tiles are whose."""

    @classmethod
    def of(cls, tables: Sequence[tuple[Value, Value]]) -> _Places:
        values = [*(offsets for offsets, _ in tables), *(counts for _, counts in tables)]
        runs = [(tuple([slice(value.start, value.end) for value in run]), kind) for kind, run in groupby(values, lambda value: value.dtype)]
        ends = list(accumulate(offsets.count for offsets, _ in tables))
        return cls(
            runs=tuple((parts, kind) for parts, kind in runs if kind is not None),
            levels=tuple(slice(start, stop) for start, stop in pairwise([0, *ends])),
        )

    def read(self, data: bytes) -> NDArray[np.int64]:
        """As `sound` takes them. Bytes are joined before they are numbers: each of ten arrays would cost as much as ten slices."""
        found = [np.frombuffer(b"".join([data[part] for part in parts]), kind).astype(INT64) for parts, kind in self.runs]
        return found[0] if len(found) == 1 else np.concatenate(found)


@dataclass(frozen=True, slots=True)
class _Doubles:
    """The numbers of pixel scale or tiepoint, which are few: an array of them costs four times as much."""

    form: struct.Struct
    start: int

    @classmethod
    def of(cls, value: Value, byte_order: str) -> _Doubles:
        return cls(struct.Struct(f"{byte_order}{value.count}d"), value.start)

    def read(self, data: bytes) -> tuple[float, ...]:
        return self.form.unpack_from(data, self.start)


@dataclass(frozen=True, slots=True)
class _Layout:
    """What a header has in common with all that are laid out as it is."""

    same: tuple[slice, ...]
    text: bytes
    """Where the bytes are that all have in common, and what they are."""
    end: int
    """First byte after the header."""
    tables: _Places
    limit: int
    """Bytes that a tile may have."""
    placed: tuple[_Doubles, _Doubles] | None
    """Pixel scale and tiepoint, where the file has both."""
    pixel_is_point: bool
    levels: tuple[dict[str, Any], ...]
    overviews: tuple[int, ...]
    masks: tuple[int, ...]
    overview_masks: tuple[int, ...]
    """Which of the levels these are; the first one is the full resolution."""
    header: dict[str, Any]

    def fits(self, data: bytes) -> bool:
        return len(data) >= self.end and b"".join([data[part] for part in self.same]) == self.text

    def header_of(self, data: bytes, size: int | None) -> Header | None:
        """None where something about the tiles or the place is out of the ordinary."""
        if size is not None and self.end > size:
            return None
        tables = sound(self.tables.read(data), self.tables.levels, self.limit, size)
        if tables is None:
            return None
        transform, scale, tiepoint = None, None, None
        if self.placed is not None:
            scale, tiepoint = [doubles.read(data) for doubles in self.placed]
            transform = affine_of(scale, tiepoint, None, pixel_is_point=self.pixel_is_point)
            if transform is None:
                return None
        levels = [Level(tile_offsets=o, tile_byte_counts=c, **level) for level, (o, c) in zip(self.levels, tables, strict=True)]
        return Header(
            full=levels[0],
            overviews=tuple([levels[number] for number in self.overviews]),
            mask=levels[self.masks[0]] if self.masks else None,
            overview_masks=tuple([levels[number] for number in self.overview_masks]),
            transform=transform,
            pixel_scale=scale,
            tiepoint=tiepoint,
            size=size,
            **self.header,
        )


_KNOWN: dict[bytes, list[_Layout]] = {}
"""By the bytes of the first directory."""


def header_alike(buffer: Buffer) -> Header | None:
    """The header, where it is laid out as one before. Raises `NeedMore`, or `Unreadable` where `buffer` holds no TIFF."""
    form, first = start_of(buffer)
    data = buffer.first
    if first + form.count.size > len(data):
        return None
    start = first + form.count.size
    known = _KNOWN.get(data[start : start + form.count.unpack_from(data, first)[0] * form.entry.size], ())
    return next((layout.header_of(data, buffer.size) for layout in known if layout.fits(data)), None)


def remember(buffer: Buffer, found: Directories, pyramid: Pyramid, header: Header) -> None:
    """Take in how a header is laid out that was read in full from the first bytes of its file."""
    if found.end > len(buffer.first) or not found.walked or found.walked[0][2].inline:
        return
    layout = _layout(buffer.first, found, pyramid, header)
    if layout is None or len(layout.text) > MOST_BYTES:
        return
    start, stop, _ = found.walked[0]
    key = buffer.first[start:stop]
    if key not in _KNOWN and len(_KNOWN) >= MOST_LAYOUTS:
        _KNOWN.clear()
    twins = _KNOWN.get(key, [])
    _KNOWN[key] = [layout, *(twin for twin in twins if (twin.same, twin.text) != (layout.same, layout.text))][:MOST_TWINS]


def _layout(data: bytes, found: Directories, pyramid: Pyramid, header: Header) -> _Layout | None:
    """None where the file has strips, or its place on Earth is told in a rare way."""
    tables = [_tables(found, number) for number in pyramid.kept]
    first = {value.tag: value for value in found.walked[0][2].elsewhere}
    said = found.ifds[0].keys() & {*_PLACED, fields.TRANSFORMATION}
    if any(table is None for table in tables) or said not in (set(), _PLACED) or not _PLACED & said <= first.keys():
        return None
    if (header.transform is None) != (not said):
        return None
    tags, order = found.ifds[0], header.byte_order
    place = georeference(order, tags.get(fields.GEO_KEYS), tags.get(fields.GEO_DOUBLES), tags.get(fields.GEO_ASCII))
    same = tuple(slice(start, stop) for start, stop in _same(found))
    return _Layout(
        same=same,
        text=b"".join([data[part] for part in same]),
        end=found.end,
        tables=_Places.of([table for table in tables if table is not None]),
        limit=min(grid_of(found.ifds[number], samples_of(found.ifds[number])).limit for number in pyramid.kept),
        placed=(_Doubles.of(first[fields.PIXEL_SCALE], order), _Doubles.of(first[fields.TIEPOINT], order)) if said else None,
        pixel_is_point=place.pixel_is_point,
        levels=tuple(_without(level, _OWN_TABLES) for level in pyramid.levels),
        overviews=_numbers(pyramid.levels, pyramid.overviews),
        masks=_numbers(pyramid.levels, [pyramid.mask] if pyramid.mask else []),
        overview_masks=_numbers(pyramid.levels, pyramid.overview_masks),
        header=_without(header, _OWN),
    )


def _numbers(levels: Sequence[Level], some: Sequence[Level]) -> tuple[int, ...]:
    """Which of the levels they are."""
    return tuple(next(number for number, level in enumerate(levels) if level is one) for one in some)


def _without(record: Header | Level, names: frozenset[str]) -> dict[str, Any]:
    return {field.name: getattr(record, field.name) for field in fields_of(record) if field.name not in names}


def _tables(found: Directories, number: int) -> tuple[Value, Value] | None:
    """Where the tile tables of a directory are, among its entries or elsewhere; None where it has strips."""
    start, _, recipe = found.walked[number]
    inline = [replace(value, start=start + value.start, end=start + value.end) for value in recipe.inline]
    values = {value.tag: value for value in (*recipe.elsewhere, *inline)}
    offsets, counts = values.get(fields.TILE_OFFSETS), values.get(fields.TILE_BYTE_COUNTS)
    return None if offsets is None or counts is None else (offsets, counts)


def _same(found: Directories) -> Iterator[tuple[int, int]]:
    """Where the bytes begin and end that say anything but where tiles are and where the file lies on Earth."""
    form = found.form
    yield 0, 16 if form.bigtiff else 8
    for number, (start, stop, recipe) in enumerate(found.walked):
        at = start - form.count.size
        for value in recipe.inline:
            if value.tag in _TABLES:
                yield at, start + value.start
                at = start + value.end
        yield at, stop + form.pointer.size
        own = _TABLES if number else _TABLES | _PLACED
        yield from ((value.start, value.end) for value in recipe.elsewhere if value.tag not in own)
