"""`validate --online`, line by line: what is wrong is said before it is run, within few requests, and nothing is left behind."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rasterloom.access.building.onefile import access_hint, header_text
from rasterloom.access.building.online import probe
from rasterloom.access.building.probes import Line, Tries, check_references, check_writable, within
from rasterloom.access.credentials.secrets import environment_secrets
from rasterloom.access.workspace.bucket import BucketWorkspace
from rasterloom.access.workspace.files import Workspace
from rasterloom.access.workspace.place import open_workspace
from rasterloom.errors import AccessDenied, SpecError, Unavailable
from rasterloom.raster.tiff import Buffer, read_header
from rasterloom.specs.effort import AuthRef
from rasterloom.specs.loader import spec_from
from tests.access.tabled import columns, geo
from tests.access.trees import tree, written
from tests.access.world import JUNE, World, cog
from tests.servers import Body, Hang, Html, RangeServer, StacServer, Status, free_port
from tests.torture.objects import BUCKET, moto

NOW = datetime(2025, 1, 1, tzinfo=UTC)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with StacServer() as stac, RangeServer({}) as files:
        made = World(stac, files, tmp_path / "workspace")
        for number in range(30):
            made.add(number, JUNE)
        yield made


def spec(world: World, **changes: Any) -> dict[str, Any]:
    """A right one; `changes` replace its keys, `...` takes one away."""
    whole: dict[str, Any] = {
        "name": "s2",
        "stac": {"url": world.stac.url, "collection": "s2"},
        "band_map": {"B04": "b04", "B08": "b08"},
        "bbox": [14, 44, 16, 46],
        "dates": ["2024-06-01", "2024-06-30"],
        "workspace": str(world.workspace),
    }
    return {key: value for key, value in {**whole, **changes}.items() if value is not ...}


def lines_of(mapping: dict[str, Any], *, limit: float = 60.0) -> list[Line]:
    return list(probe(spec_from(mapping), workspace=None, secrets=environment_secrets, now=NOW, limit=limit))


def told(mapping: dict[str, Any], **how: Any) -> dict[str, Line]:
    """The last line of each check."""
    found = {line.check: line for line in lines_of(mapping, **how)}
    assert all(line.remedy for line in found.values() if line.state == "failed")
    assert all(line.exit_code for line in found.values() if line.state == "failed")
    return found


def states(found: dict[str, Line]) -> dict[str, str]:
    return {check: line.state for check, line in found.items()}


def test_a_right_spec_is_right_in_every_line_and_takes_a_handful_of_requests(world: World) -> None:
    found = told(spec(world))
    assert list(found) == ["endpoint", "conformance", "collection", "item", "bands", "header", "workspace"]
    assert {line.state for line in found.values()} == {"ok"}
    assert "30 match, e.g. scene-000 of 2024-06-01" in found["item"].result
    assert found["collection"].result == "it is there, bbox [-180, -90, 180, 90]"
    assert found["bands"].result == "2 bands: B04: b04, B08: b08"
    assert found["header"].result == "uint16, 256 x 256 pixels in 128 x 128 tiles, EPSG:32633, nodata 0, 1 overview"
    assert [request.path for request in world.stac.log] == ["/", "/collections/s2", "/", "/search"]
    assert len(world.stac.searches[0].json["bbox"]) == 4
    assert (world.stac.searches[0].json["limit"], len(world.files.log)) == (10, 1)
    assert not world.workspace.exists(), "what the check made is gone, the directory too"


@pytest.mark.parametrize(
    ("fault", "code"),
    [(Status(404), 2), (Status(401), 3), (Status(503), 4), (Status(500), 4), (Html(status=200), 4), (Body(lambda _: b"{}"), 2)],
)
def test_an_endpoint_that_is_none(world: World, fault: Any, code: int) -> None:
    """The rest of the source is not asked for; the workspace is tried all the same."""
    world.stac.faults["*"] = fault
    found = told(spec(world))
    assert states(found) == {"endpoint": "failed", "header": "skipped", "workspace": "ok"}
    assert found["endpoint"].exit_code == code
    assert len(world.stac.log) <= 2


def test_an_endpoint_that_nobody_listens_on(world: World) -> None:
    found = told(spec(world, stac={"url": f"http://127.0.0.1:{free_port()}", "collection": "s2"}))
    assert (found["endpoint"].state, found["endpoint"].exit_code) == ("failed", 4)


def test_a_server_that_hangs_takes_its_time_and_no_more(world: World) -> None:
    world.stac.faults["*"] = Hang(600)
    found = told(spec(world), limit=0.3)
    assert (found["endpoint"].result, found["endpoint"].exit_code) == ("no end after 0.3 s", 4)
    assert found["workspace"].state in ("ok", "failed"), "a slow disk may take longer than this test's limit"


def test_a_wrong_collection_is_told_with_the_nearest(world: World) -> None:
    found = told(spec(world, stac={"url": world.stac.url, "collection": "s22"}))
    assert states(found) == {"endpoint": "ok", "conformance": "ok", "collection": "failed", "header": "skipped", "workspace": "ok"}
    assert (found["collection"].exit_code, found["collection"].remedy) == (2, "write collection: s2")
    assert world.stac.searches == []


def test_an_api_without_a_list_of_collections_is_searched_all_the_same(world: World) -> None:
    world.stac.faults |= {"/collections": Status(404), "/collections/s2": Status(404)}
    found = told(spec(world))
    assert (found["collection"].state, found["header"].state) == ("note", "ok")


def test_what_an_api_cannot_do_is_a_note(world: World) -> None:
    extent = {"spatial": {"bbox": [[1, 2, 3, 4]]}, "temporal": {"interval": [["2015-06-27T00:00:00Z", None]]}}
    world.stac.collection_extras = {"extent": extent}
    assert told(spec(world))["collection"].result == "it is there, 2015-06-27T00:00:00Z to .., bbox [1, 2, 3, 4]"
    assert told(spec(world, query={"eo:cloud_cover": {"lt": 90}}))["conformance"].result == "item search, query"
    found = told(spec(world, filter="eo:cloud_cover IS NULL OR eo:cloud_cover < 500"))
    assert (found["conformance"].state, found["item"].state) == ("note", "ok")
    assert "applied here" in found["conformance"].result


def test_a_question_that_matches_nothing(world: World) -> None:
    """It is wrong, and what is checked of a file is checked with another one."""
    found = told(spec(world, bbox=[1, 2, 3, 4]))
    assert (found["item"].state, found["item"].exit_code) == ("failed", 2)
    assert "matches nothing; the source has others, e.g. scene-000" in found["item"].result
    assert (found["bands"].state, found["header"].state) == ("ok", "ok")


def test_a_server_that_ignores_the_question(world: World) -> None:
    world.stac.ignore_bbox = True
    assert "10 items came, but none answers the question" in told(spec(world, bbox=[1, 2, 3, 4]))["item"].result


def test_a_collection_without_items(world: World) -> None:
    world.stac.items.clear()
    found = told(spec(world))
    assert (found["item"].result, found["header"].state) == ("the source has no items at all", "skipped")


def test_a_wrong_band_map(world: World) -> None:
    found = told(spec(world, band_map={"B04": "b04", "B08": "b8"}))
    assert (found["bands"].state, found["bands"].exit_code, found["header"].state) == ("failed", 2, "ok")
    assert "band_map.B08: no item has an asset b8" in found["bands"].result
    assert found["bands"].remedy == "write B08: b08"
    found = told(spec(world, band_map={"B04": "x"}))
    assert (found["bands"].state, found["header"].state) == ("failed", "skipped")


def test_bands_that_the_collection_knows_are_a_note(world: World) -> None:
    world.stac.collection_extras = {"item_assets": {"coastal": {}}}
    found = told(spec(world, band_map={"B01": "coastal", "B04": "b04"}))
    assert (found["bands"].state, "have no B01" in found["bands"].result) == ("note", True)


def test_types_that_are_no_geotiff(world: World) -> None:
    for each in world.stac.items:
        each["assets"]["b04"]["type"] = "image/jp2"
        each["assets"]["b08"]["type"] = "application/x-hdf"
    found = told(spec(world))
    assert ("JPEG 2000" in found["bands"].result, found["bands"].exit_code) == (True, 2)
    found = told(spec(world, band_map={"B08": "b08"}))
    assert (found["bands"].state, "B08 (application/x-hdf)" in found["bands"].result, found["header"].state) == ("note", True, "ok")


@pytest.mark.parametrize(
    ("fault", "code"),
    [(Status(403), 3), (Status(401), 3), (Status(503), 4), (Html(), 3), (Body(lambda data: data[:100]), 4), (Hang(600), 4)],
)
def test_a_file_that_cannot_be_read(world: World, fault: Any, code: int) -> None:
    world.files.faults["*"] = fault
    found = told(spec(world, build={"timeout": "2s"}))
    assert (found["header"].state, found["header"].exit_code) == ("failed", code)
    assert found["workspace"].state == "ok"


def test_a_file_that_is_gone_is_not_the_last_word(world: World) -> None:
    first = world.stac.items[0]["assets"]["b04"]["href"].removeprefix(world.files.url)
    world.files.faults[first] = Status(404)
    lines = [line for line in lines_of(spec(world)) if line.check == "header"]
    assert [line.state for line in lines] == ["note", "ok"]
    world.files.faults["*"] = Status(404)
    found = told(spec(world))
    assert (found["header"].state, found["header"].exit_code) == ("failed", 4)


def test_a_sample_that_the_file_does_not_have(world: World) -> None:
    found = told(spec(world, band_map={"R": "b04", "G": "b04"}, band_index_map={"R": 0, "G": 1}))
    assert (found["header"].exit_code, found["header"].remedy) == (2, "correct band_index_map")


def test_a_plain_tiff_is_a_note() -> None:
    good = read_header(Buffer(cog(), None))
    assert "128 x 128 tiles" in header_text(good)
    striped = replace(good, full=replace(good.full, tile_width=256, tile_height=8), crs=None, nodata=None)
    assert header_text(striped) == "uint16, 256 x 256 pixels in strips of 8 rows, no tiles, no CRS, no nodata, 1 overview"
    assert "one tile" in header_text(replace(good, full=replace(good.full, tile_width=256, tile_height=256)))


@pytest.mark.parametrize(
    ("href", "provider", "hint"),
    [
        ("https://x.blob.core.windows.net/c/a.tif", "anonymous", "planetary_computer"),
        ("s3://usgs-landsat/a.tif", "anonymous", "requester_pays"),
        ("https://data.lpdaac.earthdatacloud.nasa.gov/a.tif", "anonymous", "earthdata"),
        ("s3://usgs-landsat/a.tif", "aws", ""),
        ("https://example.org/a.tif", "anonymous", ""),
    ],
)
def test_what_often_opens_a_file(href: str, provider: str, hint: str) -> None:
    found = access_hint(href, AuthRef(provider=provider))
    assert hint in found
    assert bool(found) == bool(hint)


def test_secrets_are_looked_up_and_never_shown(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.stac.bearer = "s3cr3t-of-the-test"
    stac = {"url": world.stac.url, "collection": "s2", "headers": {"Authorization": "Bearer ${RASTERLOOM_TEST_TOKEN}"}}
    found = told(spec(world, stac=stac))
    assert (found["secrets"].state, found["secrets"].exit_code, found["endpoint"].exit_code) == ("failed", 3, 3)
    assert world.stac.log == []
    monkeypatch.setenv("RASTERLOOM_TEST_TOKEN", "wrong")
    assert told(spec(world, stac=stac))["endpoint"].exit_code == 3
    monkeypatch.setenv("RASTERLOOM_TEST_TOKEN", "s3cr3t-of-the-test")
    found = told(spec(world, stac=stac))
    assert (found["secrets"].result, found["header"].state) == ("${RASTERLOOM_TEST_TOKEN}: there", "ok")
    assert "s3cr3t" not in repr(found)


def test_credentials_that_are_not_there(world: World) -> None:
    found = told(spec(world, auth={"provider": "aws", "access_key_id": "${RASTERLOOM_ID}", "secret_access_key": "${RASTERLOOM_KEY}"}))
    assert (found["credentials"].state, found["credentials"].exit_code) == ("failed", 3)
    assert "header" not in found
    assert world.files.log == []


# --- workspaces -------------------------------------------------------------------------------------------------------------------


def test_a_workspace_that_is_a_file(world: World, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    found = told(spec(world, workspace=str(tmp_path / "file")))
    assert (found["workspace"].state, found["workspace"].exit_code, found["header"].state) == ("failed", 2, "ok")
    found = told(spec(world, workspace=str(tmp_path / "file/below")))
    assert found["workspace"].state == "failed"


def test_nothing_is_left_in_a_workspace_and_nothing_of_it_is_touched(tmp_path: Path) -> None:
    (tmp_path / "w/_cache").mkdir(parents=True)
    (tmp_path / "w/_cache/mine").write_text("mine")
    tries = Tries()
    check_writable(tries, "workspace", open_workspace(str(tmp_path / "w")))
    assert [line.state for line in tries.take()] == ["ok"]
    assert [path.name for path in (tmp_path / "w").rglob("*")] == ["_cache", "mine"]


def test_places_for_copies(world: World, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter").write_text("precious")
    (tmp_path / "file").write_text("mine")
    places = [str(tmp_path / name) for name in ("new", "mine", "file/below")]
    exports = [line for line in lines_of(spec(world, export=[{"to": place} for place in places])) if line.check == "export"]
    assert [line.state for line in exports] == ["ok", "failed", "failed"]
    assert "holds something that is no export" in exports[1].result
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "mine"]


class Careless(BucketWorkspace):
    """A store that overwrites whatever it is told: some look-alikes of S3 do."""

    def __init__(self, inner: Workspace) -> None:
        self.uri, self.inner = inner.uri, inner

    def create(self, key: str, data: bytes) -> None:
        self.inner.write(key, data)

    def read(self, key: str) -> bytes | None:
        return self.inner.read(key)

    def delete(self, prefix: str) -> int:
        return self.inner.delete(prefix)


def test_a_store_that_overwrites_is_refused(tmp_path: Path) -> None:
    tries = Tries()
    check_writable(tries, "export", Careless(open_workspace(str(tmp_path))))
    (line,) = tries.take()
    assert (line.check, line.exit_code, "overwrites" in line.result) == ("export", 2, True)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.slow
def test_a_workspace_in_an_object_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """A real S3 API: files are made only once, none is left, and a bucket that is not there is said before a build."""
    with moto() as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "tester")
        place = open_workspace(f"s3://{BUCKET}/prefix")
        tries = Tries(limit=120)
        check_writable(tries, "workspace", place)
        check_writable(tries, "workspace", open_workspace(f"s3://{BUCKET}-of-nobody/prefix"))
        good, gone = tries.take()
        assert (good.state, gone.state, gone.exit_code in (2, 3, 4)) == ("ok", "failed", True)
        assert list(place.list("")) == []


def test_every_reference_is_a_line_of_its_own_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RASTERLOOM_A", "1")
    tries = Tries()
    check_references(tries, ["${RASTERLOOM_A}/${RASTERLOOM_B}", "${RASTERLOOM_A}${RASTERLOOM_C:-x}", "plain"], environment_secrets)
    lines = list(tries.take())
    assert [(line.state, line.exit_code) for line in lines] == [("failed", 3), ("ok", 0)]
    assert lines[1].result == "${RASTERLOOM_A}, ${RASTERLOOM_C:-x}: there"


def test_what_goes_wrong_in_a_try_is_an_error_of_ours() -> None:
    def refuse() -> int:
        raise PermissionError(13, "no")

    with pytest.raises(AccessDenied):
        within(60, "read it", refuse)
    with pytest.raises(SpecError, match="mine"):
        within(60, "read it", lambda: (_ for _ in ()).throw(SpecError("mine")))
    assert within(60, "count", lambda: 0) == 0


# --- other sources ----------------------------------------------------------------------------------------------------------------


def test_a_static_catalog(world: World, tmp_path: Path) -> None:
    path = written(tree({"s2": world.stac.items}), tmp_path / "stac")
    good = spec(world, stac=..., catalog={"path": str(path), "collection": "s2"}, build={"allow_private_hosts": True})
    found = told(good)
    assert states(found) == {"item": "ok", "bands": "ok", "header": "ok", "workspace": "ok"}
    assert told({**good, "band_map": {"B04": "bo4"}})["bands"].exit_code == 2
    found = told({**good, "catalog": {"path": str(path), "collection": "s3"}})
    assert (found["item"].state, found["item"].exit_code, found["workspace"].state) == ("failed", 2, "ok")
    found = told({**good, "catalog": {"path": str(tmp_path / "none.json")}})
    assert found["item"].state == "failed"


def test_a_table(world: World, tmp_path: Path) -> None:
    rows = columns(5)
    rows["assets"] = pa.array([world.stac.items[number]["assets"] for number in range(5)])
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table(rows).replace_schema_metadata(geo()), path)
    good = spec(world, stac=..., bbox=..., table={"uri": str(path)}, build={"allow_private_hosts": True})
    found = told(good)
    assert states(found) == {"item": "ok", "bands": "ok", "header": "ok", "workspace": "ok"}
    wrong = [line for line in lines_of({**good, "band_map": {"B04": "bo4"}}) if line.state == "failed"]
    assert [(line.exit_code, "bo4" in line.result, "b04" in line.remedy) for line in wrong] == [(2, True, True)]
    assert told({**good, "dates": ["2010-01-01", "2010-02-01"]})["item"].exit_code == 2
    found = told({**good, "table": {"uri": str(path), "enrich": False}})
    assert found["header"].state == "skipped"
    assert told({**good, "table": {"uri": str(tmp_path / "none.parquet")}})["item"].state == "failed"


RELEASED = threading.Event()


def stuck() -> pa.Table:
    """A table that takes its time."""
    RELEASED.wait(60)
    return pa.table(columns(1))


def test_a_source_that_is_slow_to_give_an_item_is_a_note(world: World) -> None:
    """A catalog of many files may have the question's items at its end: that is no mistake of the spec."""
    asked = spec(world, stac=..., table={"object": f"{__name__}:stuck"})
    try:
        first = next(line for line in lines_of(asked, limit=0.2) if line.check == "item")
    finally:
        RELEASED.set()
    assert (first.state, first.exit_code) == ("note", 0)
    assert "a run looks further" in first.result


def test_a_copy_of_a_collection(world: World) -> None:
    world.run(world.job("run-1"))
    narrow = spec(world, name="narrow", stac=..., band_map=..., bands=["B04"], collection={"uri": "s2"})
    found = told(narrow)
    assert states(found) == {"item": "ok", "bands": "ok", "header": "skipped", "workspace": "ok"}
    asked = len(world.files.log)
    found = told({**narrow, "collection": {"uri": "s3"}})
    assert (found["source"].state, found["source"].exit_code) == ("failed", 2)
    assert len(world.files.log) == asked


def test_lines_are_json(world: World) -> None:
    assert json.loads(json.dumps([line.check for line in lines_of(spec(world))]))


def test_a_limit_is_an_error_like_others() -> None:
    with pytest.raises(Unavailable, match="no end after"):
        within(0.01, "wait", lambda: __import__("time").sleep(2))
