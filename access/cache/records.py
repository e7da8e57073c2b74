"""Scenes joined with their headers, as Arrow columns: the rows of a collection before their properties are typed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rasterloom.access.cache.scenes import Rival, rival_by
from rasterloom.access.values import Asset, Scene
from rasterloom.raster.arrow import EXT_TYPE, METADATA_TYPE, ext_array, metadata_array
from rasterloom.raster.header import Header
from rasterloom.specs.question import Dedupe

ASSET = pa.struct([("href", pa.string()), ("band_index", pa.int64())])
BBOX = pa.struct([(name, pa.float64()) for name in ("xmin", "ymin", "xmax", "ymax")])
PROPERTIES = "properties"
"""JSON text of the STAC properties: only in staged records, never in a collection."""
RIVAL_COLUMNS = ("id", "collection", "datetime", PROPERTIES)
_EPSG = re.compile(r"EPSG:(\d+)", re.IGNORECASE)

Headers = Mapping[tuple[int, str], Header]
"""(position of the scene, band code) -> header; absent where it was not read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderRows:
    """Headers as Arrow: element i of both columns is one header of one band. Remembered headers never become anything else."""

    metadata: pa.StructArray
    """`METADATA_TYPE`."""
    ext: pa.StructArray
    """`EXT_TYPE`."""

    def __len__(self) -> int:
        return len(self.metadata)

    def take(self, indexes: pa.Array) -> HeaderRows:
        """Rows in the order of `indexes`; null where the index is null."""
        return HeaderRows(metadata=self.metadata.take(indexes), ext=self.ext.take(indexes))


def header_rows(headers: Sequence[Header | None], band_indexes: Sequence[int]) -> HeaderRows:
    """Raises `Unreadable` (`band-index`) where a header has no such sample."""
    return HeaderRows(metadata=metadata_array(headers, band_indexes), ext=ext_array(headers, band_indexes))


def concatenated(parts: Sequence[HeaderRows]) -> HeaderRows:
    metadata = [part.metadata for part in parts] or [pa.nulls(0, METADATA_TYPE)]
    return HeaderRows(metadata=pa.concat_arrays(metadata), ext=pa.concat_arrays([part.ext for part in parts] or [pa.nulls(0, EXT_TYPE)]))


@dataclass(frozen=True, slots=True)
class _Reference:
    """CRS of one record."""

    epsg: int | None
    crs: str | None


def assemble(scenes: Sequence[Scene], headers: Headers, bands: Sequence[str]) -> pa.Table:
    """The records of headers that were just read: see `joined`."""
    assets = [{asset.band: asset for asset in scene.assets} for scene in scenes]
    rows = {
        band: header_rows([headers.get((row, band)) for row in range(len(scenes))], [_band_index(row, band) for row in assets])
        for band in bands
    }
    return joined(scenes, rows)


def joined(scenes: Sequence[Scene], headers: Mapping[str, HeaderRows]) -> pa.Table:
    """One row per scene, columns of the on-disk format plus `properties`; `{band}_metadata` is null where no header was read.

    `headers` has a row per scene for each band, in the order of the bands. A record's CRS is that of its first band with a header
    that has one, else what the item says, of itself or of the first of these bands. Assets of one record may have different ones:
    each keeps its own in `{band}_ext`.
    """
    assets = [{asset.band: asset for asset in scene.assets} for scene in scenes]
    bands = list(headers)
    references = _references(scenes, [rows.ext for rows in headers.values()])
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
    for band, rows in headers.items():
        columns[f"{band}_metadata"], columns[f"{band}_ext"] = rows.metadata, rows.ext
    columns[PROPERTIES] = pa.array([json.dumps(scene.properties) for scene in scenes], pa.string())
    return pa.table(columns)


def rivals_in(records: pa.Table, dedupe: Dedupe) -> list[Rival]:
    """What decides between the rows of staged records, as between the scenes that they were made of."""
    parts = (records[name].to_pylist() for name in RIVAL_COLUMNS)
    return [
        rival_by({**json.loads(text), "id": name, "collection": collection, "datetime": instant.replace(tzinfo=UTC).isoformat()}, dedupe)
        for name, collection, instant, text in zip(*parts, strict=True)
    ]


def naive(instant: datetime) -> datetime:
    """UTC without a zone, as the format stores it."""
    return instant.astimezone(UTC).replace(tzinfo=None) if instant.tzinfo else instant


def epsg_of(crs: str | None) -> int | None:
    """Code of `EPSG:32632`, None for WKT2, PROJJSON and no CRS."""
    match = _EPSG.fullmatch(crs or "")
    return int(match[1]) if match else None


def _references(scenes: Sequence[Scene], exts: Sequence[pa.StructArray]) -> list[_Reference]:
    said = [scene.crs or next((asset.crs for asset in scene.assets if asset.crs), None) for scene in scenes]
    references = [_Reference(epsg_of(crs), crs) for crs in said]
    for ext in reversed(exts):  # the first band has the last word
        codes, names = (pc.struct_field(ext, name).to_pylist() for name in ("epsg", "crs"))
        references = [old if name is None else _Reference(code, name) for old, code, name in zip(references, codes, names, strict=True)]
    return references


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
