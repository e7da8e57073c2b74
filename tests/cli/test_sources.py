"""Specs whose source is no API, through the command line: a static catalog on disk, then a narrower copy of what it gave."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from shapely.geometry import box, mapping

from rasterloom.access.collection import load
from rasterloom.cli.main import main
from tests.access.trees import catalog, collection, link, written
from tests.access.world import JUNE, cog

CATALOG = """version: 1
name: from-files
catalog: {path: stac/catalog.json, collection: s2}
dates: [2024-06-01, 2024-06-30]
band_map: {B04: red, B08: nir}
---
version: 1
name: narrow
collection: {uri: from-files}
query: {"eo:cloud_cover": {lt: 25}}
bands: [B08]
"""


def item(number: int) -> dict[str, Any]:
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": f"scene-{number}",
        "collection": "s2",
        "bbox": [15, 45, 15.1, 45.1],
        "geometry": mapping(box(15, 45, 15.1, 45.1)),
        "properties": {"datetime": (JUNE + timedelta(days=number)).isoformat(), "eo:cloud_cover": number * 10},
        "assets": {key: {"href": f"./{number}-{key}.tif", "type": "image/tiff"} for key in ("red", "nir")},
        "links": [],
    }


@pytest.fixture
def specs(tmp_path: Path) -> Path:
    items = [item(number) for number in range(4)]
    documents = {
        "catalog.json": catalog("root", link("child", "s2/collection.json")),
        "s2/collection.json": collection("s2", *(link("item", f"./{one['id']}.json") for one in items)),
        **{f"s2/{one['id']}.json": one for one in items},
    }
    written(documents, tmp_path / "stac")
    for number in range(4):
        for key in ("red", "nir"):
            (tmp_path / f"stac/s2/{number}-{key}.tif").write_bytes(cog(number))
    path = tmp_path / "specs.yaml"
    path.write_text(CATALOG)
    return path


@pytest.mark.slow
def test_a_catalog_and_a_narrower_copy_of_what_it_gave(specs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = ["--workspace", str(tmp_path / "ws"), "--json"]

    def told(*words: str, code: int = 0) -> dict[str, Any]:
        assert main([*words, *place]) == code
        return json.loads(capsys.readouterr().out)

    assert main(["validate", str(specs)]) == 0
    capsys.readouterr()
    assert main(["plan", str(specs), *place]) == 2  # there is nothing yet that could be narrowed
    assert "no collection named 'from-files'" in capsys.readouterr().err
    first, second = told("run", str(specs))["collections"]
    assert (first["action"], first["records"], second["action"], second["records"]) == ("build", 4, "build", 3)
    assert second["header_requests"] == second["search_requests"] == 0
    from_files, narrow = load(tmp_path / "ws/from-files"), load(tmp_path / "ws/narrow")
    wanted = {row["id"]: row["B08_metadata"] for row in from_files.to_table(["id", "B08_metadata"]).to_pylist()}
    assert all(row["B08_metadata"] == wanted[row["id"]] for row in narrow.to_table(["id", "B08_metadata"]).to_pylist())

    first, second = told("run", str(specs))["collections"]
    assert (first["action"], second["action"]) == ("refresh", "reuse")  # the refresh found nothing new
    (_, planned) = told("plan", str(specs))["plans"]
    assert (planned["decision"]["action"], planned["decision"]["pages"], planned["decision"]["headers"]) == ("reuse", 0, 0)
    (_, planned) = told("plan", str(specs), "--search", "--set", "bbox=[15, 45, 16, 46]")["plans"]
    assert (planned["forecast"]["pages"], planned["forecast"]["headers"]) == (0, 0)

    info = told("info", "narrow")
    assert info["provenance"]["copied_from"] == f"{tmp_path / 'ws/from-files'}, snapshot 1"
    assert {each["name"]: each["data_source"] for each in told("list")["collections"]} == {"from-files": "s2", "narrow": "s2"}
    assert main(["info", "narrow", *place[:2]]) == 0
    assert "copied from" in capsys.readouterr().out


def test_what_is_wrong_is_said_before_anything_is_made(specs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    specs.write_text(CATALOG.partition("---")[0])
    place = ["--workspace", str(tmp_path / "ws")]
    for changed, says in {
        "catalog.collection=s3": "write catalog.collection: s2",
        "catalog.path=nowhere.json": "nowhere.json",
        "band_map={B04: rad, B08: nur}": "the band map does not fit the source",
    }.items():
        assert main(["run", str(specs), "--set", changed, *place]) == 2
        assert says in capsys.readouterr().err
    assert not (tmp_path / "ws/from-files/_commits").exists()
