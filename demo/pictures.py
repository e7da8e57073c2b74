"""The two pictures that a demo leaves: where the scenes lie, and one of them read back through the collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import shapely
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Polygon, Rectangle
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from rasterloom.demo.landscape import Extent

_ZONE_COLOURS = ("#2f6f8f", "#c8663d", "#5b8c5a", "#8a5a9e")
_INK = "#1f2a33"


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    id: str
    day: str
    """ISO date."""
    zone: str
    """Name of the CRS, for the legend."""
    outline: bytes
    """WKB polygon, CRS84."""


def draw_footprints(path: Path, footprints: Sequence[Footprint], area: Extent, *, title: str) -> None:
    """A map in degrees: the scenes by zone, the area that was asked for as a box."""
    figure, axes = _figure(8.0, 5.7)
    zones = sorted({each.zone for each in footprints})
    colours = {zone: _ZONE_COLOURS[number % len(_ZONE_COLOURS)] for number, zone in enumerate(zones)}
    for outline, group in _by_outline(sorted(footprints, key=lambda each: each.zone)).items():
        _draw_group(axes, outline, group, colour=colours[group[0].zone], middle=(area.west + area.east) / 2)
    axes.add_patch(
        Rectangle((area.west, area.south), area.east - area.west, area.north - area.south, fill=False, ec=_INK, lw=1.6, ls="--", zorder=4)
    )
    _degrees(axes, footprints, area)
    handles: list[Patch | Line2D] = [
        Patch(fc=colour + "40", ec=colour, label=_counted(zone, footprints)) for zone, colour in colours.items()
    ]
    handles.append(Line2D([], [], color=_INK, lw=1.6, ls="--", label="bbox of the spec"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9)
    figure.suptitle(title, x=0.015, ha="left", fontsize=11, color=_INK)
    _save(figure, path)


def draw_scene(path: Path, bands: Mapping[str, NDArray[np.floating[Any]]], *, title: str, pixel: float) -> None:
    """True colour beside the vegetation index. `bands` has B02, B03, B04, B08 as reflectance 0..1 of one shape, NaN = nothing there."""
    figure, (left, right) = _figures(10.6, 5.2)
    colour = np.stack([bands[code] for code in ("B04", "B03", "B02")], axis=-1)
    left.imshow(np.nan_to_num(np.clip(colour * 3.4, 0, 1) ** 0.8, nan=1.0), extent=_kilometres(colour.shape[:2], pixel))
    left.set_title("true colour: B04, B03, B02", loc="left", fontsize=10, color=_INK)
    red, infrared = bands["B04"], bands["B08"]
    index = right.imshow((infrared - red) / (infrared + red), cmap="RdYlGn", vmin=-0.6, vmax=0.9, extent=_kilometres(red.shape, pixel))
    right.set_title("vegetation index: (B08 - B04) / (B08 + B04)", loc="left", fontsize=10, color=_INK)
    for axes in (left, right):
        axes.set_xlabel("km", fontsize=9)
        axes.tick_params(labelsize=8)
    left.set_ylabel("km", fontsize=9)
    right.set_yticklabels([])
    figure.colorbar(index, ax=[left, right], fraction=0.025, pad=0.015).ax.tick_params(labelsize=8)
    figure.suptitle(title, x=0.015, ha="left", fontsize=11, color=_INK)
    _save(figure, path)


def _by_outline(footprints: Sequence[Footprint]) -> dict[bytes, list[Footprint]]:
    groups: dict[bytes, list[Footprint]] = {}
    for each in footprints:
        groups.setdefault(each.outline, []).append(each)
    return groups


def _draw_group(axes: Axes, outline: bytes, group: Sequence[Footprint], *, colour: str, middle: float) -> None:
    """One outline for all the passes over it, with their days inside, away from the `middle` where scenes overlap."""
    shape = cast(shapely.Polygon, shapely.from_wkb(outline))
    axes.add_patch(Polygon(np.asarray(shape.exterior.coords), fc=colour + "30", ec=colour, lw=1.8, zorder=2))
    west, _, east, north = shape.bounds
    days = "\n".join(each.day for each in sorted(group, key=lambda each: each.day))
    inset = 0.28 if (west + east) / 2 < middle else 0.72
    axes.text(west + (east - west) * inset, north - 0.05, days, ha="center", va="top", fontsize=9, color=colour, linespacing=1.5, zorder=3)


def _counted(zone: str, footprints: Sequence[Footprint]) -> str:
    count = sum(each.zone == zone for each in footprints)
    return f"{zone}: {count} scenes"


def _degrees(axes: Axes, footprints: Sequence[Footprint], area: Extent) -> None:
    bounds = shapely.total_bounds(shapely.from_wkb([each.outline for each in footprints]))
    west, south = np.minimum(bounds[:2], (area.west, area.south))
    east, north = np.maximum(bounds[2:], (area.east, area.north))
    margin = 0.04 * max(east - west, north - south)
    axes.set_xlim(west - margin, east + margin)
    axes.set_ylim(south - margin, north + margin)
    # A degree of longitude is shorter than one of latitude by the cosine of the latitude.
    axes.set_aspect(1 / np.cos(np.radians((south + north) / 2)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{abs(value):.2f}\N{DEGREE SIGN}{'E' if value >= 0 else 'W'}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{abs(value):.2f}\N{DEGREE SIGN}{'N' if value >= 0 else 'S'}"))
    axes.tick_params(labelsize=9, colors=_INK)
    axes.grid(color="#d5dbe0", lw=0.6, zorder=0)
    axes.set_axisbelow(True)


def _kilometres(shape: tuple[int, ...], pixel: float) -> tuple[float, float, float, float]:
    height, width = shape[0] * pixel / 1000, shape[1] * pixel / 1000
    return (0, width, 0, height)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    # Without pyplot: a figure of its own canvas needs no display and no global state.
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _figures(width: float, height: float) -> tuple[Figure, tuple[Axes, Axes]]:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, (figure.add_subplot(1, 2, 1), figure.add_subplot(1, 2, 2))


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=130, facecolor="white")
