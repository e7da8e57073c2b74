"""`init --from-item`: from an item's address to a spec that builds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rasterio.io import MemoryFile
from rasterio.transform import from_origin

from rasterloom.access.build import Job, index_batch, publish, search_shard
from rasterloom.access.collection import load
from rasterloom.cli.main import main
from rasterloom.specs.loader import load_specs
from rasterloom.specs.plan import make_plan
from rasterloom.specs.resolve import effort
from tests.access.trees import tree, written
from tests.access.world import JUNE, NOW, World
from tests.servers import Body, RangeServer, StacServer, Status


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Three scenes of two bands, and links as an API gives them."""
    with StacServer() as stac, RangeServer({}) as files:
        made = World(stac, files, tmp_path / "workspace")
        for number in range(3):
            made.add(number, JUNE)
        for each in stac.items:
            each["links"] = [{"rel": "self", "href": f"{stac.url}/collections/{each['collection']}/items/{each['id']}"}]
            each["assets"]["thumbnail"] = {"href": "x.png", "type": "image/png"}
        yield made


def address(world: World) -> str:
    return str(world.stac.items[0]["links"][0]["href"])


def build(path: Path, workspace: Path) -> Any:
    (spec,) = load_specs(path)
    plan = make_plan(spec, now=NOW)
    job = Job(workspace=str(workspace), plan=plan, effort=effort(spec), spec={}, run_id="run-1")
    searches = [search_shard(job, shard) for shard in plan.shards]
    publish(job, searches, [index_batch(job, items) for search in searches for items in search.batches])
    return load(spec.name, str(workspace))


def test_the_spec_of_an_items_address_builds(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "like.yaml"
    assert main(["init", str(path), "--from-item", address(world), "--name", "like", "--json"]) == 0
    seen = capsys.readouterr()
    document = json.loads(seen.out)
    assert (document["path"], document["name"], document["text"]) == (str(path), "like", path.read_text())
    assert document["left_out"] == [{"asset": "thumbnail", "why": "image/png, no GeoTIFF"}]
    assert "left out: asset thumbnail: image/png, no GeoTIFF" in seen.err
    assert len(world.stac.log) == 1, "one request for one item"
    built = build(path, world.workspace)
    assert (len(built), built.bands) == (3, ["b04", "b08"])


def test_a_file_will_do(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("i.json").write_text(json.dumps(world.stac.items[0]))
    assert main(["init", "--from-item", "i.json", "--name", "like"]) == 0
    assert world.stac.log == []
    assert len(build(tmp_path / "like.yaml", world.workspace)) == 3


def test_samples_of_one_file_build_as_bands(world: World, tmp_path: Path) -> None:
    profile = {"driver": "GTiff", "tiled": True, "blockxsize": 64, "blockysize": 64, "dtype": "uint8", "crs": "EPSG:32633"}
    with MemoryFile() as memory:
        with memory.open(width=64, height=64, count=2, transform=from_origin(500_000, 5_000_000, 10, 10), **profile) as file:
            file.write(np.ones((2, 64, 64), dtype=np.uint8))
        world.files.files["/two.tif"] = memory.read()
    asset = {"href": f"{world.files.url}/two.tif", "type": "image/tiff", "bands": [{"name": "R"}, {"name": "NIR"}]}
    for each in world.stac.items:
        each["assets"] = {"image": asset}
    path = tmp_path / "like.yaml"
    assert main(["init", str(path), "--from-item", address(world), "--name", "like"]) == 0
    (spec,) = load_specs(path)
    assert (spec.band_map, spec.band_index_map) == ({"R": "image", "NIR": "image"}, {"R": 0, "NIR": 1})
    assert sorted(build(path, world.workspace).bands) == ["NIR", "R"]


def test_the_spec_of_a_file_in_a_catalog_builds(world: World, tmp_path: Path) -> None:
    for each in world.stac.items:
        each["links"] = [{"rel": "root", "href": "../../catalog.json"}, {"rel": "collection", "href": "../collection.json"}]
    written(tree({"s2": world.stac.items}), tmp_path / "stac")
    path = tmp_path / "like.yaml"
    assert main(["init", str(path), "--from-item", str(tmp_path / "stac/s2/scene-001/scene-001.json"), "--name", "like"]) == 0
    (spec,) = load_specs(path)
    assert spec.catalog is not None
    assert (spec.catalog.path, spec.catalog.collection) == (str(tmp_path / "stac/catalog.json"), "s2")
    path.write_text(path.read_text() + "build: {allow_private_hosts: true}\n")
    built = build(path, world.workspace)
    assert (len(built), sorted(built.bands)) == (3, ["b04", "b08"])
    assert world.stac.log == []


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("no-such.json", "cannot be read"),
        ("broken.json", "is not JSON"),
        ("s3://bucket/i.json", "give its https address"),
        ("http://[", "give the URL of one item"),
        ("{api}/collections/none/items/i", "give the URL of one item"),
        ("{api}", "Catalog, not a STAC item"),
        ("{api}/collections", "not a STAC item"),
    ],
)
def test_what_is_no_item_is_refused(
    place: str, said: str, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken.json").write_text("{")
    assert main(["init", "x.yaml", "--from-item", place.replace("{api}", world.stac.url)]) == 2
    seen = capsys.readouterr()
    assert said in seen.err
    assert "remedy: " in seen.err
    assert not Path("x.yaml").exists()


def test_a_service_that_is_down_or_wants_a_login_is_told_as_such(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["init", str(tmp_path / "x.yaml"), "--from-item", address(world)]
    world.stac.faults["*"] = Status(401)
    assert main(words) == 3
    world.stac.faults["*"] = Status(503)
    assert main(words) == 4
    world.stac.faults["*"] = Body(lambda _: b"<html>please log in</html>")
    assert main(words) == 2
    assert capsys.readouterr().err.count("remedy: ") == 3


def test_a_dataset_and_an_item_are_one_too_many(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--dataset", "pc/naip", "--from-item", "x.json"]) == 2
    assert "leave one of them out" in capsys.readouterr().err
