"""The timeline as a drawing: bars of scenes, and below them how cloudy they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from rasterloom.access.reports.drawing import WIDTH, Drawing, line, number, rect, text, ticks, titled
from rasterloom.access.reports.values import Period, Timeline

_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 12, 22, 26
_BARS, _GAP, _CLOUD = 120, 34, 80
_FORMATS = {"day": "%-d %b", "week": "%-d %b", "month": "%b %Y", "quarter": "%b %Y", "year": "%Y", "decade": "%Y"}
_LABELS = 7
_WIDEST = 46.0
"""Of a bar: one lonely day is no wall."""


def draw_timeline(shown: Timeline) -> Drawing:
    """720 units wide; the lower half is left out where no scene tells its cloud cover."""
    periods = shown.periods
    is_cloudy = any(each.cloud for each in periods)
    top = _TOP + _BARS + _GAP
    height = (top + _CLOUD if is_cloudy else _TOP + _BARS) + _BOTTOM
    body = [*_bars(shown), *(_clouds(shown, top) if is_cloudy else ()), *_dates(shown, height - 8)]
    return Drawing(height, tuple(body), _words(shown))


def day(shown: Timeline, start: datetime) -> str:
    """The period that begins there, for people."""
    return (
        f"{start:%Y-%m-%d}" if shown.unit in ("day", "week") else f"{start:%Y-%m}" if shown.unit in ("month", "quarter") else f"{start:%Y}"
    )


def _words(shown: Timeline) -> str:
    most = max(shown.periods, key=lambda each: each.scenes)
    span = f"from {day(shown, shown.periods[0].start)} to {day(shown, shown.periods[-1].start)}"
    return f"Scenes by {shown.unit} {span}, at most {most.scenes:,}, in {day(shown, most.start)}."


def _step(shown: Timeline) -> float:
    return (WIDTH - _LEFT - _RIGHT) / len(shown.periods)


def _middle(shown: Timeline, at: int) -> float:
    return _LEFT + (at + 0.5) * _step(shown)


def _bars(shown: Timeline) -> Iterable[str]:
    """Whole numbers on the axis: there is no half a scene."""
    most = max(each.scenes for each in shown.periods)
    yield text(_LEFT - 6, 12, f"scenes by {shown.unit}", "start")
    for value in (tick for tick in ticks(0, most, 4) if tick == int(tick)):
        y = _TOP + _BARS * (1 - value / most)
        yield line(_LEFT, y, WIDTH - _RIGHT, y, "grid")
        yield text(_LEFT - 6, y + 4, f"{int(value):,}", "end")
    wide = min(_step(shown) * 0.82, _WIDEST)
    for at, each in enumerate(shown.periods):
        if each.scenes:
            high = max(_BARS * each.scenes / most, 1.0)
            bar = rect(_middle(shown, at) - wide / 2, _TOP + _BARS - high, wide, high, "bar")
            yield titled(bar, f"{day(shown, each.start)}: {each.scenes:,} scenes")
    yield line(_LEFT, _TOP + _BARS, WIDTH - _RIGHT, _TOP + _BARS, "axis")


def _clouds(shown: Timeline, top: float) -> Iterable[str]:
    """The median as a dot, the middle eight tenths as a line."""
    yield text(_LEFT - 6, top - 10, "cloud cover: the median, and the middle eight scenes of ten")
    for value in (0, 50, 100):
        y = top + _CLOUD * (1 - value / 100)
        yield line(_LEFT, y, WIDTH - _RIGHT, y, "axis" if value == 0 else "grid")
        yield text(_LEFT - 6, y + 4, f"{value} %", "end")
    for at, each in enumerate(shown.periods):
        if each.cloud:
            yield titled(_cloud(_middle(shown, at), top, each), _cloud_words(shown, each))


def _cloud(x: float, top: float, each: Period) -> str:
    if each.cloud is None:
        return ""
    low, median, high = (
        top + _CLOUD * (1 - min(max(value, 0.0), 100.0) / 100) for value in (each.cloud.low, each.cloud.median, each.cloud.high)
    )
    dot = f'<circle class="dot" cx="{number(x)}" cy="{number(median)}" r="2.6"/>'
    return (line(x, low, x, high, "range", ' stroke-width="2.4" stroke-linecap="round"') if low - high > 1 else "") + dot


def _cloud_words(shown: Timeline, each: Period) -> str:
    return f"{day(shown, each.start)}: {each.cloud.median:.0f} % cloud" if each.cloud else ""


def _dates(shown: Timeline, y: float) -> Iterable[str]:
    for at in _labelled(shown.periods):
        start = shown.periods[at].start
        yield text(_middle(shown, at), y, _date(shown.unit, start, is_first=at == 0), "middle")


def _labelled(periods: Sequence[Period]) -> range:
    return range(0, len(periods), max(1, -(-len(periods) // _LABELS)))


def _date(unit: str, start: datetime, *, is_first: bool) -> str:
    words = start.strftime(_FORMATS[unit].replace("%-d", str(start.day)))
    return f"{words} {start.year}" if is_first and unit in ("day", "week") else words
