"""Time series to look at: a panel per band or expression, a line per point or zone; of many their middle and their spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # who draws imports it: every run of a deployment imports this module, and few draw
    from matplotlib.axes import Axes

_INK, _QUIET, _EDGE, _GRID = "#1f2a33", "#62707b", "#c3ccd3", "#e6eaed"
_LINES = ("#2f6f8f", "#e3a23b", "#5f9e6e", "#c8553d", "#8a6fb0", "#9c7a5b", "#d78fb0", "#4db3bd")
MOST_LINES = len(_LINES)
"""Series up to which each has its own colour and name; more are drawn as median and spread."""
_THIN = 60
"""Of more series, how many are drawn behind their median."""
MOST_PANELS = 6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Panel:
    """One band or expression; arrays of shape (n,)."""

    title: str
    keys: NDArray[np.int64]
    """Whose value it is: the number of a point or zone."""
    times: NDArray[np.datetime64]
    """Naive UTC; NaT where a scene has none."""
    values: NDArray[np.float64]
    """NaN is no value."""
    names: Mapping[int, str] = field(default_factory=dict[int, str])
    """Key -> what people call it."""

    @property
    def known(self) -> Panel:
        """What can be drawn, by time."""
        keep = np.flatnonzero(np.isfinite(self.values) & ~np.isnat(self.times))
        keep = keep[np.argsort(self.times[keep], kind="stable")]
        return Panel(title=self.title, keys=self.keys[keep], times=self.times[keep], values=self.values[keep], names=self.names)


def time_series(panels: Sequence[Panel], *, title: str, what: str) -> bytes:
    """PNG of the first `MOST_PANELS` panels, one below the other. `what` are the keys: `points`, `zones`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    shown = [panel.known for panel in panels[:MOST_PANELS]]
    keys = np.unique(np.concatenate([panel.keys for panel in shown])) if shown else np.empty(0, np.int64)
    count = max(1, len(shown))
    figure = Figure(figsize=(9.6, 1.1 + 2.1 * count), layout="constrained")
    FigureCanvasAgg(figure)
    every = np.atleast_1d(np.asarray(figure.subplots(count, 1, sharex=True), dtype=object))
    for axes, panel in zip(every, shown, strict=False):
        _draw(axes, panel, keys)
    for axes in every:
        _dress(axes)
    _draw_dates(every[-1], shown)
    many = f"{len(keys):,} {what}: median, and where the middle 80 % lie" if len(keys) > MOST_LINES else ""
    left = f"{len(panels) - len(shown)} more not shown" if len(panels) > len(shown) else ""
    figure.suptitle(title, x=0.012, ha="left", fontsize=13, color=_INK, fontweight="bold")
    note = "; ".join(part for part in (many, left) if part)
    if note:
        figure.supxlabel(note, x=0.012, ha="left", fontsize=9, color=_QUIET)
    if 0 < len(keys) <= MOST_LINES:
        handles, labels = _named(shown, keys, every)
        figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=9, labelcolor=_INK)
    out = BytesIO()
    figure.savefig(out, dpi=120, facecolor="white", metadata={"Software": "rasterloom"})
    return out.getvalue()


def _draw(axes: Axes, panel: Panel, keys: NDArray[np.int64]) -> None:
    axes.set_title(panel.title, loc="left", fontsize=10, color=_INK)
    if not len(panel.values):
        axes.text(0.5, 0.5, "no valid value", transform=axes.transAxes, ha="center", va="center", fontsize=10, color=_QUIET)
        axes.set_yticks([])
    elif len(keys) <= MOST_LINES:
        for number, key in enumerate(keys.tolist()):
            mine = panel.keys == key
            axes.plot(panel.times[mine], panel.values[mine], marker="o", markersize=3, linewidth=1.4, color=_LINES[number])
    else:
        _draw_many(axes, panel, keys)


def _draw_many(axes: Axes, panel: Panel, keys: NDArray[np.int64]) -> None:
    """A few of them thin, and over all of them the median and the 10th and 90th percentile of each day."""
    for key in keys[np.unique(np.linspace(0, len(keys) - 1, _THIN).astype(np.int64))].tolist():
        mine = panel.keys == key
        axes.plot(panel.times[mine], panel.values[mine], linewidth=0.5, color=_QUIET, alpha=0.28, zorder=1)
    days, starts = np.unique(panel.times.astype("datetime64[D]"), return_index=True)
    parts = np.split(panel.values, starts[1:])
    low, middle, high = np.array([np.percentile(part, [10, 50, 90]) for part in parts]).T
    axes.fill_between(days, low, high, color=_LINES[0], alpha=0.22, linewidth=0, zorder=2)
    axes.plot(days, middle, color=_LINES[0], linewidth=1.8, marker="o", markersize=3, zorder=3)
    # single values far away must not press all others flat
    bottom, top = np.percentile(panel.values, [1, 99])
    space = 0.08 * (top - bottom) or 1.0
    axes.set_ylim(min(bottom, low.min()) - space, max(top, high.max()) + space)


def _dress(axes: Axes) -> None:
    axes.grid(visible=True, color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9, colors=_QUIET, length=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_EDGE)


def _draw_dates(axes: Axes, panels: Sequence[Panel]) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter  # noqa: PLC0415

    times = np.concatenate([panel.times for panel in panels]) if panels else np.empty(0, "datetime64[us]")
    if not len(times):
        axes.set_xticks([])
        return
    locator = AutoDateLocator(minticks=3, maxticks=9)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    if times.max() - times.min() < np.timedelta64(6, "D"):
        some = np.timedelta64(4, "D")
        axes.set_xlim(times.min() - some, times.max() + some)  # pyright: ignore[reportArgumentType]  # matplotlib takes datetime64


def _named(panels: Sequence[Panel], keys: NDArray[np.int64], every: NDArray[Any]) -> tuple[list[Any], list[str]]:
    names = next((panel.names for panel in panels), {})
    lines = next((axes.get_lines() for axes in every if len(axes.get_lines()) == len(keys)), [])
    return list(lines), [_short(names.get(int(key), str(key))) for key in keys]


def _short(name: str) -> str:
    return name if len(name) <= 28 else f"{name[:27]}\N{HORIZONTAL ELLIPSIS}"
