"""A spec of a program: what Python has at hand means what the text of a spec means."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from rasterloom.errors import SpecError
from rasterloom.specs.loader import spec_from

BASE: dict[str, Any] = {"name": "a", "dataset": "earthsearch/sentinel-2-l2a"}
SHAPE = shapely.box(5, 43, 6, 44)


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ({"dates": (date(2024, 6, 1), date(2024, 6, 20))}, {"dates": ["2024-06-01", "2024-06-20"]}),
        ({"dates": [datetime(2024, 6, 1), datetime(2024, 6, 2, tzinfo=UTC)]}, {"dates": ["2024-06-01T00:00:00Z", "2024-06-02T00:00:00Z"]}),
        (
            {"dates": [datetime(2024, 6, 1, 2, tzinfo=timezone(timedelta(hours=2))), ".."]},
            {"dates": ["2024-06-01T00:00:00Z", ".."]},
        ),
        ({"bbox": np.array(SHAPE.bounds)}, {"bbox": [5, 43, 6, 44]}),
        ({"bbox": [np.float64(5), np.int64(43), 6, 44]}, {"bbox": [5, 43, 6, 44]}),
        ({"intersects": SHAPE}, {"intersects": shapely.geometry.mapping(SHAPE)}),
        ({"workspace": Path("/data/ws"), "build": {"retries": np.int64(2)}}, {"workspace": "/data/ws", "build": {"retries": 2}}),
    ],
)
def test_it_means_what_the_text_means(given: dict[str, Any], written: dict[str, Any]) -> None:
    ours, text = spec_from({**BASE, **given}), spec_from({**BASE, **written})
    moments = {"dates"} if "T" in str(written.get("dates")) else set()
    assert ours.model_dump(exclude=moments) == text.model_dump(exclude=moments)
    for mine, theirs in zip(ours.dates or (), text.dates or (), strict=True):
        assert mine == theirs or datetime.fromisoformat(mine) == datetime.fromisoformat(theirs)


def test_what_means_nothing_is_named_as_what_it_is() -> None:
    loop: dict[str, Any] = {}
    loop["query"] = loop
    for wrong, said in (({"workspace": object()}, "is a object, wanted is text"), ({"query": loop}, "deeper")):
        with pytest.raises(SpecError) as told:
            spec_from({**BASE, **wrong})
        assert said in str(told.value)
