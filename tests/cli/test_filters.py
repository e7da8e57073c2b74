"""`filter` from the command line: judged before anything is asked, and `plan` says what goes where."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rasterloom.cli.main import main
from tests.access.questions import item
from tests.filterserver import FilterServer

FILTER = "eo:cloud_cover < 20 AND platform LIKE 'sentinel%' AND year = 2024"
ITEMS = [
    item(f"i{number}", properties={"datetime": "2024-06-01T10:00:00Z", "eo:cloud_cover": 10 * number, "platform": "sentinel-2a"})
    for number in range(4)
]


@pytest.fixture
def server() -> Iterator[FilterServer]:
    with FilterServer(ITEMS) as server:
        yield server


def spec(folder: Path, url: str, filter: str) -> str:
    path = folder / "clear.yaml"
    lines = ["name: clear", f"stac: {{url: '{url}', collection: c}}", "band_map: {B04: red}", "bbox: [5, 45, 15, 55]", "dates: 2024-06"]
    path.write_text("\n".join([*lines, f"filter: {json.dumps(filter)}"]) + "\n")
    return str(path)


def planned(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main(["plan", *words, "--json"]) == 0
    (plan,) = json.loads(capsys.readouterr().out)["plans"]
    return plan


def test_plan_says_what_goes_where(server: FilterServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (spec(tmp_path, server.url, FILTER), "--workspace", str(tmp_path / "ws"))
    local = ["platform LIKE 'sentinel%'", "year = 2024"]
    plan = planned(capsys, *words)
    assert plan["pushdown"] == {"filter": "eo:cloud_cover < 20", "query": None, "local": local, "asked": False}
    assert plan["question"]["filter"]["op"] == "and"
    assert server.log == []
    server.classes = ()
    plan = planned(capsys, *words, "--search")
    assert plan["pushdown"] == {"filter": None, "query": {"eo:cloud_cover": {"lt": 20}}, "local": local, "asked": True}
    assert plan["forecast"]["shards"][0]["scenes"] == 2
    assert main(["plan", *words]) == 0
    text = capsys.readouterr().out
    assert "asked of the source  filter eo:cloud_cover < 20\n                     if the API says that it can" in text
    assert "judged here alone    platform LIKE 'sentinel%'\n                     year = 2024\n" in text


def test_without_a_filter_there_is_nothing_to_say(server: FilterServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(spec(tmp_path, server.url, FILTER))
    path.write_text(path.read_text().rpartition("filter")[0])
    assert planned(capsys, str(path), "--workspace", str(tmp_path / "ws"))["pushdown"] is None


def test_a_wrong_filter_asks_nobody(server: FilterServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", spec(tmp_path, server.url, "eo:cloud_cover == 20")]) == 2
    said = capsys.readouterr().err
    assert "clear.yaml:6:9: filter: character 16 (==): is no operator of CQL2" in said
    assert "remedy: write =" in said
    assert server.log == []
