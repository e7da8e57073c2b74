"""Filters asked of a real STAC API: whatever it makes of them, the scenes are those that the filter means, and few others travel."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rasterloom.access.items.filters import matches
from rasterloom.access.items.scene import answers, scene_of
from rasterloom.access.sources import stac
from rasterloom.specs.effort import Effort
from rasterloom.specs.filters import canonical_filter
from rasterloom.specs.identity import canonical_json
from tests.acceptance.conftest import Publish
from tests.access.questions import item, question, shard

PLATFORMS = ("sentinel-2a", "sentinel-2b", "it's", None)
ITEMS = [
    item(
        f"scene-{number:02}",
        collection="rasterloom-filters",
        properties={
            "datetime": f"2024-06-{1 + number % 28:02}T{number % 24:02}:30:00Z",
            "created": f"2024-07-{1 + number % 28:02}T00:00:00Z",
            **({} if number % 7 == 0 else {"eo:cloud_cover": number * 2.5}),
            "platform": PLATFORMS[number % 4],
            "view-angle": number % 5,
            "good": number % 2 == 0,
        },
    )
    for number in range(40)
]
FILTERS = {
    "number": ("eo:cloud_cover < 20", True),
    "range": ("eo:cloud_cover BETWEEN 20 AND 40", True),
    "missing": ("eo:cloud_cover < 20 OR eo:cloud_cover IS NULL", True),
    "not": ("NOT (eo:cloud_cover < 50 OR platform = 'sentinel-2a')", True),
    "not equal": ("platform <> 'sentinel-2a'", True),
    "list": ("\"view-angle\" IN (1, 3) AND platform NOT IN ('sentinel-2b', 'x')", True),
    "quote": ("platform = 'it''s' AND platform IS NOT NULL", True),
    "pattern": ("platform LIKE 'sentinel%'", False),
    "truth": ("good = TRUE", True),
    "instant": ("datetime >= TIMESTAMP('2024-06-10T12:00:00Z')", True),
    "other instant": ("created < DATE('2024-07-10')", False),
    "order of texts": ("platform > 'sentinel-2a'", False),
    "ids": ("id IN ('scene-01', 'scene-02') OR id = 'scene-30'", True),
    "year": ("year = 2024 AND eo:cloud_cover > 90", True),
    "folded": ("CASEI(platform) = CASEI('SENTINEL-2A')", False),
}


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("query", [None, {"view-angle": {"gte": 2}}], ids=["alone", "with query"])
def test_the_scenes_are_those_that_the_filter_means(publish: Publish, method: Any, query: dict[str, Any] | None) -> None:
    url = publish(ITEMS)
    effort = Effort(retries=0, method=method, timeout=60)
    plain = question(url, query=None if query is None else canonical_json(query), collection="rasterloom-filters")
    for name, (text, asked) in FILTERS.items():
        whole = replace(plain, filter=canonical_filter(text))
        came = [one for page in stac.search(whole, shard(), effort=effort, secrets=lambda _: "") for one in page.items]
        scenes = [(scene_of(one, whole)[0], one) for one in came]
        found = {one["id"] for scene, one in scenes if scene is not None and answers(scene, one, whole)}
        wide = [one for one in ITEMS if query is None or one["properties"]["view-angle"] >= 2]
        assert found == {one["id"] for one in wide if matches(whole.filter, one)}, name
        if asked and stac.asked_of(whole, effort=effort, secrets=lambda _: "").filter is not None:
            assert len(came) == len(found), f"{name}: all of it was asked of the server"
