"""Statistics per zone, scene and band: a Parquet table with the zones' own columns, and their polygons beside it as GeoParquet."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rasterloom.access.collection import Collection
from rasterloom.access.credentials.secrets import Secrets
from rasterloom.access.pixels.vectors import zones_of
from rasterloom.access.reads.features import (
    FILE,
    Source,
    check_own,
    features_unit,
    loaded,
    make_features,
    places_digest,
    source_of,
    zones_of_source,
)
from rasterloom.access.reads.job import Finished, Made, Part, ReadJob, Unit, digest_of, unit_key
from rasterloom.access.reads.made import output_names
from rasterloom.access.reads.making import Making
from rasterloom.access.reads.plots import time_series
from rasterloom.access.reads.scenes import planned_scenes, read_bands
from rasterloom.access.reads.series import GROUP, band_panels, grouped
from rasterloom.access.reads.zonalscene import Counted, SceneZones
from rasterloom.access.reads.zonemap import ZoneMap
from rasterloom.access.views import any_of, touches
from rasterloom.errors import SpecError
from rasterloom.raster.zonal import statistics
from rasterloom.specs.reads import ZonalRead

VERSION = 1
OUTPUT = "zonal.parquet"
ZONES = "zones.parquet"
VALUES = "values.parquet"
KEYS = ("zone_index", "record_id", "datetime", "band")
"""Columns of the output beside the statistics and the zones' own."""
_COUNTS = ("count", "valid", "variety")
_HISTOGRAM = pa.list_(pa.struct([pa.field("value", pa.float64()), pa.field("count", pa.int64())]))
_PLOTTED = ("mean", "median", "majority", "sum", "max", "min")
"""The statistic of the picture is the first of these that is asked for, else the first of all."""
_PIXELS = 1 << 18
"""Numbers that a band of a zone costs, about: nothing is known of its size before its scene is read."""
_MOST = 1 << 27
"""Numbers of a whole scene, about."""


def plan(job: ReadJob, view: Collection, secrets: Secrets) -> tuple[Unit, ...]:
    """A unit per scene that has zones in its box, and one for the zones."""
    read = _read(job)
    zones = zones_of(loaded(read.zones, effort=job.effort, secrets=secrets))
    own = features_unit("zones", zones)
    check_own(zones, [*KEYS, *read.statistics])
    places = places_digest(zones)
    prepared = zone_map(source_of(read.zones, places, effort=job.effort, secrets=secrets), read.all_touched)
    boxes = prepared.boxes()
    if not boxes:
        raise SpecError(f"reads.{job.read}: no row of its zones has a polygon", remedy="correct the file")
    near = view.where(any_of([touches(box) for box in boxes]))
    bands = read_bands(read, view.bands)
    rows = near.to_table(["id", "bbox"])
    inside = dict(zip(rows["id"].to_pylist(), prepared.counts(rows["bbox"].to_pylist()), strict=True))
    masks = [mask.model_dump(mode="json") for mask in read.mask or ()]
    asked = digest_of(read.bands, read.expressions, masks, bands, read.statistics, read.all_touched)
    return own, *(
        Unit(
            key=unit_key("zonal", VERSION, scene.digest, places, asked),
            label=scene.id,
            scenes=(scene.id,),
            payload={"places": places, "datetime": scene.datetime and scene.datetime.isoformat()},
            pixels=min(inside[scene.id] * len(bands) * _PIXELS, _MOST),
            held=min(inside[scene.id] * _PIXELS, _MOST),
        )
        for scene in planned_scenes(job, near, bands)
        if inside[scene.id]
    )


def make(making: Making, unit: Unit, folder: Path) -> Made:
    """The statistics of one scene: an output that could not be read whole has no rows."""
    read = _read(making.job)
    if unit.payload.get("features"):
        return make_features("zones", zones_of(loaded(read.zones, effort=making.job.effort, secrets=making.secrets)), unit, folder)
    zones = zone_map(source_of(read.zones, unit.payload["places"], effort=making.job.effort, secrets=making.secrets), read.all_touched)
    names = output_names(read, making.bands)
    scene = SceneZones(making, unit.scenes[0], zones, names)
    tables = [_table(part, read.statistics) for part in scene.counted()]
    whole = [table for table in tables if table.num_rows and not scene.is_broken(table["band"][0].as_py())]
    ordered = sorted(whole, key=lambda table: names.index(table["band"][0].as_py()))
    found = pa.concat_tables([_schema(read.statistics).empty_table(), *ordered])
    pq.write_table(found, folder / VALUES, compression="zstd")
    return Made(meta={"rows": found.num_rows}, failures=tuple(scene.failures.values()), asked=len(scene.asked))


