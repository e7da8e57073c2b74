"""The area of a spec out of a GeoParquet file, or of a file behind http(s): neither is for the room of specs, so that the reader is
brought to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely

from rasterloom.access.archive.wholefile import whole_file
from rasterloom.access.credentials.secrets import environment_secrets
from rasterloom.access.network.redact import redact
from rasterloom.access.sources.tablegeometry import footprints_of, in_degrees, primary_column, shapes_of
from rasterloom.errors import SpecError
from rasterloom.specs import loader
from rasterloom.specs.area import MAX_POSITIONS
from rasterloom.specs.effort import Effort
from rasterloom.specs.model import CollectionSpec

LARGEST = 16 << 20
"""Bytes of the geometries, uncompressed."""


def load_specs(path: str | Path) -> tuple[CollectionSpec, ...]:
    """All specs of one YAML file, also with an area in a GeoParquet file. Raises `SpecError` with every problem of it."""
    return loader.load_specs(path, read_area=area_of)


def area_of(place: Path | str) -> dict[str, Any]:
    """The GeoJSON of a GeoParquet file, or of a GeoJSON or GeoParquet file at an http(s) address, which is asked without credentials.

    Raises `SpecError` for what is none, or too much; `AccessDenied` and `Unavailable` of a server.
    """
    if isinstance(place, Path):
        return _parquet_area(place)
    data = whole_file(place, effort=Effort(), secrets=environment_secrets)
    if data[:4] == loader.PARQUET:
        return _parquet_area(pa.BufferReader(data))
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{redact(place)} is not JSON", remedy="give the address of a GeoJSON or GeoParquet file") from error


def _parquet_area(file: Any) -> dict[str, Any]:
    """All geometries of a file, or of its path, as one GeoJSON collection in degrees."""
    try:
        return _area(file)
    except (pa.ArrowException, OSError) as error:
        first = str(error).partition("\n")[0][:120]
        raise SpecError(f"it is no Parquet file that can be read: {first}", remedy="write it again, or write GeoJSON") from error


def _area(path: Any) -> dict[str, Any]:
    schema = pq.read_schema(path)
    column = primary_column(schema) or ("geometry" if "geometry" in schema.names else None)
    if column is None:
        raise SpecError("the table has no geometry column", remedy="write GeoParquet, with `geo` metadata, or GeoJSON")
    kind = schema.field(column).type
    kind = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
    with pq.ParquetFile(path, read_dictionary=[] if pa.types.is_nested(kind) else [column]) as file:
        _refuse_much(file.metadata, column)
        found = file.read([column])[column].combine_chunks()
    how = footprints_of(schema, column)
    shapes, broken = shapes_of(_decoded(found) if pa.types.is_dictionary(found.type) else found, how)
    if broken.any():
        row = int(np.flatnonzero(broken)[0])
        raise SpecError(f"the geometry of row {row} cannot be decoded", remedy="correct that row")
    there = in_degrees(shapes[~(shapely.is_missing(shapes) | shapely.is_empty(shapes))], how.crs)
    return {"type": "GeometryCollection", "geometries": [json.loads(text) for text in shapely.to_geojson(there)]}


def _decoded(column: pa.DictionaryArray) -> pa.Array:
    """A small file may repeat a large value ten thousand times."""
    size = pc.sum(pc.binary_length(column.dictionary).take(column.indices)).as_py() or 0
    if size > LARGEST:
        raise _too_much(len(column), size)
    return column.dictionary_decode()


def _refuse_much(metadata: pq.FileMetaData, column: str) -> None:
    """By the footer, before a page is read."""
    every = (metadata.row_group(group).column(at) for group in range(metadata.num_row_groups) for at in range(metadata.num_columns))
    chunks = [chunk for chunk in every if chunk.path_in_schema.partition(".")[0] == column]
    size = sum(max(chunk.total_uncompressed_size, 8 * chunk.num_values) for chunk in chunks)
    if metadata.num_rows > MAX_POSITIONS or size > LARGEST:
        raise _too_much(metadata.num_rows, size)


def _too_much(rows: int, size: int) -> SpecError:
    message = f"{rows:,} geometries of {size:,} bytes are more than an area holds: {MAX_POSITIONS:,} positions"
    return SpecError(message, remedy="dissolve and simplify them, or write their bbox")
