"""Read jobs of a spec: what pixels are made into after a build. One model per kind, told apart by `kind`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import AfterValidator, BeforeValidator, Field, Strict, TypeAdapter, model_validator

from rasterloom.errors import SpecError
from rasterloom.specs.area import checked_box, checked_geometry
from rasterloom.specs.cql2 import WrongFilter
from rasterloom.specs.durations import parse_duration
from rasterloom.specs.expressions import parse_expression
from rasterloom.specs.filters import parse_filter
from rasterloom.specs.identity import digest
from rasterloom.specs.kinds import Code, Dates, Flag, PositiveLength, Share, Text, Whole, Writable, json_value, place
from rasterloom.specs.query import Filter
from rasterloom.specs.sections import OneOf, Section
from rasterloom.specs.wrong import a_list, shown, wrong

Resampling = Literal["nearest", "bilinear", "cubic", "average", "mode"]
STATISTICS = ("count", "valid", "min", "max", "mean", "std", "sum", "median", "majority", "minority", "variety", "histogram")
_PERCENTILE = re.compile(r"p(100|\d{1,2}(\.\d{1,3})?)", re.ASCII)
Number = Annotated[float, Strict()]
Bit = Annotated[Whole, Field(ge=0, le=31)]


def _area(value: Any) -> dict[str, Any]:
    """GeoJSON of an area; a box becomes a polygon, one that crosses the antimeridian two."""
    return checked_geometry(box_geometry(checked_box(cast(Any, value))) if isinstance(value, list | tuple) else value)


def box_geometry(box: tuple[float, float, float, float]) -> dict[str, Any]:
    """GeoJSON of `(west, south, east, north)`; west > east crosses the antimeridian."""
    west, south, east, north = box
    spans = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
    rings = [[[[left, south], [right, south], [right, north], [left, north], [left, south]]] for left, right in spans]
    return {"type": "Polygon", "coordinates": rings[0]} if len(rings) == 1 else {"type": "MultiPolygon", "coordinates": rings}


def _features(value: Any) -> Any:
    if isinstance(value, str):
        return place(value)
    if not isinstance(value, Mapping):
        raise wrong(f"{shown(value)} are no features", remedy="write the path of a GeoJSON or GeoParquet file, or inline GeoJSON")
    return json_value(value)


def _parsed(value: Any) -> Any:
    try:
        parse_filter(value)
    except WrongFilter as error:
        raise wrong(error.message, remedy=error.remedy) from error
    return value


def _expression(text: str) -> str:
    try:
        parse_expression(text)
    except SpecError as error:
        raise wrong(error.message, remedy=error.remedy) from error
    return text


def _statistic(text: str) -> str:
    if text not in STATISTICS and _PERCENTILE.fullmatch(text) is None:
        near = get_close_matches(text, STATISTICS, n=1, cutoff=0.6)
        remedy = f"did you mean {near[0]}?" if near else f"use {a_list(STATISTICS)}, or a percentile such as p90"
        raise wrong(f"{shown(text)} is no statistic", remedy=remedy)
    return text


def _period(text: str) -> str:
    found = parse_duration(text)
    if (found.months and found.seconds) or (not found.months and found.seconds < 3600):
        raise wrong(f"{shown(text)} is no period: months or years, or days and hours", remedy="write e.g. P1M, P1Y, P16D or PT6H")
    return text


def _several(value: Any) -> Any:
    return (value,) if isinstance(value, Mapping | MaskSpec) else value


Period = Annotated[PositiveLength, AfterValidator(_period)]
Area = Annotated[dict[str, Any], BeforeValidator(_area)]
Features = Annotated[dict[str, Any] | str, BeforeValidator(_features)]
"""A GeoJSON feature collection, or the path or URL of a GeoJSON, GeoParquet or Parquet file."""


Statistic = Annotated[Text, AfterValidator(_statistic), Field(json_schema_extra={"examples": [*STATISTICS, "p90"]})]


class MaskSpec(OneOf):
    """Pixels to leave out, by a band of classes or of flags."""

    one_of: ClassVar[tuple[str, ...]] = ("values", "bits", "keep")

    band: Code
    """Band of the collection, e.g. SCL; read with `nearest`."""
    values: tuple[Number, ...] | None = Field(default=None, min_length=1)
    """Left out: pixels that hold one of these."""
    bits: tuple[Bit, ...] | None = Field(default=None, min_length=1)
    """Left out: pixels with one of these bits set; 0 is the lowest."""
    keep: tuple[Number, ...] | None = Field(default=None, min_length=1)
    """Left out: pixels that hold none of these."""


Masks = Annotated[tuple[MaskSpec, ...], BeforeValidator(_several, json_schema_input_type=MaskSpec | tuple[MaskSpec, ...])]
"""One mask, or several: a pixel that any of them leaves out is left out."""


class _Read(Section):
    """What every kind takes."""

    bands: tuple[Code, ...] | None = Field(default=None, min_length=1)
    """Bands to read, in this order; default: all, or none where there are expressions."""
    expressions: dict[Code, Annotated[Text, AfterValidator(_expression)]] | None = Field(default=None, min_length=1)
    """Name -> expression of bands, e.g. `{ndvi: (B08 - B04) / (B08 + B04)}`."""
    mask: Masks | None = Field(default=None, min_length=1)
    """Pixels to leave out, e.g. `{band: SCL, values: [3, 8, 9, 10]}`, or a list of such."""
    area: Area | None = None
    """`[west, south, east, north]` or GeoJSON; in a file also the path or http(s) address of a GeoJSON or GeoParquet file. Default: that of
    the collection."""
    dates: Dates | None = None
    """Of the scenes to read, as the `dates` of a spec; default: all."""
    filter: Annotated[Filter, AfterValidator(_parsed)] | None = None
    """Of the scenes to read, as the `filter` of a spec."""
    output: Writable | None = None
    """Directory, relative to where the run is started, or prefix that is kept equal to the newest output; default: the workspace alone."""

    @model_validator(mode="after")
    def _names_differ(self) -> _Read:
        names = [*(self.bands or ()), *(self.expressions or {})]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise wrong(f"{a_list(twice)} stands twice among bands and expressions", remedy="give each its own name")
        return self


class _GridRead(_Read):
    """What the kinds take that put scenes onto one grid."""

    crs: Text | None = None
    """Of the grid, e.g. `EPSG:32632`; default: the one that most files have."""
    resolution: Annotated[float, Strict(), Field(gt=0)] | None = None
    """Size of a pixel in the units of the CRS; default: that of the finest band."""
    resampling: Resampling = "nearest"
    """How pixels of another grid are taken; masks always take `nearest`."""


class ChunkSpec(Section):
    """Pixels of one chunk."""

    time: Whole = Field(default=1, ge=1, le=10_000)
    """Scenes."""
    y: Whole = Field(default=1024, ge=16, le=16_384)
    """Rows."""
    x: Whole = Field(default=1024, ge=16, le=16_384)
    """Columns."""


class StackRead(_GridRead):
    """Scenes on one grid, as an array of time, y and x per band."""

    kind: Literal["stack"]
    """`stack`."""
    by: Literal["scene", "solar_day"] = "scene"
    """One step in time per scene, or per day of the sun, whose scenes are put together."""
    format: Literal["zarr", "netcdf"] = "zarr"
    """How the array is written."""
    chunks: ChunkSpec = ChunkSpec()
    """How the array is cut."""


class CompositeRead(_GridRead):
    """One image per period."""

    kind: Literal["composite"]
    """`composite`."""
    period: Period | None = None
    """Length of a period, e.g. `P1M`; default: one image of all scenes."""
    method: Literal["median", "mean", "min", "max", "first"] = "median"
    """What becomes of the valid pixels of a period; `first`: the first valid one in the order of `order_by`."""
    order_by: tuple[Text, ...] = Field(default=("datetime",), min_length=1, max_length=8)
    """Properties whose smallest value comes first, with a `-` before it whose largest does, e.g. `[eo:cloud_cover, -datetime]`."""


class ZonalRead(_Read):
    """Statistics per polygon and scene."""

    kind: Literal["zonal"]
    """`zonal`."""
    zones: Features
    """Polygons: GeoJSON, or the path or URL of a GeoJSON or GeoParquet file. Their own columns stay."""
    statistics: tuple[Statistic, ...] = Field(default=("count", "valid", "mean", "std", "min", "max"), min_length=1, max_length=64)
    """Columns: `count` is all pixels of a zone, `valid` those that are neither nodata nor masked, of which the others are made: `min`,
    `max`, `mean`, `std`, `sum`, `median`, percentiles such as `p90`; of classes `majority`, `minority`, `variety` (how many there are)
    and `histogram`."""
    all_touched: Flag = False
    """Count pixels that a polygon touches, and not those alone whose centre is inside."""


class PointsRead(_Read):
    """Values at points through time."""

    kind: Literal["points"]
    """`points`."""
    points: Features
    """Points: GeoJSON, or the path or URL of a GeoJSON, GeoParquet or CSV file. Their own columns stay."""
    resampling: Literal["nearest", "bilinear"] = "nearest"
    """The value of the pixel around a point, or the interpolation between the four next to it; bands of a mask always take `nearest`."""
    period: Period | None = None
    """One row per point and period of this length, e.g. `P1M`; default: one per point and scene."""
    method: Literal["median", "mean", "min", "max"] = "median"
    """What becomes of the valid values of a period."""


class ChipsRead(_GridRead):
    """Windows of one size, for training."""

    kind: Literal["chips"]
    """`chips`."""
    size: Whole = Field(default=256, ge=8, le=4096)
    """Pixels of an edge."""
    stride: Whole | None = Field(default=None, ge=1, le=16_384)
    """Pixels from one window to the next; default: `size`."""
    min_valid: Share = 0.5
    """Least share of pixels that are valid in every band; windows with less are left out."""
    format: Literal["zarr", "geotiff"] = "geotiff"
    """One file per chip, or one array of all of them."""


ReadSpec = Annotated[StackRead | CompositeRead | ZonalRead | PointsRead | ChipsRead, Field(discriminator="kind")]
"""One read of pixels after the build."""
Read = StackRead | CompositeRead | ZonalRead | PointsRead | ChipsRead
_ADAPTER: TypeAdapter[Read] = TypeAdapter(ReadSpec)


def read_from(mapping: Any) -> Read:
    """The read that was stored as JSON. Raises pydantic's `ValidationError`."""
    return _ADAPTER.validate_python(mapping)


def read_to_json(read: Read) -> dict[str, Any]:
    """As it stands in a spec, defaults spelled out: what a read of an older version of this program meant stays what it meant."""
    return read.model_dump(mode="json", exclude_none=True)


def read_fingerprint(read: Read) -> str:
    """64 hex digits of everything that decides what is read and made; where it is copied to does not."""
    return digest({key: value for key, value in read_to_json(read).items() if key != "output"})
