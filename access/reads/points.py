"""Values at points through time, as one GeoParquet table: a row per point and scene, a column per band and expression."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rasterloom.access.collection import Collection
from rasterloom.access.credentials.secrets import Secrets
from rasterloom.access.pixels.points import Hit, Indices, PointIndex, Sample, Tile, located, read_hits
from rasterloom.access.pixels.vectors import points_of
from rasterloom.access.reads.features import FILE, check_own, features_unit, loaded, make_features, places_digest, point_index, source_of
from rasterloom.access.reads.job import Finished, Made, Part, ReadJob, Unit, digest_of, unit_key
from rasterloom.access.reads.made import bands_of, mask_bands, output_names, outputs_of
from rasterloom.access.reads.making import Making, failed
from rasterloom.access.reads.periods import period_of
from rasterloom.access.reads.plots import time_series
from rasterloom.access.reads.scenes import PlannedScene, planned_scenes, read_bands
from rasterloom.access.reads.series import GROUP, column_panels, grouped
from rasterloom.access.values import Failure
from rasterloom.access.views import any_of, touches
from rasterloom.errors import RasterloomError, SpecError
from rasterloom.raster.layers import Layer
from rasterloom.raster.zonal import statistics
from rasterloom.specs.reads import PointsRead

VERSION = 1
OUTPUT = "points.parquet"
VALUES = "values.parquet"
KEYS = ("point_index", "record_id", "scenes", "datetime")
"""Columns of the output beside the values and the points' own."""
_TILE = 1 << 16
"""Numbers that a point costs, about: most lie in tiles of their own."""


def plan(job: ReadJob, view: Collection, secrets: Secrets) -> tuple[Unit, ...]:
    """A unit per scene that has points in its box, and one for the points."""
    read = _read(job)
    points = points_of(loaded(read.points, effort=job.effort, secrets=secrets))
    index = PointIndex(points)
    own = features_unit("points", points)
    check_own(points, [*KEYS, *output_names(read, view.bands)])
    boxes = index.boxes()
    if not boxes:
        raise SpecError(f"reads.{job.read}: no row of its points has a point", remedy="correct the file")
    near = view.where(any_of([touches(box) for box in boxes]))
    bands = read_bands(read, view.bands)
    rows = near.to_table(["id", "bbox"])
    found = index.in_boxes(rows["bbox"].to_pylist())
    inside = {id_: (box, len(at)) for id_, box, at in zip(*(rows[name].to_pylist() for name in ("id", "bbox")), found, strict=True)}
    places, asked = places_digest(points), digest_of(read.bands, read.expressions, _masks(read), bands, *_between(read))
    scenes = planned_scenes(job, near, bands)
    _check_classes(job.read, read, scenes)
    return own, *(
        Unit(
            key=unit_key("points", VERSION, scene.digest, places, asked),
            label=scene.id,
            scenes=(scene.id,),
            payload={"places": places, "bbox": inside[scene.id][0], "datetime": scene.datetime and scene.datetime.isoformat()},
            pixels=inside[scene.id][1] * len(bands) * _TILE,
            held=inside[scene.id][1] * len(bands),
        )
        for scene in scenes
        if inside[scene.id][1]
    )


def make(making: Making, unit: Unit, folder: Path) -> Made:
    """The values of one scene; of a scene whose mask cannot be read there are none: nothing is left unmasked."""
    read = _read(making.job)
    if unit.payload.get("features"):
        return make_features("points", points_of(loaded(read.points, effort=making.job.effort, secrets=making.secrets)), unit, folder)
    index = point_index(source_of(read.points, unit.payload["places"], effort=making.job.effort, secrets=making.secrets))
    (candidates,) = index.in_boxes([unit.payload["bbox"]])
    bands = read_bands(read, making.bands)
    samples, failures = scene_samples(making, unit.scenes[0], bands, candidates, index)
    names = output_names(read, making.bands)
    at, layers = values_at(read, names, samples)
    columns = {name: pa.array(layer.data.astype(np.float64), mask=~layer.valid) for name, layer in layers.items()}
    empty = pa.nulls(len(at), pa.float64())
    pq.write_table(pa.table({"point_index": at, **{name: columns.get(name, empty) for name in names}}), folder / VALUES)
    return Made(meta={"rows": len(at)}, failures=failures, asked=len(bands))


def finish(job: ReadJob, parts: Sequence[Part], folder: Path) -> Finished:
    """Scenes or periods by time, the points of each by their place in the file."""
    read, own, scenes = _read(job), pq.read_table(parts[0].path(FILE)), parts[1:]
    names = [name for name in pq.read_schema(scenes[0].path(VALUES)).names if name != "point_index"] if scenes else []
    schema = _schema(own, names, per_period=read.period is not None)
    tables = (_rows_of(part, own, schema) for part in scenes) if read.period is None else _periods_of(read, scenes, own, schema)
    rows = 0
    with pq.ParquetWriter(folder / OUTPUT, schema, compression="zstd") as writer:
        for table in grouped(tables):
            writer.write_table(table, row_group_size=GROUP)
            rows += table.num_rows
    panels = column_panels(folder / OUTPUT, own, names)
    (folder / "picture.png").write_bytes(time_series(panels, title=f"{job.name}: {job.read}", what="points"))
    meta = {"points": own.num_rows, "scenes": len(scenes), "rows": rows, "values": names}
    return Finished(meta=meta, data=OUTPUT, picture="picture.png")


