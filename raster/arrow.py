"""Headers as Arrow structs: the column `{band}_metadata` that Rasteret reads, and its sibling `{band}_ext` with the rest.

Tables are built for a whole batch at once from flat numpy arrays. What Rasteret's seventeen fields lack goes to the sibling,
spelled so that it costs few bytes: overview offsets are stored only where they do not follow from the byte counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rasterloom.raster.header import Affine, Header, Level


def _list(item: pa.DataType) -> pa.DataType:
    return pa.list_(pa.field("element", item))


METADATA_TYPE = pa.struct(
    [
        ("image_width", pa.int32()),
        ("image_height", pa.int32()),
        ("tile_width", pa.int32()),
        ("tile_height", pa.int32()),
        ("dtype", pa.string()),
        ("transform", _list(pa.float64())),
        ("predictor", pa.int32()),
        ("compression", pa.int32()),
        ("tile_offsets", _list(pa.int64())),
        ("tile_byte_counts", _list(pa.int64())),
        ("pixel_scale", _list(pa.float64())),
        ("tiepoint", _list(pa.float64())),
        ("nodata", pa.float64()),
        ("samples_per_pixel", pa.int32()),
        ("planar_configuration", pa.int32()),
        ("photometric", pa.int32()),
        ("extra_samples", _list(pa.int32())),
    ]
)
"""Exactly the seventeen fields of the format, in its order."""

LEVEL_TYPE = pa.struct(
    [
        ("mask", pa.bool_()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("tile_width", pa.int32()),
        ("tile_height", pa.int32()),
        ("compression", pa.int32()),
        ("predictor", pa.int32()),
        ("jpeg_tables", pa.binary()),
        ("byte_counts", _list(pa.int32())),
        ("first_offset", pa.int64()),
        ("gap", pa.int32()),
        ("offsets", _list(pa.int64())),
    ]
)
"""One overview or mask. GDAL lays tiles out in order: `offset[i+1] = offset[i] + byte_count[i] + gap` (8 in a COG, for the size
before and the check bytes behind a tile). `offsets` is null where that holds, and the whole table where it does not. It lays
levels out in order too, the smallest one first: `first_offset` is null where the level begins `gap` bytes behind the end of the
next smaller one.

