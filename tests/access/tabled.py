"""Tables as their writers give them: the same scenes in many spellings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from rasterloom.access.credentials.secrets import environment_secrets
from rasterloom.access.items.pages import Page
from rasterloom.access.items.scene import answers, scene_of
from rasterloom.access.sources import tables
from rasterloom.access.values import Scene
from rasterloom.specs.effort import Effort
from rasterloom.specs.question import Band, Interval, Question, Shard, TableSource

START = datetime(2024, 6, 1, 10)
EVERYWHEN = Interval(start=None, end=None)
RED = (Band(code="B04", asset="red"),)


def question(uri: str | Path | None = None, *, bands: Sequence[Band] = RED, **changes: Any) -> Question:
    """Members of the source and of the question alike are changed by name."""
    source: dict[str, Any] = {
        "uri": None if uri is None else str(uri),
        "object": None,
        "params": None,
        "collection": None,
        "column_map": (),
        "href_column": None,
        "url_rewrite": (),
        "enrich": True,
    }
    asked: dict[str, Any] = {"bbox": None, "intersects": None, "dates": EVERYWHEN, "query": None, "dedupe": None, "href": "href"}
    for name, value in changes.items():
        (source if name in source else asked)[name] = value
    return Question(source=TableSource(**source), bands=tuple(bands), **asked)


def pages(asked: Question, *, effort: Effort | None = None) -> list[Page]:
    shard = Shard(index=0, dates=asked.dates, cell=None, closed=False)
    return list(tables.search(asked, shard, effort=effort or Effort(), secrets=environment_secrets))


def items(asked: Question, **how: Any) -> list[dict[str, Any]]:
    return [item for page in pages(asked, **how) for item in page.items]


def scenes(asked: Question, **how: Any) -> list[Scene]:
    """As a build keeps them: judged again."""
    found = [(item, *scene_of(item, asked)) for item in items(asked, **how)]
    assert not [failures for _, _, failures in found if failures]
    return [scene for item, scene, _ in found if scene is not None and answers(scene, item, asked)]


def footprint(number: int) -> shapely.Polygon:
    west, south = -120.0 + 2.0 * (number % 100), -40.0 + (number % 80)
    return shapely.box(west, south, west + 1.0, south + 1.0)


def href(number: int) -> str:
    return f"https://files.example.org/{number}/red.tif"


def columns(count: int) -> dict[str, Any]:
    """stac-geoparquet 1.1: WKB, a struct of edges, instants with a zone, an assets struct with more than the bands."""
    shapes = [footprint(number) for number in range(count)]
    return {
        "id": pa.array([f"scene-{number}" for number in range(count)]),
        "collection": pa.array(["c"] * count),
        "geometry": pa.array([shapely.to_wkb(shape) for shape in shapes]),
        "bbox": edges(shapes),
        "datetime": pa.array([START + timedelta(hours=number) for number in range(count)], pa.timestamp("us", "UTC")),
        "eo:cloud_cover": pa.array([float(number % 100) for number in range(count)]),
        "assets": pa.array([assets(number) for number in range(count)]),
        "links": pa.array([[{"rel": "root", "href": "./catalog.json", "type": "application/json"}]] * count),
    }


def assets(number: int) -> dict[str, Any]:
    red = {"href": href(number), "type": "image/tiff; application=geotiff", "title": "Red", "eo:bands": [{"name": "B04"}]}
    return {
        "red": red,
        "thumbnail": {"href": f"https://files.example.org/{number}/t.png", "type": "image/png", "roles": ["thumbnail"]},
        "metadata": {"href": f"https://files.example.org/{number}/m.xml", "type": "application/xml"},
    }


def edges(shapes: Any, kind: pa.DataType | None = None) -> pa.StructArray:
    bounds = shapely.bounds(shapes).reshape(-1, 4)
    return pa.StructArray.from_arrays([pa.array(bounds[:, at], kind or pa.float64()) for at in range(4)], ["xmin", "ymin", "xmax", "ymax"])


def geo(column: str = "geometry", **more: Any) -> dict[bytes, bytes]:
    about = {"version": "1.1.0", "primary_column": column, "columns": {column: {"encoding": "WKB", "geometry_types": [], **more}}}
    return {b"geo": json.dumps(about).encode()}


def table(count: int = 5, *, metadata: dict[bytes, bytes] | None = None, **changes: Any) -> pa.Table:
    """`changes` replace columns, `...` takes one away."""
    found = {name: value for name, value in {**columns(count), **changes}.items() if value is not ...}
    return pa.table(found).replace_schema_metadata(geo() if metadata is None else metadata)


def written(path: Path, made: pa.Table | None = None, **how: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table() if made is None else made, path, **how)
    return path


# --- callables of specs --------------------------------------------------------------------------------------------------------------


def gives_table(count: int = 3) -> pa.Table:
    return table(count)


def gives_reader() -> pa.RecordBatchReader:
    return table(3).to_reader(max_chunksize=2)


def gives_nothing() -> list[int]:
    return [1]


def gives_up() -> pa.Table:
    raise KeyError("no such index")


NO_CALLABLE = 7
