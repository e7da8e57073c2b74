"""Images as a static STAC catalog: an item per image, whose assets are its bands."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyproj
import shapely
from shapely.geometry.base import BaseGeometry

from rasterloom.access.network.redact import redact
from rasterloom.access.pixels.systems import known_crs, transformer
from rasterloom.access.reads.cogs import ImageFacts, Statistics
from rasterloom.raster.grid import Grid

CATALOG = "catalog.json"
_VERSION = "1.1.0"
_EXTENSIONS = [
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/raster/v2.0.0/schema.json",
]
_BENT = 21
"""Points along each side of a grid's outline: in longitude and latitude it is not straight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageItem:
    """One item."""

    id: str
    title: str
    start: datetime
    """Naive UTC."""
    end: datetime
    """The last instant, naive UTC."""
    images: Mapping[str, tuple[ImageFacts, Statistics]]
    """Name of the file, beside the item -> what it is."""
    scenes: tuple[str, ...]
    """Ids of the scenes that it is made of."""


def write_catalog(folder: Path, items: Sequence[tuple[str, ImageItem]], *, id: str, description: str, grid: Grid, origin: str) -> None:
    """Write `catalog.json` and, for each directory of `items`, `item.json` in it. `origin` is the URI of what the items are made of."""
    links = [{"rel": "root", "href": f"./{CATALOG}", "type": "application/json"}]
    for home, item in items:
        links.append({"rel": "item", "href": f"./{home}/item.json", "type": "application/geo+json", "title": item.title})
        _write(folder / home / "item.json", item_of(item, grid, origin=origin))
    catalog = {"type": "Catalog", "stac_version": _VERSION, "id": id, "description": description, "links": links}
    _write(folder / CATALOG, catalog)


def item_of(item: ImageItem, grid: Grid, *, origin: str) -> dict[str, Any]:
    """A STAC item with the projection and raster extensions."""
    outline = outline_of(grid)
    return {
        "type": "Feature",
        "stac_version": _VERSION,
        "stac_extensions": _EXTENSIONS,
        "id": item.id,
        "geometry": json.loads(shapely.to_geojson(outline)),
        "bbox": list(outline.bounds),
        "properties": {
            "title": item.title,
            "datetime": None,
            "start_datetime": _instant(item.start),
            "end_datetime": _instant(item.end),
            "rasterloom:scenes": list(item.scenes),
            **_projection(grid),
        },
        "links": [
            {"rel": "root", "href": f"../{CATALOG}", "type": "application/json"},
            {"rel": "parent", "href": f"../{CATALOG}", "type": "application/json"},
            {"rel": "derived_from", "href": redact(origin), "title": "collection that the pixels were read from"},
        ],
        "assets": {facts.name: _asset(name, facts, statistics) for name, (facts, statistics) in item.images.items()},
    }


def outline_of(grid: Grid) -> BaseGeometry:
    """Polygon of the grid's edge in longitude and latitude."""
    a, b, c, d, e, f = grid.affine
    across, down = [grid.width * n / (_BENT - 1) for n in range(_BENT)], [grid.height * n / (_BENT - 1) for n in range(_BENT)]
    ring = [(0.0, row) for row in down] + [(col, float(grid.height)) for col in across[1:]]
    ring += [(float(grid.width), row) for row in reversed(down[:-1])] + [(col, 0.0) for col in reversed(across[:-1])]
    to_degrees = transformer(grid.crs, "OGC:CRS84")
    return shapely.Polygon([to_degrees.transform(a * col + b * row + c, d * col + e * row + f) for col, row in ring])


def _projection(grid: Grid) -> dict[str, Any]:
    bounds = grid.bounds
    named = (
        {"proj:code": grid.crs} if grid.crs.startswith("EPSG:") else {"proj:code": None, "proj:projjson": _projjson(known_crs(grid.crs))}
    )
    return {
        **named,
        "proj:shape": [grid.height, grid.width],
        "proj:transform": list(grid.affine),
        "proj:bbox": [bounds.left, bounds.bottom, bounds.right, bounds.top],
    }


def _projjson(crs: pyproj.CRS) -> dict[str, Any]:
    return crs.to_json_dict()


def _asset(name: str, facts: ImageFacts, statistics: Statistics) -> dict[str, Any]:
    band: dict[str, Any] = {"name": facts.name, "data_type": facts.dtype, "nodata": "nan" if math.isnan(facts.nodata) else facts.nodata}
    if (facts.scale, facts.offset) != (1.0, 0.0):
        band |= {"raster:scale": facts.scale, "raster:offset": facts.offset}
    found = {"minimum": statistics.minimum, "maximum": statistics.maximum, "mean": statistics.mean}
    share = 100 * statistics.valid / statistics.pixels
    band["statistics"] = {key: value for key, value in found.items() if value is not None} | {"valid_percent": share}
    kind = "image/tiff; application=geotiff; profile=cloud-optimized"
    return {"href": f"./{name}", "type": kind, "title": facts.name, "roles": ["data"], "bands": [band]}


def _instant(moment: datetime) -> str:
    return f"{moment.isoformat()}Z"


def _write(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
