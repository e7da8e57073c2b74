"""Statistics of values per zone, for all zones at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

_LOW = 0xFFFFFFFF
_CLASSES = ("majority", "minority", "variety", "histogram")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Segments:
    """Values by zone: those of zone i are `values[starts[i]:starts[i] + valid[i]]`."""

    values: Numbers
    starts: NDArray[np.int64]
    valid: NDArray[np.int64]

    @property
    def there(self) -> NDArray[np.bool_]:
        """Zones that have a value."""
        return self.valid > 0


def percentile_of(name: str) -> float | None:
    """`p90` -> 90.0, `median` -> 50.0; None for what is no percentile."""
    if name == "median":
        return 50.0
    return float(name[1:]) if name[:1] == "p" and name[1:].replace(".", "", 1).isdigit() else None


def statistics(zones: NDArray[np.integer[Any]], values: NDArray[Any], count: int, wanted: Sequence[str]) -> dict[str, Any]:
    """Each of `wanted` for the zones 0 to `count` - 1.

    `zones` and `values` have shape (n,): the zone of each valid value; neither need be sorted, no value is NaN. Everything is computed
    in float64. Arrays have shape (count,), NaN where a zone has no value; but `valid` and `variety` count, and `histogram` is a list of
    (value, count) by value for each zone. `std` is that of the population; percentiles are interpolated as numpy's `linear`; of values
    that are equally frequent, `majority` and `minority` are the smallest.
    """
    segments = _segments(zones, values, count)
    runs = _runs(segments) if any(name in _CLASSES for name in wanted) else None
    return {name: _of_classes(name, runs, count) if runs and name in _CLASSES else _of_numbers(name, segments) for name in wanted}


def _segments(zones: NDArray[np.integer[Any]], values: NDArray[Any], count: int) -> Segments:
    valid = np.bincount(zones, minlength=count).astype(np.int64)
    return Segments(values=_by_zone(zones, values), starts=np.cumsum(valid) - valid, valid=valid)


def _by_zone(zones: NDArray[np.integer[Any]], values: NDArray[Any]) -> Numbers:
    """Sorted by zone, then value. Numbers of up to 32 bits are sorted as one integer with their zone: a tenth of the time of two keys."""
    if values.dtype.kind not in "iuf" or values.dtype.itemsize > 4 or values.dtype == np.float16 or not len(values):
        return values[np.lexsort((values, zones))].astype(np.float64)
    keys = np.sort(zones.astype(np.int64) << 32 | _ordered(values)) & _LOW
    if values.dtype.kind == "f":
        bits = keys.astype(np.uint32)
        return np.where(bits >> 31, bits & 0x7FFFFFFF, ~bits).astype(np.uint32).view(np.float32).astype(np.float64)
    return (keys + int(np.iinfo(values.dtype).min)).astype(np.float64)


def _ordered(values: NDArray[Any]) -> NDArray[np.int64]:
    """0 to 2**32 - 1 in the order of the values: the bits of a float are in order but for their sign."""
    if values.dtype.kind != "f":
        return values.astype(np.int64) - int(np.iinfo(values.dtype).min)
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return np.where(bits >> 31, ~bits, bits | 0x80000000).astype(np.int64)


def _of_numbers(name: str, segments: Segments) -> NDArray[Any]:
    percentile = percentile_of(name)
    if percentile is not None:
        return _percentile(segments, percentile)
    return _REDUCED[name](segments)


def _filled(segments: Segments, values: Numbers) -> Numbers:
    """Values of the zones that have any, among those that have none."""
    found = np.full(len(segments.valid), np.nan)
    found[segments.there] = values
    return found


def _reduced(operation: np.ufunc, segments: Segments, values: Numbers) -> Numbers:
    starts = segments.starts[segments.there]
    return _filled(segments, operation.reduceat(values, starts) if len(starts) else np.empty(0))


def _sum(segments: Segments) -> Numbers:
    return _reduced(np.add, segments, segments.values)


def _mean(segments: Segments) -> Numbers:
    return _sum(segments) / np.where(segments.there, segments.valid, 1)


def _std(segments: Segments) -> Numbers:
    """In two passes: the values less their mean first."""
    away = segments.values - np.repeat(_mean(segments), segments.valid)
    return np.sqrt(_reduced(np.add, segments, away * away) / np.where(segments.there, segments.valid, 1))


_REDUCED = {
    "valid": lambda segments: segments.valid,
    "sum": _sum,
    "mean": _mean,
    "std": _std,
    "min": lambda segments: _reduced(np.minimum, segments, segments.values),
    "max": lambda segments: _reduced(np.maximum, segments, segments.values),
}


def _percentile(segments: Segments, percentile: float) -> Numbers:
    """numpy's `linear`, of sorted values."""
    valid, starts = segments.valid[segments.there], segments.starts[segments.there]
    place = percentile / 100.0 * (valid - 1)
    below = np.floor(place).astype(np.int64)
    low = segments.values[starts + below]
    high = segments.values[starts + np.minimum(below + 1, valid - 1)]
    part = place - below
    # from the nearer end, as numpy does: both ends are exact
    return _filled(segments, np.where(part < 0.5, low + (high - low) * part, high - (high - low) * (1 - part)))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Runs:
    """Distinct values of each zone, in order, and how often each stands there."""

    zones: NDArray[np.int64]
    values: Numbers
    lengths: NDArray[np.int64]


def _runs(segments: Segments) -> Runs:
    zones = np.repeat(np.arange(len(segments.valid)), segments.valid)
    new = np.ones(len(zones), bool)
    new[1:] = (zones[1:] != zones[:-1]) | (segments.values[1:] != segments.values[:-1])
    starts = np.flatnonzero(new)
    return Runs(zones=zones[starts], values=segments.values[starts], lengths=np.diff(np.append(starts, len(zones))))


def _of_classes(name: str, runs: Runs, count: int) -> Any:
    if name == "variety":
        return np.bincount(runs.zones, minlength=count).astype(np.int64)
    if name == "histogram":
        cuts = np.searchsorted(runs.zones, np.arange(1, count))
        pairs = list(zip(runs.values.tolist(), runs.lengths.tolist(), strict=True))
        ends = [0, *cuts.tolist(), len(pairs)]
        return [pairs[start:end] for start, end in pairwise(ends)][:count]
    order = np.lexsort((runs.values, -runs.lengths if name == "majority" else runs.lengths, runs.zones))
    owners, first = np.unique(runs.zones[order], return_index=True)
    found = np.full(count, np.nan)
    found[owners] = runs.values[order][first]
    return found
