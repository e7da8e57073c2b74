"""What an array of time, y and x is before it is Zarr or NetCDF: variables with their types and fill values, coordinates, CRS; by CF."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rasterloom.access.pixels.systems import known_crs
from rasterloom.access.reads.grids import grid_from_json
from rasterloom.access.reads.job import Part, ReadJob
from rasterloom.access.reads.making import Making
from rasterloom.access.reads.scenes import FileFacts, PlannedScene, output_bands
from rasterloom.errors import SpecError
from rasterloom.raster.grid import Grid
from rasterloom.raster.layers import Layer
from rasterloom.specs.expressions import parse_expression
from rasterloom.specs.reads import StackRead

SPATIAL_REF = "spatial_ref"
_WIDER = {"uint8": "int16", "int8": "int16", "uint16": "int32", "int16": "int32", "uint32": "int64", "int32": "int64"}
"""The type in which every value of another one and one more has a place."""
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  naive UTC, as the collection's instants


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """One band or expression of a cube."""

    name: str
    dtype: str
    """numpy name, little-endian."""
    fill: float | int | None
    """What stands where there is no valid pixel; None is NaN, for which JSON has no word."""
    scale: float = 1.0
    offset: float = 0.0
    """value = stored * scale + offset."""
    is_scaled: bool = False
    """Whether the scenes' own scales differ, so that values are stored and not what the files hold."""
    expression: str = ""

    @property
    def fill_value(self) -> Any:
        """Of the variable's dtype."""
        return np.dtype(self.dtype).type(np.nan if self.fill is None else self.fill)

    def stored(self, layer: Layer, making: Making, scene: str) -> Layer:
        """The layer as it is stored, valid pixels alone told apart."""
        data = layer.data
        if self.is_scaled:
            header = making.file(scene, self.name).header
            data = data * (header.scales or (1.0,))[0] + (header.offsets or (0.0,))[0]
        return Layer(data.astype(self.dtype, copy=False), layer.valid)

    def filled(self, layer: Layer | None, shape: tuple[int, int]) -> NDArray[Any]:
        """Shape (height, width), the fill value where nothing is valid."""
        if layer is None:
            return np.full(shape, self.fill_value, self.dtype)
        return np.where(layer.valid, layer.data, self.fill_value).astype(self.dtype, copy=False)

    @property
    def attributes(self) -> dict[str, Any]:
        """By CF, without the fill value."""
        linear = {} if (self.scale, self.offset) == (1.0, 0.0) else {"scale_factor": self.scale, "add_offset": self.offset}
        return {"grid_mapping": SPATIAL_REF, "long_name": self.expression or self.name, **linear}


def variables_of(read: StackRead, known: Sequence[str], scenes: Sequence[PlannedScene]) -> list[Variable]:
    """Bands, then expressions, in the order of the read. Raises SpecError for a band that no scene has."""
    variables: list[Variable] = []
    for band in output_bands(read, known):
        facts = [scene.files[band] for scene in scenes if band in scene.files]
        if not facts:
            raise SpecError(f"no scene has a header of {band}", remedy="leave the band out, or see `rasterloom failures`")
        variables.append(_variable(band, facts))
    return variables + [_expression(name, text) for name, text in (read.expressions or {}).items()]


def _variable(band: str, facts: Sequence[FileFacts]) -> Variable:
    linear = {(each.scale, each.offset) for each in facts}
    dtype = np.result_type(*{each.dtype for each in facts})
    if len(linear) > 1:
        return Variable(name=band, dtype=np.result_type(dtype, np.float32).name, fill=None, is_scaled=True)
    ((scale, offset),) = linear
    nodata = {str(each.nodata): each.nodata for each in facts}
    if dtype.kind in "fc":
        known = next(iter(nodata.values())) if len(nodata) == 1 else None
        return Variable(name=band, dtype=dtype.name, fill=None if known is None or np.isnan(known) else known, scale=scale, offset=offset)
    known = next(iter(nodata.values()))
    if len(nodata) == 1 and known is not None and float(known).is_integer():
        return Variable(name=band, dtype=dtype.name, fill=int(known), scale=scale, offset=offset)
    # Without one nodata for all, every value of the type may be a measurement: the fill value needs a place of its own.
    wider = _WIDER.get(dtype.name, "float64")
    fill = int(np.iinfo(wider).min) if wider != "float64" else None
    return Variable(name=band, dtype=wider, fill=fill, scale=scale, offset=offset)