def finish(job: ReadJob, parts: Sequence[Part], folder: Path) -> Finished:
    """Scenes by time; of each the bands, and of each band the zones by their place in the file."""
    read, own, scenes = _read(job), pq.read_table(parts[0].path(FILE)), parts[1:]
    index = pa.array(np.arange(own.num_rows))
    pq.write_table(own.add_column(0, pa.field("zone_index", pa.int64(), nullable=False), index), folder / ZONES, compression="zstd")
    columns = own.drop_columns(["geometry"])
    schema = _output_schema(columns, read.statistics)
    rows = 0
    bands: dict[str, None] = {}
    with pq.ParquetWriter(folder / OUTPUT, schema, compression="zstd") as writer:
        for table in grouped(_rows_of(part, columns, schema) for part in scenes):
            writer.write_table(table, row_group_size=GROUP)
            rows += table.num_rows
            bands |= dict.fromkeys(table["band"].unique().to_pylist())
    plotted = next((name for name in _PLOTTED if name in read.statistics), next((n for n in read.statistics if n != "histogram"), None))
    panels = [] if plotted is None else band_panels(folder / OUTPUT, own, list(bands), plotted)
    (folder / "picture.png").write_bytes(time_series(panels, title=f"{job.name}: {job.read}", what="zones"))
    meta = {"zones": own.num_rows, "scenes": len(scenes), "rows": rows, "bands": list(bands), "statistics": list(read.statistics)}
    return Finished(meta=meta, data=OUTPUT, picture="picture.png")


@lru_cache(maxsize=2)
def zone_map(source: Source, all_touched: bool) -> ZoneMap:  # noqa: FBT001  part of the key
    """The zones of a plan, prepared once for all units of a process."""
    return ZoneMap(zones_of_source(source), all_touched=all_touched)


def _table(part: Counted, wanted: Sequence[str]) -> pa.Table:
    made: dict[str, Any] = statistics(part.owners, part.values, len(part.zones), [name for name in wanted if name != "count"])
    columns = {name: part.count if name == "count" else made[name] for name in wanted}
    arrays = [
        pa.array(part.zones),
        pa.array([part.name] * len(part.zones), pa.string()),
        *(_array(name, columns[name]) for name in wanted),
    ]
    return pa.Table.from_arrays(arrays, schema=_schema(wanted))


def _array(name: str, values: Any) -> pa.Array:
    """NaN, which says that a zone has no valid pixel, is null."""
    if name == "histogram":
        rows = [[{"value": value, "count": count} for value, count in pairs] for pairs in values]
        return pa.array(rows, _HISTOGRAM)
    return pa.array(values) if name in _COUNTS else pa.array(values, mask=np.isnan(values))


def _statistic_fields(wanted: Sequence[str]) -> list[pa.Field]:
    kinds = {**dict.fromkeys(_COUNTS, pa.int64()), "histogram": _HISTOGRAM}
    return [pa.field(name, kinds.get(name, pa.float64())) for name in wanted]


def _schema(wanted: Sequence[str]) -> pa.Schema:
    return pa.schema([pa.field("zone_index", pa.int64()), pa.field("band", pa.string()), *_statistic_fields(wanted)])


def _output_schema(own: pa.Table, wanted: Sequence[str]) -> pa.Schema:
    return pa.schema(
        [
            pa.field("zone_index", pa.int64(), nullable=False),
            *own.schema,
            pa.field("record_id", pa.string(), nullable=False),
            pa.field("datetime", pa.timestamp("us")),
            pa.field("band", pa.string(), nullable=False),
            *_statistic_fields(wanted),
        ]
    )


def _rows_of(part: Part, own: pa.Table, schema: pa.Schema) -> pa.Table:
    values, text = pq.read_table(part.path(VALUES)), part.unit.payload["datetime"]
    instant = None if text is None else datetime.fromisoformat(text)
    rows, count = own.take(values["zone_index"]) if own.num_columns else own, values.num_rows
    given = {"record_id": pa.array([part.unit.scenes[0]] * count, pa.string()), "datetime": pa.array([instant] * count, pa.timestamp("us"))}
    columns = [given[name] if name in given else values[name] if name in values.column_names else rows[name] for name in schema.names]
    return pa.Table.from_arrays(columns, schema=schema)


def _read(job: ReadJob) -> ZonalRead:
    read = job.model
    assert isinstance(read, ZonalRead)
    return read
