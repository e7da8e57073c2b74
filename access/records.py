"""Scenes joined with their headers, as Arrow columns: the rows of a collection before their properties are typed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from rasterloom.access.values import Asset, Scene
from rasterloom.raster.arrow import ext_array, metadata_array
from rasterloom.raster.header import Header

ASSET = pa.struct([("href", pa.string()), ("band_index", pa.int64())])
BBOX = pa.struct([(name, pa.float64()) for name in ("xmin", "ymin", "xmax", "ymax")])
PROPERTIES = "properties"
"""JSON text of the STAC properties: only in staged records, never in a collection."""
LEADING = ("id", "datetime", "geometry", "bbox", "assets")
_EPSG = re.compile(r"EPSG:(\d+)", re.IGNORECASE)

Headers = Mapping[tuple[int, str], Header]
"""(position of the scene, band code) -> header; absent where it was not read."""


@dataclass(frozen=True, slots=True)
class _Reference:
    """CRS of one record."""

    epsg: int | None
    crs: str | None


def assemble(scenes: Sequence[Scene], headers: Headers, bands: Sequence[str]) -> pa.Table:
    """One row per scene, columns of the on-disk format plus `properties`; `{band}_metadata` is null where no header was read.

    A record's CRS is that of its first band with a header that has one, else the item's. Assets of one record may have
    different ones: each keeps its own in `{band}_ext`.
    """
    assets = [{asset.band: asset for asset in scene.assets} for scene in scenes]
    references = [_reference(scene, [headers.get((row, band)) for band in bands]) for row, scene in enumerate(scenes)]
    columns: dict[str, pa.Array] = {
        "id": pa.array([scene.id for scene in scenes], pa.string()),
        "datetime": pa.array([naive(scene.datetime) for scene in scenes], pa.timestamp("us")),
        "geometry": pa.array([scene.geometry for scene in scenes], pa.binary()),
        "bbox": _bboxes(scenes),
        "assets": pa.StructArray.from_arrays([_asset_column(assets, band) for band in bands], list(bands))
        if bands
        else pa.nulls(len(scenes)),
        "proj:epsg": pa.array([reference.epsg for reference in references], pa.int32()),
        "crs": pa.array([reference.crs for reference in references], pa.string()),
        "collection": pa.array([scene.collection for scene in scenes], pa.string()),
    }
    for band in bands:
        found = [headers.get((row, band)) for row in range(len(scenes))]
        columns[f"{band}_metadata"] = metadata_array(found, [_band_index(row, band) for row in assets])
        columns[f"{band}_ext"] = ext_array(found, [_band_index(row, band) for row in assets])
    columns[PROPERTIES] = pa.array([json.dumps(scene.properties) for scene in scenes], pa.string())
    return pa.table(columns)


def naive(instant: datetime) -> datetime:
    """UTC without a zone, as the format stores it."""
    return instant.astimezone(UTC).replace(tzinfo=None) if instant.tzinfo else instant


def epsg_of(crs: str | None) -> int | None:
    """Code of `EPSG:32632`, None for WKT2, PROJJSON and no CRS."""
    match = _EPSG.fullmatch(crs or "")
    return int(match[1]) if match else None


def _reference(scene: Scene, headers: Sequence[Header | None]) -> _Reference:
    for header in headers:
        if header is not None and header.crs is not None:
            return _Reference(header.epsg, header.crs)
    return _Reference(epsg_of(scene.crs), scene.crs)


def _band_index(assets: Mapping[str, Asset], band: str) -> int:
    asset = assets.get(band)
    return asset.band_index if asset else 0


def _asset_column(assets: Sequence[Mapping[str, Asset]], band: str) -> pa.StructArray:
    rows = [row.get(band) for row in assets]
    values = [pa.array([row and row.href for row in rows], pa.string()), pa.array([row and row.band_index for row in rows], pa.int64())]
    return pa.StructArray.from_arrays(values, fields=list(ASSET), mask=pa.array([row is None for row in rows], pa.bool_()))


def _bboxes(scenes: Sequence[Scene]) -> pa.StructArray:
    """A box of half the globe or more that crosses the antimeridian is stored as the whole width.

    So `xmin > xmax` always means `xmin > 0 > xmax`, which lets a reader skip row groups by their statistics.
    """
    boxes = np.array([scene.bbox for scene in scenes], np.float64).reshape(-1, 4)
    wide = (boxes[:, 0] > boxes[:, 2]) & ((boxes[:, 0] <= 0) | (boxes[:, 2] >= 0))
    boxes[wide, 0], boxes[wide, 2] = -180.0, 180.0
    return pa.StructArray.from_arrays([pa.array(boxes[:, index]) for index in range(4)], fields=list(BBOX))
