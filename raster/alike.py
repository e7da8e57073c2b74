"""Headers that are laid out alike: what one taught is used for the next.

The files of a collection come from one program, and differ in little more than where their tiles lie. Where every other byte that
matters is the same as in a file before, only the tile tables, the tiepoint and the pixel scale are read: a third of the work.
Whatever is not exactly so is read in full.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from dataclasses import fields as fields_of
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rasterloom.raster import fields
from rasterloom.raster.buffer import Buffer
from rasterloom.raster.geokeys import affine_of, georeference
from rasterloom.raster.header import Header, Level
from rasterloom.raster.ifd import Directories, Value, start_of
from rasterloom.raster.levels import all_sound, grid_of, samples_of
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
class _Layout:
    """What a header has in common with all that are laid out as it is."""

    same: tuple[tuple[int, int, bytes], ...]
    """Where bytes begin and end, and what they are."""
    end: int
    """First byte after the header."""
    tables: tuple[tuple[Value, Value], ...]
    """Where the offsets and byte counts of each level are."""
    limit: int
    """Bytes that a tile may have."""
    placed: tuple[Value, Value] | None
    """Where pixel scale and tiepoint are, where the file has both."""
    pixel_is_point: bool
    kept: tuple[int, ...]
    kinds: tuple[int, ...]
    levels: tuple[dict[str, Any], ...]
    header: dict[str, Any]

    def fits(self, data: bytes) -> bool:
        return len(data) >= self.end and all(data[start:stop] == text for start, stop, text in self.same)

    def header_of(self, data: bytes, size: int | None) -> Header | None:
        """None where something about the tiles or the place is out of the ordinary."""
        if size is not None and self.end > size:
            return None
        tables = [(_array(data, offsets), _array(data, counts)) for offsets, counts in self.tables]
        sound = all_sound(tables, self.limit, size)
        if sound is None:
            return None
        transform, scale, tiepoint = None, None, None
        if self.placed is not None:
            scale, tiepoint = (tuple(_array(data, value).tolist()) for value in self.placed)
            transform = affine_of(scale, tiepoint, None, pixel_is_point=self.pixel_is_point)
            if transform is None:
                return None
        levels = [Level(tile_offsets=o, tile_byte_counts=c, **level) for level, (o, c) in zip(self.levels, sound, strict=True)]
        pyramid = Pyramid.arranged(self.kept, self.kinds, levels)
        return Header(
            full=pyramid.full,
            overviews=pyramid.overviews,
            mask=pyramid.mask,
            overview_masks=pyramid.overview_masks,
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
    if layout is None or sum(len(text) for _, _, text in layout.same) > MOST_BYTES:
        return
    start, stop, _ = found.walked[0]
    key = buffer.first[start:stop]
    if key not in _KNOWN and len(_KNOWN) >= MOST_LAYOUTS:
        _KNOWN.clear()
    twins = _KNOWN.get(key, [])
    _KNOWN[key] = [layout, *(twin for twin in twins if twin.same != layout.same)][:MOST_TWINS]


def _layout(data: bytes, found: Directories, pyramid: Pyramid, header: Header) -> _Layout | None:
    """None where the file has strips, or its place on Earth is told in a rare way."""
    tables = [_tables(found, number) for number in pyramid.kept]
    first = {value.tag: value for value in found.walked[0][2].elsewhere}
    said = found.ifds[0].keys() & {*_PLACED, fields.TRANSFORMATION}
    if any(table is None for table in tables) or said not in (set(), _PLACED) or not _PLACED & said <= first.keys():
        return None
    if (header.transform is None) != (not said):
        return None
    tags = found.ifds[0]
    place = georeference(header.byte_order, tags.get(fields.GEO_KEYS), tags.get(fields.GEO_DOUBLES), tags.get(fields.GEO_ASCII))
    return _Layout(
        same=tuple((start, stop, data[start:stop]) for start, stop in _same(found)),
        end=found.end,
        tables=tuple(table for table in tables if table is not None),
        limit=min(grid_of(found.ifds[number], samples_of(found.ifds[number])).limit for number in pyramid.kept),
        placed=(first[fields.PIXEL_SCALE], first[fields.TIEPOINT]) if said else None,
        pixel_is_point=place.pixel_is_point,
        kept=pyramid.kept,
        kinds=pyramid.kinds,
        levels=tuple(_without(level, _OWN_TABLES) for level in pyramid.levels),
        header=_without(header, _OWN),
    )


def _without(record: Header | Level, names: frozenset[str]) -> dict[str, Any]:
    return {field.name: getattr(record, field.name) for field in fields_of(record) if field.name not in names}


def _array(data: bytes, value: Value) -> NDArray[Any]:
    return np.frombuffer(data, value.dtype, value.count, value.start)


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
