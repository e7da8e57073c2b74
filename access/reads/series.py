"""Tables of values through time: written in groups of rows, and read again for their picture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from rasterloom.access.reads.plots import MOST_PANELS, Panel

GROUP = 1 << 18
"""Rows of a row group."""
_MOST_KEYS = 2000
"""Points or zones that a picture is made of: of more, every n-th."""
_NAMES = ("name", "label", "title", "id", "code")
"""Columns whose values name a point or zone, the first that is there; else the first column of texts."""


def grouped(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Small tables together: a scene has few points, and a row group wants many rows."""
    held: list[pa.Table] = []
    for table in tables:
        held.append(table)
        if sum(each.num_rows for each in held) >= GROUP:
            yield pa.concat_tables(held)
            held = []
    if held:
        yield pa.concat_tables(held)


def column_panels(path: Path, own: pa.Table, values: Sequence[str]) -> list[Panel]:
    """A panel for each column of `values` in a table of points."""
    table = _some(path, "point_index", own.num_rows, values[:MOST_PANELS])
    return [_panel(table, name, "point_index", name, own) for name in values[:MOST_PANELS]] + _unshown(values)


def band_panels(path: Path, own: pa.Table, bands: Sequence[str], statistic: str) -> list[Panel]:
    """A panel for each band in a table of zones: `statistic` of it."""
    table = _some(path, "zone_index", own.num_rows, ["band", statistic])
    parts = [table.filter(pc.field("band") == band) for band in bands[:MOST_PANELS]]
    return [
        _panel(part, f"{band}, {statistic}", "zone_index", statistic, own) for band, part in zip(bands[:MOST_PANELS], parts, strict=True)
    ] + _unshown(bands)


def _some(path: Path, key: str, count: int, columns: Sequence[str]) -> pa.Table:
    every = ds.dataset(path)
    chosen = None if count <= _MOST_KEYS else pc.field(key).isin(np.linspace(0, count - 1, _MOST_KEYS).astype(np.int64).tolist())
    return every.to_table(columns=[key, "datetime", *columns], filter=chosen)


def _panel(table: pa.Table, title: str, key: str, column: str, own: pa.Table) -> Panel:
    return Panel(
        title=title,
        keys=table[key].to_numpy(),
        times=table["datetime"].to_numpy(),
        values=pc.cast(table[column], pa.float64()).to_numpy(),
        names=names_of(own),
    )


def _unshown(values: Sequence[str]) -> list[Panel]:
    """What a picture has no room for, so that it can say how many there are."""
    nothing = np.empty(0, np.int64)
    rest = values[MOST_PANELS:]
    return [Panel(title=name, keys=nothing, times=nothing.astype("datetime64[us]"), values=np.empty(0)) for name in rest]


def names_of(own: pa.Table) -> dict[int, str]:
    """Number of a point or zone -> what the user calls it; none where no column says it."""
    texts = [field.name for field in own.schema if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)]
    lower = {name.lower(): name for name in own.column_names}
    column = next((lower[name] for name in _NAMES if name in lower), texts[0] if texts else None)
    if column is None or column == "geometry":
        return {}
    return {number: str(value) for number, value in enumerate(own[column].to_pylist()) if value is not None}
