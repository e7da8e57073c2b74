"""The example specs against servers of this machine: the same spec, with its source where it can be asked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from rasterio.io import MemoryFile
from rasterio.transform import from_origin

from rasterloom.specs.loader import load_specs, spec_from
from rasterloom.specs.model import CollectionSpec
from rasterloom.specs.plan import make_plan
from rasterloom.specs.question import Interval, Question
from tests.servers import RangeServer, StacServer

SPECS = Path(__file__).resolve().parents[2] / "specs"
PLATFORMS = {"landsat-sacramento": "LANDSAT_8"}


@cache
def tiff(samples: int, *, west: float = 500_000, north: float = 4_200_000) -> bytes:
    """A small tiled GeoTIFF of so many bands; band n holds n + 1 everywhere."""
    profile: dict[str, Any] = {"driver": "GTiff", "tiled": True, "blockxsize": 16, "blockysize": 16, "dtype": "int16", "crs": "EPSG:32610"}
    with MemoryFile() as memory:
        with memory.open(width=32, height=32, count=samples, transform=from_origin(west, north, 10, 10), **profile) as file:
            file.write(np.broadcast_to(np.arange(1, samples + 1, dtype=np.int16)[:, None, None], (samples, 32, 32)))
        return memory.read()


def image(data: np.ndarray[Any, Any], *, west: float, north: float, pixel: float) -> bytes:
    """A small tiled GeoTIFF of one band in EPSG:32610; 0 is nodata."""
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "tiled": True,
        "blockxsize": 16,
        "blockysize": 16,
        "dtype": data.dtype,
        "crs": "EPSG:32610",
    }
    height, width = data.shape
    with MemoryFile() as memory:
        place = from_origin(west, north, pixel, pixel)
        with memory.open(width=width, height=height, count=1, transform=place, nodata=0, **profile) as file:
            file.write(data, 1)
        return memory.read()


def near_market_street(files: RangeServer) -> dict[str, dict[str, np.ndarray[Any, Any]]]:
    """Pixels of B04, B08 (10 m) and SCL (20 m) in place of those of every scene, at -122.4018, 37.7995; scene -> band -> pixels."""
    keys = {"red": "B04", "nir": "B08", "scl": "SCL"}
    made: dict[str, dict[str, np.ndarray[Any, Any]]] = {}
    for path in sorted(files.files):
        scene, key = path.strip("/").removesuffix(".tif").split("/")
        rng = np.random.default_rng([ord(letter) for letter in path])
        data = rng.choice([4, 5, 9], (16, 16)).astype(np.uint8) if key == "scl" else rng.integers(0, 30, (32, 32)).astype(np.uint16) * 100
        files.files[path] = image(data, west=552_500, north=4_183_900, pixel=20 if key == "scl" else 10)
        made.setdefault(scene, {})[keys[key]] = data
    return made


@dataclass(frozen=True)
class Provider:
    """Scenes that answer a question, and three that do not: another place, another day, too many clouds."""

    question: Question
    files: RangeServer
    platform: str

    @property
    def wanted(self) -> list[str]:
        return ["scene-0", "scene-1"]

    def items(self) -> list[dict[str, Any]]:
        begin = self.question.dates.start or datetime(2024, 6, 1, tzinfo=UTC)
        box = self.question.bbox
        assert box is not None
        x, y = (box.west + box.east) / 2, (box.south + box.north) / 2
        return [
            self._item("scene-0", begin + timedelta(days=3), x, y),
            self._item("scene-1", _last_second(self.question.dates, begin), x, y),
            self._item("elsewhere", begin + timedelta(days=3), x + 60, y),
            self._item("earlier", begin - timedelta(days=9), x, y),
            self._item("cloudy", begin + timedelta(days=3), x, y, clouds=99.0),
        ]

    def _item(self, name: str, instant: datetime, x: float, y: float, *, clouds: float = 1.5) -> dict[str, Any]:
        footprint = shapely.box(x - 0.01, y - 0.01, x + 0.01, y + 0.01)
        return {
            "type": "Feature",
            "stac_version": "1.0.0",
            "id": name,
            "collection": self.question.source.collection or "maxar",
            "bbox": list(footprint.bounds),
            "geometry": shapely.geometry.mapping(footprint),
            "properties": {"datetime": f"{instant:%Y-%m-%dT%H:%M:%SZ}", "eo:cloud_cover": clouds, "platform": self.platform},
            "assets": {key: self._asset(name, key, samples) for key, samples in self._samples().items()},
            "links": [],
        }

    def _asset(self, name: str, key: str, samples: int) -> dict[str, str]:
        path = f"/{name}/{key}.tif"
        self.files.files[path] = tiff(samples)
        return {"href": self.files.url + path, "type": "image/tiff; application=geotiff; profile=cloud-optimized"}

    def _samples(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for band in self.question.bands:
            found[band.asset] = max(found.get(band.asset, 0), band.index + 1)
        return found


def _last_second(dates: Interval, begin: datetime) -> datetime:
    return begin + timedelta(days=5) if dates.end is None else dates.end - timedelta(seconds=1)


def example(name: str) -> CollectionSpec:
    (spec,) = load_specs(SPECS / f"{name}.yaml")
    return spec


def provider_of(spec: CollectionSpec, files: RangeServer) -> Provider:
    question = make_plan(spec, now=datetime.now(UTC)).question
    return Provider(question, files, PLATFORMS.get(spec.name, "sentinel-2a"))


def at_a_server(spec: CollectionSpec, files: RangeServer, stac: StacServer) -> CollectionSpec:
    """`dataset` and `stac` become the local API, with the bands that they stand for; credentials are for hosts that are not asked."""
    provider = provider_of(spec, files)
    stac.items = provider.items()
    source = {"url": stac.url, "collection": provider.question.source.collection}
    return _changed(spec, {"stac": source, "dataset": None, "auth": None, **_maps(provider.question)})


def at_a_table(spec: CollectionSpec, files: RangeServer, folder: Path) -> CollectionSpec:
    """The items in a STAC GeoParquet file, as its writers give them."""
    provider = provider_of(spec, files)
    path = folder / "index.parquet"
    pq.write_table(_as_table(provider.items()), path)
    table = spec.table.model_dump(exclude_none=True) if spec.table else {}
    return _changed(spec, {"table": table | {"uri": str(path)}, "auth": None, "build": {"allow_private_hosts": True}})


def at_an_index(spec: CollectionSpec, files: RangeServer, folder: Path) -> tuple[CollectionSpec, Path]:
    """An index with columns of its own: fid, geom, year, path."""
    path = folder / "aef.parquet"
    box = spec.bbox or (0.0, 0.0, 1.0, 1.0)
    here, far = shapely.box(*box), shapely.box(box[0] + 60, box[1], box[2] + 60, box[3])
    rows = [("wanted", here, 2023), ("elsewhere", far, 2023), ("earlier", here, 2019)]
    for name, _, _ in rows:
        files.files[f"/{name}.tif"] = tiff(64)
    columns = {
        "fid": [name for name, _, _ in rows],
        "geom": shapely.to_wkb([shape for _, shape, _ in rows]).tolist(),
        "year": pa.array([year for _, _, year in rows], pa.int32()),
        "path": [f"{files.url}/{name}.tif" for name, _, _ in rows],
    }
    pq.write_table(pa.table(columns), path)
    table = spec.table.model_dump(exclude_none=True) if spec.table else {}
    place = {"uri": str(path)} if spec.table and spec.table.uri else {"params": {**(table.get("params") or {}), "index": str(path)}}
    return _changed(spec, {"table": table | place, "auth": None, "build": {"allow_private_hosts": True}}), path


def at_a_folder(spec: CollectionSpec, files: RangeServer, folder: Path) -> CollectionSpec:
    """A static catalog of files, links relative."""
    provider = provider_of(spec, files)
    items = provider.items()
    name = spec.catalog.collection if spec.catalog and spec.catalog.collection else "all"
    _write(folder / "catalog.json", _node("Catalog", "root", [{"rel": "child", "href": f"./{name}/collection.json"}]))
    links = [{"rel": "item", "href": f"./{item['id']}.json"} for item in items]
    extent = {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}}
    _write(folder / name / "collection.json", _node("Collection", name, links) | {"extent": extent, "license": "other"})
    for item in items:
        _write(folder / name / f"{item['id']}.json", {**item, "collection": name})
    source = {"path": str(folder / "catalog.json"), "collection": name}
    return _changed(spec, {"catalog": source, "auth": None, "build": {"allow_private_hosts": True}})


def _maps(question: Question) -> dict[str, Any]:
    return {
        "band_map": {band.code: band.asset for band in question.bands},
        "band_index_map": {band.code: band.index for band in question.bands},
        "bands": [band.code for band in question.bands],
    }


def _changed(spec: CollectionSpec, changes: dict[str, Any]) -> CollectionSpec:
    mapping = spec.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    merged = {key: {**mapping.get(key, {}), **value} if key == "build" else value for key, value in changes.items()}
    return spec_from({key: value for key, value in {**mapping, **merged, "version": 1}.items() if value is not None})


def _as_table(items: list[dict[str, Any]]) -> pa.Table:
    return pa.table(
        {
            "id": [item["id"] for item in items],
            "collection": [item["collection"] for item in items],
            "geometry": shapely.to_wkb(shapely.from_geojson([json.dumps(item["geometry"]) for item in items])).tolist(),
            "bbox": [dict(zip(("xmin", "ymin", "xmax", "ymax"), item["bbox"], strict=True)) for item in items],
            "datetime": pa.array([datetime.fromisoformat(item["properties"]["datetime"]) for item in items], pa.timestamp("us", "UTC")),
            "eo:cloud_cover": [item["properties"]["eo:cloud_cover"] for item in items],
            "assets": [item["assets"] for item in items],
        }
    )


def _node(kind: str, name: str, links: list[dict[str, str]]) -> dict[str, Any]:
    return {"type": kind, "stac_version": "1.0.0", "id": name, "description": name, "links": links}


def _write(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), "utf-8")