def scene_samples(
    making: Making, scene: str, bands: Sequence[str], candidates: Indices, index: PointIndex
) -> tuple[dict[str, Sample], tuple[Failure, ...]]:
    """Band -> its values at the candidates that lie in its raster; bands that cannot be read are failures."""
    read = _read(making.job)
    masks = mask_bands(read)
    samples: dict[str, Sample] = {}
    failures: list[Failure] = []
    planned: list[tuple[Hit, Sequence[Tile]]] = []
    for band in bands:
        try:
            resampling = "nearest" if band in masks else read.resampling
            hit, tiles = located(making.file(scene, band), candidates, index, resampling)
        except RasterloomError as error:
            failures.append(failed(scene, band, error))
            continue
        if tiles:
            planned.append((hit, tiles))
        else:
            samples[band] = hit.sample
    for hit in read_hits(making.engine, planned):
        file = hit.sample.file
        if hit.failed is None:
            samples[file.band] = hit.sample
        else:
            failures.append(failed(scene, file.band, hit.failed, href=file.href))
    return samples, tuple(failures)


def values_at(read: PointsRead, names: Sequence[str], samples: Mapping[str, Sample]) -> tuple[Indices, dict[str, Layer]]:
    """The points that lie in the scene, and each output there, shape (points,); an output whose files failed is left out."""
    wanted = dict.fromkeys(band for name in names for band in bands_of(read, name))
    seen = [samples[band].points for band in wanted if band in samples]
    at = np.unique(np.concatenate(seen)) if seen else np.empty(0, np.int64)
    layers = {band: _layer(sample, at) for band, sample in samples.items()}
    made = outputs_of(read, names, layers, {band: sample.file.header for band, sample in samples.items()}, layers)
    return (at, made) if made else (at[:0], {})


def _layer(sample: Sample, at: Indices) -> Layer:
    """The sample at the points `at`, invalid where its raster has no pixel."""
    data, valid = np.zeros(len(at), sample.values.dtype), np.zeros(len(at), bool)
    _, there, known = np.intersect1d(at, sample.points, assume_unique=True, return_indices=True)
    data[there], valid[there] = sample.values[known], sample.valid[known]
    return Layer(data, valid)


def _schema(own: pa.Table, names: Sequence[str], *, per_period: bool) -> pa.Schema:
    """`datetime` is the instant of the scene, or the start of the period, of which `scenes` says how many had the point."""
    one = [pa.field("scenes", pa.int64(), nullable=False)] if per_period else [pa.field("record_id", pa.string(), nullable=False)]
    return pa.schema(
        [
            pa.field("point_index", pa.int64(), nullable=False),
            *(own.schema.field(name) for name in own.column_names if name != "geometry"),
            *one,
            pa.field("datetime", pa.timestamp("us")),
            *(pa.field(name, pa.float64()) for name in names),
            own.schema.field("geometry"),
        ],
        metadata=own.schema.metadata,
    )


def _rows_of(part: Part, own: pa.Table, schema: pa.Schema) -> pa.Table:
    values, instant = pq.read_table(part.path(VALUES)), part.unit.payload["datetime"]
    scene = pa.array([part.unit.scenes[0]], pa.string())
    return _joined(values, own, schema, {"record_id": scene, "datetime": pa.array([_instant(instant)], pa.timestamp("us"))})


def _periods_of(read: PointsRead, parts: Sequence[Part], own: pa.Table, schema: pa.Schema) -> Iterator[pa.Table]:
    """Scenes without an instant are in no period."""
    dated = [(part, datetime.fromisoformat(part.unit.payload["datetime"])) for part in parts if part.unit.payload["datetime"]]
    for period, group in groupby(dated, lambda pair: period_of(pair[1], read.period, read.dates)):
        values = pa.concat_tables([pq.read_table(part.path(VALUES)) for part, _ in group])
        at = values["point_index"].to_numpy()
        scenes = np.bincount(at, minlength=own.num_rows)
        seen = np.flatnonzero(scenes)
        columns: dict[str, pa.Array] = {"point_index": pa.array(seen), "scenes": pa.array(scenes[seen])}
        for name in (name for name in values.column_names if name != "point_index"):
            column = values[name].to_numpy()
            there = ~np.isnan(column)
            made = statistics(at[there], column[there], own.num_rows, [read.method])[read.method][seen]
            columns[name] = pa.array(made, mask=np.isnan(made))
        yield _joined(pa.table(columns), own, schema, {"datetime": pa.array([period.start], pa.timestamp("us"))})


def _joined(values: pa.Table, own: pa.Table, schema: pa.Schema, same: Mapping[str, pa.Array]) -> pa.Table:
    """`values` with the points' own columns, and with what is the `same` in all rows."""
    rows, first = own.take(values["point_index"]), pa.array(np.zeros(values.num_rows, np.int64))
    columns = [
        same[name].take(first) if name in same else values[name] if name in values.column_names else rows[name] for name in schema.names
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _masks(read: PointsRead) -> list[object]:
    return [mask.model_dump(mode="json") for mask in read.mask or ()]


def _between(read: PointsRead) -> list[str]:
    """Nothing for the default, so that what was made before there was another is found."""
    return [] if read.resampling == "nearest" else [read.resampling]


def _check_classes(name: str, read: PointsRead, scenes: Sequence[PlannedScene]) -> None:
    """Raises SpecError where values between classes are asked."""
    masks = mask_bands(read)
    mixed = [band for scene in scenes for band, facts in scene.files.items() if facts.is_classes and band not in masks]
    if mixed and read.resampling != "nearest":
        message = f"reads.{name}: {mixed[0]} holds classes or bits: {read.resampling} would invent values between them"
        raise SpecError(message, remedy="write resampling: nearest, or leave the band out")


def _read(job: ReadJob) -> PointsRead:
    read = job.model
    assert isinstance(read, PointsRead)
    return read
