"""What was made, to look at: true colour, one band with its colour bar, or classes with their legend, as a PNG of one or several panels."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rasterloom.access.pixels.systems import known_crs
from rasterloom.raster.grid import Grid
from rasterloom.raster.layers import Layer

if TYPE_CHECKING:  # who draws imports it: every run of a deployment imports this module, and few draw
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap, Normalize
    from matplotlib.figure import Figure

COLOURS = (("B04", "B03", "B02"), ("red", "green", "blue"), ("R", "G", "B"), ("B4", "B3", "B2"), ("SR_B4", "SR_B3", "SR_B2"))
"""Codes that are red, green and blue, in the collections of the catalog."""

_INK, _QUIET, _EMPTY = "#1f2a33", "#62707b", "#e6eaed"
LONGEST = 1200
"""Pixels of a panel's longer edge: more is never seen."""
_STRETCH = (2.0, 98.0)
"""Percentiles between which the colours lie: clouds and glints would leave the ground dark."""
_MOST_CLASSES = 16
_MOST_PANELS = 12
_LETTER = 0.07
"""Inches of a letter above a panel, about."""
_PALETTE = ("#4f7cac", "#e3a23b", "#5f9e6e", "#c8553d", "#8a6fb0", "#9c7a5b", "#d78fb0", "#7a8892",
            "#b5b843", "#4db3bd", "#2f4b6e", "#a8632a", "#2f6b45", "#86302a", "#543f78", "#cfd6db")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Panel:
    """One image of a picture."""

    title: str
    layers: Mapping[str, Layer]
    """Code -> pixels, all of one shape."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """How all panels are coloured, so that they can be compared."""

    codes: tuple[str, ...]
    """Three for red, green and blue, else one."""
    low: float = 0.0
    high: float = 1.0
    classes: tuple[float, ...] = field(default=())
    """Values of a class band; empty: numbers on a scale."""


def quicklook(panels: Sequence[Panel], *, title: str, pixel: float | None = None) -> bytes:
    """PNG. Pixels that are not valid are left blank; all panels share their colours. `pixel` is the size of one in metres, None unknown.

    Of more than a dozen panels some are shown, evenly spread, the first and the last among them.
    """
    shown = [_small(panel) for panel in _spread(panels)]
    step = max((_step(panel.layers) for panel in panels), default=1)
    look = _look(shown)
    columns = _columns(shown)
    figure, axes = _figure(shown, columns, keyed=len(look.codes) == 1)
    for place, panel in zip(axes, shown, strict=False):
        _draw(place, panel, look, several=len(panels) > 1, across=figure.get_figwidth() / columns / _LETTER)
    if pixel:
        _draw_scale(axes[0], shown[0], pixel * step)
    _draw_key(figure, axes, look)
    figure.suptitle(title, x=0.004, ha="left", fontsize=11, color=_INK)
    out = BytesIO()
    figure.savefig(out, dpi=120, facecolor="white", bbox_inches="tight", pad_inches=0.12, metadata={"Software": "rasterloom"})
    return out.getvalue()


def colours_of(codes: Collection[str]) -> tuple[str, ...]:
    """Red, green and blue among `codes`, else the first of them: what a picture shows."""
    return next((trio for trio in COLOURS if set(trio) <= set(codes)), tuple(codes)[:1])


def metres_of(grid: Grid) -> float | None:
    """Width of a pixel in the middle of the grid; None where its CRS has units of another kind."""
    axes = known_crs(grid.crs).axis_info
    unit = axes[0].unit_name if axes else ""
    middle = (grid.bounds.bottom + grid.bounds.top) / 2
    degree = 111_320.0 * math.cos(math.radians(middle)) if unit == "degree" else 1.0
    return math.hypot(grid.affine[0], grid.affine[3]) * degree if unit in ("metre", "degree") else None


def _spread(panels: Sequence[Panel]) -> list[Panel]:
    count = min(len(panels), _MOST_PANELS)
    return [panels[round(at)] for at in np.linspace(0, len(panels) - 1, count)]


def _step(layers: Mapping[str, Layer]) -> int:
    return max((math.ceil(max(layer.data.shape) / LONGEST) for layer in layers.values()), default=1)


def _small(panel: Panel) -> Panel:
    """Every n-th pixel, which invents no value."""
    step = _step(panel.layers)
    layers = {code: Layer(layer.data[::step, ::step], layer.valid[::step, ::step]) for code, layer in panel.layers.items()}
    return Panel(title=panel.title, layers=layers)


def _look(panels: Sequence[Panel]) -> _Look:
    codes = colours_of(tuple(panels[0].layers)) if panels else ()
    values = [panel.layers[code].data[panel.layers[code].valid] for panel in panels for code in codes]
    if len(codes) == 1 and (found := _classes(values)):
        return _Look(codes=codes, classes=found)
    numbers = np.concatenate([part.astype(np.float64, copy=False).ravel() for part in values]) if values else np.empty(0)
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers):
        return _Look(codes=codes)
    low, high = (float(number) for number in np.percentile(numbers, _STRETCH))
    return _Look(codes=codes, low=low, high=high if high > low else low + max(abs(low), 1.0) * 1e-3)


def _classes(values: Sequence[NDArray[Any]]) -> tuple[float, ...]:
    """The few values of whole numbers or of truth; empty where the numbers are a quantity."""
    if not values or any(part.dtype.kind not in "iub" for part in values):
        return ()
    found = np.unique(np.concatenate([np.unique(part) for part in values]))
    return tuple(float(value) for value in found) if 0 < len(found) <= _MOST_CLASSES else ()


def _columns(panels: Sequence[Panel]) -> int:
    height, width = _shape(panels)
    wanted = math.ceil(math.sqrt(len(panels) * 1.6 * height / width))
    return max(1, min(wanted, len(panels), 6))


def _shape(panels: Sequence[Panel]) -> tuple[int, int]:
    layers = next(iter(panels[0].layers.values())) if panels and panels[0].layers else None
    height, width = layers.data.shape if layers else (1, 1)
    return max(height, 1), max(width, 1)


def _figure(panels: Sequence[Panel], columns: int, *, keyed: bool) -> tuple[Figure, list[Axes]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    # Without pyplot: a figure of its own canvas needs no display and no global state.
    height, width = _shape(panels)
    rows = math.ceil(max(len(panels), 1) / columns)
    aspect = min(max(height / width, 0.1), 3.0)
    across = min(max(7.2 / math.sqrt(aspect), 3.6), 9.0) if columns == 1 else 11.0
    high = min(across / columns * aspect * rows + 0.3 * rows + 0.6, 16.0)
    figure = Figure(figsize=(across + (1.0 if keyed else 0.0), high), layout="compressed")
    FigureCanvasAgg(figure)
    axes = [figure.add_subplot(rows, columns, number + 1) for number in range(max(len(panels), 1))]
    for place in axes:
        place.set_xticks([])
        place.set_yticks([])
        place.set_facecolor(_EMPTY)
        place.spines[:].set_color("#c3ccd3")
    return figure, axes


def _draw(axes: Axes, panel: Panel, look: _Look, *, several: bool, across: float) -> None:
    """`across`: letters that fit above the panel."""
    layers = [panel.layers[code] for code in look.codes]
    seen = np.logical_and.reduce([layer.valid for layer in layers]) if layers else np.zeros((1, 1), bool)
    image = _image(layers, seen, look)
    axes.imshow(image, interpolation="nearest" if max(image.shape) < 500 or look.classes else "antialiased")
    share = seen.mean() if seen.size else 0.0
    words = [panel.title] if several else []
    if share < 1:
        words.append(f"{_percent(1 - share)} without data")
    title = axes.set_title("  \N{MIDDLE DOT}  ".join(filter(None, words)), loc="left", fontsize=9, color=_INK if several else _QUIET)
    if len(title.get_text()) > across:
        title.set_text("\n".join(filter(None, words)))


def _percent(share: float) -> str:
    return "less than 1 %" if 0 < share < 0.01 else f"{min(round(100 * share), 99 if share < 1 else 100)} %"


def _image(layers: Sequence[Layer], seen: NDArray[np.bool_], look: _Look) -> NDArray[np.uint8]:
    """Shape (height, width, 4); alpha is 0 where nothing is valid."""
    from matplotlib.colors import to_rgb  # noqa: PLC0415

    if look.classes:
        places = np.searchsorted(np.array(look.classes), layers[0].data).clip(0, len(look.classes) - 1)
        colours = np.array([to_rgb(_colour(number, look)) for number in range(len(look.classes))])[places]
    elif len(layers) == 3:
        stretched = [((layer.data.astype(np.float64) - look.low) / (look.high - look.low)).clip(0, 1) for layer in layers]
        colours = np.nan_to_num(np.stack(stretched, axis=-1)) ** 0.85
    elif layers:
        colour, norm = _scale(look)
        colours = colour(norm(np.where(seen, layers[0].data, look.low)))[..., :3]
    else:
        colours = np.zeros((*seen.shape, 3))
    return np.dstack([np.rint(colours * 255), seen * 255]).astype(np.uint8)


def _colour(number: int, look: _Look) -> str:
    if look.classes in ((0.0, 1.0), (0.0,), (1.0,)):
        return "#c9d2d9" if look.classes[number] == 0 else "#2f6f8f"
    return _PALETTE[number]


def _scale(look: _Look) -> tuple[Colormap, Normalize]:
    from matplotlib import colormaps  # noqa: PLC0415
    from matplotlib.colors import Normalize, TwoSlopeNorm  # noqa: PLC0415

    if look.low < 0 < look.high and min(-look.low, look.high) > 0.15 * max(-look.low, look.high):
        return colormaps["RdYlGn"], TwoSlopeNorm(0.0, vmin=look.low, vmax=look.high)
    return colormaps["viridis"], Normalize(look.low, look.high)


def _draw_key(figure: Figure, axes: Sequence[Axes], look: _Look) -> None:
    from matplotlib.cm import ScalarMappable  # noqa: PLC0415
    from matplotlib.patches import Patch  # noqa: PLC0415

    if look.classes:
        names = [f"{value:g}" for value in look.classes]
        handles = [Patch(fc=_colour(number, look), ec=_QUIET, lw=0.5, label=name) for number, name in enumerate(names)]
        key = figure.legend(handles=handles, loc="outside right upper", title=look.codes[0], frameon=False, fontsize=8, title_fontsize=9)
        key.get_title().set_color(_INK)
    elif len(look.codes) == 1:
        colour, norm = _scale(look)
        bar = figure.colorbar(ScalarMappable(norm, colour), ax=list(axes), fraction=0.035, pad=0.015, extend="both", aspect=32)
        bar.set_label(look.codes[0], fontsize=9, color=_INK)
        bar.ax.tick_params(labelsize=8, colors=_INK)
        bar.outline.set_edgecolor("#c3ccd3")  # type: ignore[operator]
    elif look.codes:
        red, green, blue = look.codes
        words = f"red {red}, green {green}, blue {blue}; {look.low:.4g} is black, {look.high:.4g} white"
        figure.supxlabel(words, x=0.004, ha="left", fontsize=7.5, color=_QUIET)


def _draw_scale(axes: Axes, panel: Panel, pixel: float) -> None:
    """A bar of a round length, about a fifth of the panel wide. `pixel`: metres of one of the panel's pixels."""
    from matplotlib.lines import Line2D  # noqa: PLC0415

    height, width = _shape([panel])
    length = _round(width * pixel / 5)
    left, right, top = width * 0.03, width * 0.03 + length / pixel, height * 0.95
    for thick, colour in ((5.0, _INK), (3.4, "white")):
        axes.add_line(Line2D([left, right], [top, top], lw=thick, color=colour, solid_capstyle="butt", zorder=3))
    text = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    axes.annotate(text, ((left + right) / 2, top), xytext=(0, 5), textcoords="offset points", ha="center", va="bottom", fontsize=8,
                  color=_INK, zorder=4, bbox={"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.75})  # fmt: skip


def _round(length: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is no longer."""
    power = 10.0 ** math.floor(math.log10(length))
    return max(step for step in (power, 2 * power, 5 * power) if step <= length)