def _expression(name: str, text: str) -> Variable:
    if parse_expression(text).is_mask:
        return Variable(name=name, dtype="uint8", fill=255, expression=text)
    return Variable(name=name, dtype="float32", fill=None, expression=text)


@dataclass(frozen=True)
class Cube:
    """All that an output says beside its pixels."""

    grid: Grid
    variables: tuple[Variable, ...]
    times: tuple[str | None, ...]
    labels: tuple[str, ...]
    """Ids of the scenes of each step."""
    chunks: tuple[int, int, int]
    """time, y, x."""
    attributes: dict[str, Any]

    @classmethod
    def of(cls, job: ReadJob, payload: dict[str, Any], parts: Sequence[Part], *, chunk_of_time: int) -> Cube:
        high, wide = payload["chunks"]
        return cls(
            grid=grid_from_json(payload["grid"]),
            variables=tuple(Variable(**each) for each in payload["variables"]),
            times=tuple(part.meta["time"] for part in parts),
            labels=tuple(",".join(part.meta["scenes"]) for part in parts),
            chunks=(min(chunk_of_time, len(parts)), high, wide),
            attributes={
                "Conventions": "CF-1.11",
                "title": f"{job.read} of {job.name}",
                "source": f"{job.name} {job.snapshot}",
                "history": f"{job.started:%Y-%m-%dT%H:%M:%SZ} rasterloom read {job.name} {job.read}",
            },
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self.times), self.grid.height, self.grid.width

    def file(self, form: str) -> str:
        return "stack.zarr" if form == "zarr" else "stack.nc"

    @property
    def metres(self) -> float | None:
        axes = known_crs(self.grid.crs).axis_info
        return abs(self.grid.affine[0]) if axes and axes[0].unit_name == "metre" else None

    def described(self) -> dict[str, Any]:
        """For people."""
        return {
            "shape": list(self.shape),
            "chunks": list(self.chunks),
            "crs": self.grid.crs,
            "resolution": [self.grid.affine[0], -self.grid.affine[4]],
            "bounds": list(self.bounds),
            "variables": {variable.name: variable.dtype for variable in self.variables},
            "times": [self.times[0], self.times[-1]],
        }

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        found = self.grid.bounds
        return found.left, found.bottom, found.right, found.top

    @cached_property
    def coordinates(self) -> dict[str, tuple[tuple[str, ...], NDArray[Any], dict[str, Any]]]:
        """Name -> dimensions, values, attributes; `scene` holds text."""
        a, _, c, _, e, f = self.grid.affine
        crs = known_crs(self.grid.crs)
        axes: dict[str, dict[str, Any]] = {axis["axis"].lower(): axis for axis in crs.cs_to_cf() if "axis" in axis}
        time = np.array([_micros(text) for text in self.times], np.int64)
        when = {"standard_name": "time", "units": "microseconds since 1970-01-01T00:00:00", "calendar": "proleptic_gregorian"}
        place = {**crs.to_cf(), "crs_wkt": crs.to_wkt(), "GeoTransform": " ".join(repr(self.grid.affine[at]) for at in (2, 0, 1, 5, 3, 4))}
        return {
            "time": (("time",), time, when),
            "y": (("y",), f + (np.arange(self.grid.height) + 0.5) * e, axes.get("y", {})),
            "x": (("x",), c + (np.arange(self.grid.width) + 0.5) * a, axes.get("x", {})),
            "scene": (("time",), np.array(self.labels), {"long_name": "ids of the scenes"}),
            SPATIAL_REF: ((), np.array(0, np.int64), place),
        }


def _micros(text: str | None) -> int:
    """Since 1970; NaT, as numpy and xarray write it, where a scene has no instant."""
    if text is None:
        return int(np.iinfo(np.int64).min)
    span = datetime.fromisoformat(text) - _EPOCH
    return (span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds
