"""Pictures of series: what is drawn, of few and of many."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib.image
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rasterloom.access.reads.plots import MOST_LINES, MOST_PANELS, Panel, time_series
from rasterloom.access.reads.series import column_panels, names_of


def panel(title: str, count: int, *, scenes: int = 12, names: bool = True) -> Panel:
    rng = np.random.default_rng(count)
    days = np.datetime64("2024-01-03T10:20", "us") + np.arange(scenes) * np.timedelta64(9, "D")
    values = rng.random(count * scenes)
    values[rng.random(len(values)) < 0.2] = np.nan
    named = {number: f"field {number}" for number in range(count)} if names else {}
    return Panel(title=title, keys=np.repeat(np.arange(count), scenes), times=np.tile(days, count), values=values, names=named)


def drawn(png: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Shape (height, width, 3)."""
    return matplotlib.image.imread(io.BytesIO(png), format="png")[..., :3]


def coloured(png: bytes, colour: str) -> int:
    """Pixels of about this colour."""
    wanted = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    return int((np.abs(drawn(png) - wanted).max(axis=-1) < 0.05).sum())


@pytest.mark.parametrize("count", [1, MOST_LINES, MOST_LINES + 1, 300])
def test_series_are_drawn(count: int) -> None:
    png = time_series([panel("ndvi", count), panel("B04", count)], title="fields", what="points")
    assert coloured(png, "#2f6f8f") > 200
    assert (coloured(png, "#e3a23b") > 100) == (1 < count <= MOST_LINES), "each of few has its colour, of many there is one median"


@pytest.mark.slow
def test_a_panel_more_makes_a_taller_picture_up_to_a_limit() -> None:
    heights = [
        drawn(time_series([panel("b", 2)] * count, title="t", what="zones")).shape[0] for count in (1, 2, MOST_PANELS, MOST_PANELS + 3)
    ]
    assert heights[0] < heights[1] < heights[2]
    assert heights[3] <= heights[2] + 40


def test_nothing_valid_and_nothing_at_all() -> None:
    none = Panel(title="ndvi", keys=np.arange(2), times=np.full(2, "NaT", "datetime64[us]"), values=np.full(2, np.nan))
    for panels in ([none], []):
        assert drawn(time_series(panels, title="empty", what="points")).shape[0] > 100


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        ({"name": ["a", "b"]}, {0: "a", 1: "b"}),
        ({"slope": [0.5, 1.0], "ID": [7, 8]}, {0: "7", 1: "8"}),
        ({"slope": [0.5, 1.0], "crop": ["wheat", None]}, {0: "wheat"}),
        ({"slope": [0.5, 1.0]}, {}),
    ],
)
def test_names_come_from_the_own_columns(columns: dict[str, list[object]], names: dict[int, str]) -> None:
    own = pa.table(columns)
    assert names_of(own.append_column("geometry", pa.array([b"", b""]))) == names


def test_of_very_many_points_some_are_read(tmp_path: Path) -> None:
    path = tmp_path / "points.parquet"
    count = 5000
    times = pa.array([np.datetime64("2024-01-01", "us")] * count)
    pq.write_table(pa.table({"point_index": np.arange(count), "datetime": times, "a": np.arange(count) * 0.5}), path)
    (found,) = column_panels(path, pa.table({"x": np.arange(count)}), ["a"])
    assert len(found.keys) == 2000
    assert (found.keys[0], found.keys[-1]) == (0, count - 1)
    assert (found.values == found.keys * 0.5).all()
