"""Rows of a collection as files to read pixels from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from rasterloom.access.pixels.values import BandFile
from rasterloom.errors import Unreadable
from rasterloom.raster.header import Header
from rasterloom.raster.rows import header_from_row

_NO_HEADER = (
    "see `rasterloom failures`, or build with table.enrich: true; "
    "where(pyarrow.compute.field('{band}_metadata').is_valid()) leaves such scenes out"
)
_FIXED = ("id", "datetime", "assets", "crs", "proj:epsg")


def pixel_columns(schema: pa.Schema, bands: Sequence[str]) -> list[str]:
    """The columns that `band_file` needs, as far as the collection has them."""
    wanted = [*_FIXED, *(f"{band}{ending}" for band in bands for ending in ("_metadata", "_ext"))]
    return [name for name in wanted if name in schema.names]


def band_file(row: Mapping[str, Any], band: str) -> BandFile:
    """One band of one row. Raises `Unreadable` (`no-header`, `crs`) with what to do."""
    asset = (row.get("assets") or {}).get(band)
    metadata = row.get(f"{band}_metadata")
    if metadata is None or asset is None or asset.get("href") is None:
        raise Unreadable(f"{row['id']} has no header of {band}", reason="no-header", remedy=_NO_HEADER.format(band=band))
    header = header_from_row(metadata, row.get(f"{band}_ext"))
    return BandFile(
        scene=row["id"],
        band=band,
        href=asset["href"],
        band_index=asset.get("band_index") or 0,
        header=header,
        crs=_crs_of(row, header, band),
        datetime=row.get("datetime"),
    )


def _crs_of(row: Mapping[str, Any], header: Header, band: str) -> str:
    epsg = row.get("proj:epsg")
    crs = header.crs or row.get("crs") or (f"EPSG:{epsg}" if epsg else None)
    if crs is None:
        raise Unreadable(f"{row['id']} {band} has no CRS", reason="crs", remedy="leave the scene out with where()")
    return crs
