"""The map as a drawing: footprints on a grid of degrees, the asked area around them, and a bar of kilometres."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from rasterloom.access.reports.drawing import WIDTH, Drawing, closed_path, decimals, line, rect, round_below, text, ticks
from rasterloom.access.reports.values import Footprint, Frame, Map, Point, Ring

_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 12, 10, 30
_LOWEST, _HIGHEST = 150.0, 380.0
"""Of the plot."""
_LEVELS = 5
"""Shades."""
_DEGREES = (15.0, 30.0, 45.0, 60.0)
_KM = 111.32
"""Per degree of latitude."""


@dataclass(frozen=True, slots=True)
class _Plot:
    """Where the frame lies in the drawing: degrees of longitude are as wide as they are in the middle of it."""

    frame: Frame
    height: float

    x = float(_LEFT)
    width = float(WIDTH - _LEFT - _RIGHT)

    @staticmethod
    def of(frame: Frame) -> _Plot:
        """The frame is widened, or made higher, until it fills the drawing."""
        high, wide = frame.north - frame.south, frame.east - frame.west
        height = min(_HIGHEST, max(_LOWEST, _Plot.width * high / (wide * _shrink(frame))))
        across = min(max(0.0, high * _Plot.width / (height * _shrink(frame)) - wide), max(0.0, 360.0 - wide)) / 2
        up = max(0.0, wide * _shrink(frame) * height / _Plot.width - high) / 2
        grown = Frame(west=frame.west - across, south=frame.south - up, east=frame.east + across, north=frame.north + up)
        return _Plot(grown, height)

    def at(self, point: Point) -> tuple[float, float]:
        frame = self.frame
        x = self.x + self.width * (point.x - frame.west) / (frame.east - frame.west)
        return x, _TOP + self.height * (frame.north - point.y) / (frame.north - frame.south)

    def path(self, rings: Iterable[Ring]) -> str:
        return closed_path([self.at(point) for point in ring] for ring in rings)


def _shrink(frame: Frame) -> float:
    return max(0.15, math.cos(math.radians((frame.south + frame.north) / 2)))


def draw_map(shown: Map, scenes: int) -> Drawing:
    """720 units wide; the longest side decides the scale."""
    plot = _Plot.of(shown.frame)
    most = max((each.scenes for each in shown.footprints), default=1)
    body = [
        rect(plot.x, _TOP, plot.width, plot.height, "sea"),
        *_graticule(plot),
        *_shapes(plot, shown.footprints, most, is_grid=shown.is_grid),
        *([f'<path class="area" stroke-width="1.8" stroke-dasharray="6 4" d="{plot.path(shown.area)}"/>'] if shown.area else []),
        rect(plot.x, _TOP, plot.width, plot.height, "axis", ' fill="none"'),
        *_scale_bar(plot),
    ]
    return Drawing(round(_TOP + plot.height + _BOTTOM), tuple(body), _words(shown, scenes, most))


def _words(shown: Map, scenes: int, most: int) -> str:
    frame = shown.frame
    place = f"from {longitude(frame.west, 2)} to {longitude(frame.east, 2)} and {latitude(frame.south, 2)} to {latitude(frame.north, 2)}"
    shapes = f"up to {most:,} in one cell of a grid" if shown.is_grid else f"{len(shown.footprints):,} different footprints"
    return f"Map of {scenes:,} scenes {place}: {shapes}{', and the asked area, dashed' if shown.area else ''}."


def _shapes(plot: _Plot, footprints: Iterable[Footprint], most: int, *, is_grid: bool) -> Iterable[str]:
    """One group for each shade, the faintest first."""
    levels: dict[int, list[str]] = {}
    for each in footprints:
        level = round((_LEVELS - 1) * math.log(each.scenes) / math.log(most)) if most > 1 else 0
        levels.setdefault(level, []).append(f'<path d="{plot.path(each.rings)}"/>')
    for level, paths in sorted(levels.items()):
        opacity = (0.15 + 0.17 * level) if is_grid else (0.08 + 0.06 * level)
        kind = 'class="cell"' if is_grid else 'class="foot" stroke-width="0.8" stroke-opacity="0.7" fill-rule="evenodd"'
        yield f'<g {kind} fill-opacity="{opacity:.2f}">{"".join(paths)}</g>'


def _graticule(plot: _Plot) -> Iterable[str]:
    frame, bottom, right = plot.frame, _TOP + plot.height, plot.x + plot.width
    steps = _DEGREES if max(frame.east - frame.west, frame.north - frame.south) > 40 else ()
    across = ticks(frame.west, frame.east, max(2, round(plot.width / 95)), steps)
    for degrees in across:
        x, _ = plot.at(Point(x=degrees, y=frame.north))
        yield line(x, _TOP, x, bottom, "grid")
        yield text(x, bottom + 17, longitude(degrees, decimals(across)), "middle")
    up = ticks(max(frame.south, -90.0), min(frame.north, 90.0), max(2, round(plot.height / 60)), steps)
    for degrees in up:
        _, y = plot.at(Point(x=frame.west, y=degrees))
        yield line(plot.x, y, right, y, "grid")
        yield text(plot.x - 6, y + 4, latitude(degrees, decimals(up)), "end")


def _scale_bar(plot: _Plot) -> Iterable[str]:
    """A round number of kilometres, a fifth of the width at the most; none for half a world, where the scale is not one."""
    frame = plot.frame
    whole = (frame.east - frame.west) * _shrink(frame) * _KM
    if frame.north - frame.south > 40:
        return
    length = round_below(whole / 5)
    wide = plot.width * length / whole
    x, y = plot.x + plot.width - wide - 12, _TOP + plot.height - 12
    words = f"{length:g} km" if length >= 1 else f"{length * 1000:g} m"
    yield rect(x - 8, y - 22, wide + 16, 28, "back", ' fill-opacity="0.75" rx="4"')
    yield line(x, y, x + wide, y, "axis", ' stroke-width="3"')
    yield text(x + wide / 2, y - 6, words, "middle")


def longitude(degrees: float, digits: int) -> str:
    """`122.4°W`; longitudes past 180 are those west of Greenwich."""
    turned = (degrees + 180.0) % 360.0 - 180.0
    return _degrees(180.0 if turned == -180.0 else turned, digits, "EW")


def latitude(degrees: float, digits: int) -> str:
    return _degrees(degrees, digits, "NS")


def _degrees(value: float, digits: int, letters: str) -> str:
    shown = f"{abs(value):.{digits}f}"
    letter = "" if float(shown) == 0 or (abs(value) == 180.0) else letters[value < 0]
    return f"{shown}°{letter}"
