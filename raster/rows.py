"""Rows of a collection as headers again: the inverse of the two arrays of `rasterloom.raster.arrow`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from rasterloom.raster.header import Affine, Header, Level
from rasterloom.raster.levels import sample_format_of

Number = TypeVar("Number", int, float)
_NOTHING = np.empty(0, np.int64)


def header_from_row(metadata: Mapping[str, Any], ext: Mapping[str, Any] | None) -> Header:
    """The header of one band of one row, as far as reading its pixels needs it: the inverse of `metadata_array` and `ext_array`.

    Values may be Python lists or arrays. Tables are the band's own: `Header.band_tiles` gives them for its index. Without `ext`
    (a collection that Rasteret wrote) the file is taken as little-endian, with samples as wide as their type and no overviews.
    Overviews whose tables were left in the file have empty ones (`Level.stored`).
    """
    ext = ext or {}
    dtype = metadata["dtype"]
    bits, sample_format = sample_format_of(dtype)
    full = _full(metadata, ext)
    levels = _items(ext.get("levels"))
    masks = [_level(row, full) for row in levels if row["mask"]]
    overviews = _overviews([row for row in levels if not row["mask"]], full)
    return Header(
        full=full,
        overviews=overviews,
        mask=masks[0] if masks and masks[0].width == full.width else None,
        overview_masks=tuple(mask for mask in masks if mask.width != full.width),
        byte_order=ext.get("byte_order") or "<",
        bigtiff=False,
        dtype=dtype,
        bits_per_sample=ext.get("bits_per_sample") or bits,
        sample_format=ext.get("sample_format") or sample_format,
        samples_per_pixel=metadata.get("samples_per_pixel") or 1,
        planar_configuration=metadata.get("planar_configuration") or 1,
        photometric=_default(metadata.get("photometric"), 1),
        extra_samples=_tuple(metadata.get("extra_samples"), int),
        transform=_affine(metadata.get("transform")),
        pixel_scale=_tuple(metadata.get("pixel_scale"), float),
        tiepoint=_tuple(metadata.get("tiepoint"), float),
        epsg=ext.get("epsg"),
        crs=ext.get("crs"),
        nodata=metadata.get("nodata"),
        scales=_single(ext.get("scale")),
        offsets=_single(ext.get("offset")),
        jpeg_tables=ext.get("jpeg_tables"),
        lerc_parameters=_tuple(ext.get("lerc_parameters"), int),
        ycbcr_subsampling=_pair(ext.get("ycbcr_subsampling")),
        header_end=0,
        etag=ext.get("etag"),
        size=ext.get("size"),
    )


def _full(metadata: Mapping[str, Any], ext: Mapping[str, Any]) -> Level:
    return Level(
        width=metadata["image_width"],
        height=metadata["image_height"],
        tile_width=metadata["tile_width"],
        tile_height=metadata["tile_height"],
        tile_offsets=np.asarray(metadata["tile_offsets"], np.int64),
        tile_byte_counts=np.asarray(metadata["tile_byte_counts"], np.int64),
        compression=_default(metadata.get("compression"), 1),
        predictor=_default(metadata.get("predictor"), 1),
        jpeg_tables=ext.get("jpeg_tables"),
    )


def _overviews(rows: Sequence[Mapping[str, Any]], full: Level) -> tuple[Level, ...]:
    """From the largest to the smallest, as the rows are. Where one begins may follow from the next smaller one."""
    found: list[Level] = []
    end = 0
    for row in reversed(rows):
        level = _level(row, full, end)
        if level.stored:
            end = int(level.tile_offsets[-1] + level.tile_byte_counts[-1])
        found.append(level)
    return tuple(reversed(found))


def _level(row: Mapping[str, Any], full: Level, end: int = 0) -> Level:
    """`end`: of the next smaller overview."""
    counts = _NOTHING if row["byte_counts"] is None else np.asarray(row["byte_counts"], np.int64)
    offsets = row.get("offsets")
    if row["byte_counts"] is None:
        offsets = _NOTHING
    elif offsets is None:
        first = row["first_offset"] if row["first_offset"] is not None else end + row["gap"]
        offsets = first + np.concatenate([np.zeros(1, np.int64), np.cumsum(counts[:-1] + row["gap"])])
    return Level(
        width=row["width"],
        height=row["height"],
        tile_width=row["tile_width"],
        tile_height=row["tile_height"],
        tile_offsets=np.asarray(offsets, np.int64),
        tile_byte_counts=counts,
        compression=_default(row["compression"], full.compression),
        predictor=_default(row["predictor"], full.predictor),
        jpeg_tables=full.jpeg_tables if row["jpeg_tables"] is None and not row["mask"] else row["jpeg_tables"],
    )


def _items(values: Iterable[Mapping[str, Any]] | None) -> list[Mapping[str, Any]]:
    return [] if values is None else list(values)


def _default(value: int | None, default: int) -> int:
    return default if value is None else value


def _tuple(values: Iterable[Any] | None, kind: type[Number]) -> tuple[Number, ...] | None:
    return None if values is None else tuple(kind(value) for value in values)


def _single(value: float | None) -> tuple[float, ...] | None:
    return None if value is None else (value,)


def _pair(values: Sequence[int] | None) -> tuple[int, int] | None:
    return None if values is None else (int(values[0]), int(values[1]))


def _affine(values: Sequence[float] | None) -> Affine | None:
    if values is None or len(values) not in (4, 6):
        return None
    numbers = [float(value) for value in values]
    if len(numbers) == 4:
        return numbers[0], 0.0, numbers[1], 0.0, numbers[2], numbers[3]
    a, b, c, d, e, f = numbers
    return a, b, c, d, e, f