`compression`, `predictor` and `jpeg_tables` are null where they are those of the full resolution, `byte_counts` where the table is left
in the file: see OVERVIEW_SHARE."""

OVERVIEW_SHARE = 0.125
"""Tiles of stored overview tables per tile of full resolution, at the most. A tile is 2.6 incompressible bytes: the whole pyramid would
make a collection larger by a third, by more where overviews are cut finer (Sentinel-2: 512 under 1024 pixels). So tables are stored from
the coarsest up, those that a picture of the whole scene needs, while they fit; a finer one costs its reader one header request."""

OVERVIEW_TILES = 16
"""So many tiles of overviews are stored whatever their share: small images have few tiles at any resolution."""

EXT_TYPE = pa.struct(
    [
        ("byte_order", pa.string()),
        ("bits_per_sample", pa.int32()),
        ("sample_format", pa.int32()),
        ("jpeg_tables", pa.binary()),
        ("lerc_parameters", _list(pa.int32())),
        ("ycbcr_subsampling", _list(pa.int32())),
        ("scale", pa.float64()),
        ("offset", pa.float64()),
        ("epsg", pa.int32()),
        ("crs", pa.string()),
        ("levels", _list(LEVEL_TYPE)),
        ("etag", pa.string()),
        ("size", pa.int64()),
    ]
)

Read = tuple[Header, int]
"""A header and the 0-based sample of it that the row is about."""


def metadata_array(headers: Sequence[Header | None], band_indexes: Sequence[int]) -> pa.StructArray:
    """One `METADATA_TYPE` struct per header, null where it is None; tables are the slice of the band.

    Raises `Unreadable` (`band-index`) where a header has no such sample.
    """
    whole = _present(headers, band_indexes)
    tables = [header.band_tiles(band) for header, band in whole]
    columns: list[pa.Array] = [
        _column(pa.int32(), whole, lambda header: header.full.width),
        _column(pa.int32(), whole, lambda header: header.full.height),
        _column(pa.int32(), whole, lambda header: header.full.tile_width),
        _column(pa.int32(), whole, lambda header: header.full.tile_height),
        _column(pa.string(), whole, lambda header: header.dtype),
        _column(_list(pa.float64()), whole, lambda header: _transform_row(header.transform)),
        _column(pa.int32(), whole, lambda header: header.full.predictor),
        _column(pa.int32(), whole, lambda header: header.full.compression),
        _lists([offsets for offsets, _ in tables], pa.int64()),
        _lists([counts for _, counts in tables], pa.int64()),
        _column(_list(pa.float64()), whole, lambda header: header.pixel_scale),
        _column(_list(pa.float64()), whole, lambda header: header.tiepoint),
        _column(pa.float64(), whole, lambda header: None if header.nodata is None else float(header.nodata)),
        _column(pa.int32(), whole, lambda header: header.samples_per_pixel),
        _column(pa.int32(), whole, lambda header: header.planar_configuration),
        _column(pa.int32(), whole, lambda header: header.photometric),
        _column(_list(pa.int32()), whole, lambda header: header.extra_samples),
    ]
    return _spread(METADATA_TYPE, columns, headers)


def ext_array(headers: Sequence[Header | None], band_indexes: Sequence[int]) -> pa.StructArray:
    """One `EXT_TYPE` struct per header, null where it is None."""
    whole = _present(headers, band_indexes)
    columns: list[pa.Array] = [
        _column(pa.string(), whole, lambda header: header.byte_order),
        _column(pa.int32(), whole, lambda header: header.bits_per_sample),
        _column(pa.int32(), whole, lambda header: header.sample_format),
        _column(pa.binary(), whole, lambda header: header.jpeg_tables),
        _column(_list(pa.int32()), whole, lambda header: header.lerc_parameters),
        _column(_list(pa.int32()), whole, lambda header: header.ycbcr_subsampling),
        pa.array([_of_band(header.scales, band) for header, band in whole], pa.float64()),
        pa.array([_of_band(header.offsets, band) for header, band in whole], pa.float64()),
        _column(pa.int32(), whole, lambda header: header.epsg),
        _column(pa.string(), whole, lambda header: header.crs),
        _level_lists(whole),
        _column(pa.string(), whole, lambda header: header.etag),
        _column(pa.int64(), whole, lambda header: header.size),
    ]
    return _spread(EXT_TYPE, columns, headers)


def _present(headers: Sequence[Header | None], band_indexes: Sequence[int]) -> list[Read]:
    return [(header, band) for header, band in zip(headers, band_indexes, strict=True) if header is not None]


def _column(kind: pa.DataType, whole: list[Read], value: Callable[[Header], object]) -> pa.Array:
    return pa.array([value(header) for header, _ in whole], kind)


def _of_band(values: tuple[float, ...] | None, band: int) -> float | None:
    return None if values is None else values[0 if len(values) == 1 else band]


def _transform_row(affine: Affine | None) -> tuple[float, ...] | None:
    """`[sx, tx, sy, ty]` of a grid that is parallel to its axes, else the six numbers."""
    if affine is None or affine[1] or affine[3]:
        return affine
    return affine[0], affine[2], affine[4], affine[5]


def _lists(tables: Sequence[NDArray[np.int64]], item: pa.DataType) -> pa.ListArray:
    lengths = np.fromiter(map(len, tables), np.int32, len(tables))
    ends = np.concatenate([np.zeros(1, np.int32), np.cumsum(lengths, dtype=np.int32)])
    flat = np.concatenate(tables) if tables else np.empty(0, np.int64)
    values = pa.array(flat.astype(np.int32 if item == pa.int32() else np.int64, copy=False), item)
    return pa.ListArray.from_arrays(pa.array(ends), values, type=_list(item))


def _spread(kind: pa.StructType, columns: list[pa.Array], headers: Sequence[Header | None]) -> pa.StructArray:
    """The struct of the headers that are there, with nulls put back in the places of those that are not."""
    present = np.fromiter((header is not None for header in headers), bool, len(headers))
    return _where(present, pa.StructArray.from_arrays(columns, fields=list(kind)))


def _where(present: NDArray[np.bool_], packed: pa.Array) -> pa.Array:
    """The packed values in the places that are `present`, null in the others."""
    return packed if present.all() else packed.take(pa.array(np.cumsum(present) - 1, mask=~present))


@dataclass(frozen=True, slots=True)
class _Kept:
    """One level of one row."""

    header: Header
    band: int
    level: Level
    mask: bool
    stored: bool
    """Whether its tile table is."""


def _level_lists(whole: list[Read]) -> pa.ListArray:
    rows = [_kept(header, band) for header, band in whole]
    ends = np.cumsum([0, *map(len, rows)], dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), _levels([kept for row in rows for kept in row]), type=_list(LEVEL_TYPE))


def _kept(header: Header, band: int) -> list[_Kept]:
    """Overviews from the largest to the smallest, then the masks. Tables of masks are always stored, of overviews while they fit."""
    room = max(OVERVIEW_TILES, OVERVIEW_SHARE * header.full.tiles_across * header.full.tiles_down)
    overviews: list[_Kept] = []
    for level in reversed(header.overviews):
        room -= level.tiles_across * level.tiles_down
        overviews.append(_Kept(header, band, level, mask=False, stored=room >= 0))
    masks = (header.mask, *header.overview_masks)
    return [*reversed(overviews), *(_Kept(header, band, level, mask=True, stored=True) for level in masks if level is not None)]


def _levels(levels: list[_Kept]) -> pa.StructArray:
    stored = np.fromiter((kept.stored for kept in levels), bool, len(levels))
    tables = [_level_tables(kept) for kept in levels if kept.stored]
    gaps = _gaps(tables)
    firsts = _first_offsets([kept for kept in levels if kept.stored], tables, gaps)
    columns: list[pa.Array] = [
        pa.array([kept.mask for kept in levels], pa.bool_()),
        pa.array([kept.level.width for kept in levels], pa.int32()),
        pa.array([kept.level.height for kept in levels], pa.int32()),
        pa.array([kept.level.tile_width for kept in levels], pa.int32()),
        pa.array([kept.level.tile_height for kept in levels], pa.int32()),
        pa.array([_unless(kept.level.compression, kept.header.full.compression) for kept in levels], pa.int32()),
        pa.array([_unless(kept.level.predictor, kept.header.full.predictor) for kept in levels], pa.int32()),
        pa.array([_unless(kept.level.jpeg_tables, kept.header.jpeg_tables) for kept in levels], pa.binary()),
        _where(stored, _lists([counts for _, counts in tables], pa.int32())),
        _where(stored, pa.array(firsts, pa.int64())),
        _where(stored, pa.array(gaps, pa.int32())),
        _where(
            stored,
            pa.array([None if gap is not None else offsets for (offsets, _), gap in zip(tables, gaps, strict=True)], _list(pa.int64())),
        ),
    ]
    return pa.StructArray.from_arrays(columns, fields=list(LEVEL_TYPE))


def _unless(value: Any, default: Any) -> Any:
    return None if value == default else value


def _level_tables(kept: _Kept) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    level = kept.level
    return (level.tile_offsets, level.tile_byte_counts) if kept.mask else kept.header.band_tiles(kept.band, level)


def _gaps(tables: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]) -> list[int | None]:
    """For each table the constant distance from the end of a tile to the next one, None where it is not constant."""
    if not tables:
        return []
    offsets, counts = (np.concatenate([table[part] for table in tables]) for part in (0, 1))
    lengths = np.fromiter((len(table[0]) for table in tables), np.int64, len(tables))
    starts = np.cumsum(lengths) - lengths
    steps = np.zeros(len(offsets), np.int64)
    steps[:-1] = offsets[1:] - offsets[:-1] - counts[:-1]
    # The last step of a table leads into the next table: it says what the first one says.
    steps[starts + lengths - 1] = np.where(lengths > 1, steps[starts], 0)
    low, high = np.minimum.reduceat(steps, starts), np.maximum.reduceat(steps, starts)
    fits = (low == high) & (abs(low) < 1 << 31)
    return [int(gap) if fit else None for gap, fit in zip(low, fits, strict=True)]


def _is_next_smaller(kept: _Kept, following: _Kept) -> bool:
    """Whether both are images of one file, and the second is the smaller."""
    return following.header is kept.header and following.level.width < kept.level.width and not kept.mask and not following.mask


def _first_offsets(
    levels: Sequence[_Kept], tables: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]], gaps: Sequence[int | None]
) -> list[int | None]:
    """Where each level begins; None where that follows from the next one, which is the next smaller overview of the same file."""
    firsts: list[int | None] = []
    for at, (kept, (offsets, _), gap) in enumerate(zip(levels, tables, gaps, strict=True)):
        first: int | None = int(offsets[0])
        following = levels[at + 1] if at + 1 < len(levels) else None
        if following is not None and gap is not None and _is_next_smaller(kept, following):
            last_offsets, last_counts = tables[at + 1]
            first = None if first == int(last_offsets[-1] + last_counts[-1]) + gap else first
        firsts.append(first)
    return firsts
