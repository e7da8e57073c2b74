"""Zones, points and areas behind http(s): read as they are on a disk, again where they changed, and refused where they lead astray."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas
import pandas
import pytest
import shapely

from rasterloom.access.archive import wholefile
from rasterloom.access.archive.wholefile import whole_file
from rasterloom.access.credentials.secrets import environment_secrets
from rasterloom.access.reads.run import plan_read
from rasterloom.access.sources.areas import load_specs
from rasterloom.errors import AccessDenied, RasterloomError, SpecError, Unavailable
from rasterloom.specs.effort import AuthRef, Effort
from tests.access.imagery import EFFORT, NORTH, WEST, Imagery, run_read
from tests.access.test_points_read import built
from tests.servers import Cut, Fault, Gzip, Html, NoRange, RangeServer, Redirect, Request, Response, Status
from tests.tokens import BlobServer, TokenServer

AREA = {"type": "Polygon", "coordinates": [[[9.0, 46.0], [9.01, 46.0], [9.01, 46.01], [9.0, 46.0]]]}


@pytest.fixture(scope="module")
def imagery(tmp_path_factory: pytest.TempPathFactory) -> Imagery:
    """Not changed by any test; outputs have names of their own."""
    return built(tmp_path_factory.mktemp("imagery"))


@pytest.fixture
def web() -> Iterator[RangeServer]:
    with RangeServer({}) as server:
        yield server


def fields(size: float = 300.0) -> geopandas.GeoDataFrame:
    shapes = [shapely.box(WEST + at, NORTH - at - size, WEST + at + size, NORTH - at) for at in (100, 500)]
    return geopandas.GeoDataFrame({"field": ["a", "b"]}, geometry=shapes, crs=32632)


def as_parquet(frame: geopandas.GeoDataFrame, folder: Path) -> bytes:
    frame.to_parquet(folder / "frame.parquet")
    return (folder / "frame.parquet").read_bytes()


def as_geojson(frame: geopandas.GeoDataFrame) -> bytes:
    return frame.to_crs("OGC:CRS84").to_json().encode()


def zonal(zones: str) -> dict[str, Any]:
    return {"kind": "zonal", "zones": zones, "bands": ["B04"], "statistics": ["count", "valid", "mean"]}


def output(imagery: Imagery, asked: dict[str, Any], name: str, file: str = "zonal.parquet") -> pandas.DataFrame:
    return pandas.read_parquet(imagery.output(run_read(imagery.job(asked, name=name)).ref) / file)


def test_zones_are_those_of_the_file_and_a_changed_file_is_another_question(imagery: Imagery, web: RangeServer, tmp_path: Path) -> None:
    web.files["/fields.parquet"] = as_parquet(fields(), tmp_path)
    asked = zonal(f"{web.url}/fields.parquet?version=1")
    found = output(imagery, asked, "web")
    assert found.equals(output(imagery, zonal(str(tmp_path / "frame.parquet")), "disk"))
    assert found["field"].unique().tolist() == ["a", "b"]
    web.log.clear()
    again = plan_read(imagery.job(asked, name="web", run_id="again"))
    assert again.is_done
    assert len(web.log) == 1, "the file is looked at, no scene is"
    web.files["/fields.parquet"] = as_parquet(fields(200.0), tmp_path)
    changed = plan_read(imagery.job(asked, name="web", run_id="changed"))
    assert not changed.is_done
    assert len(changed.missing) == len(changed.units)


def test_points_are_those_of_the_file(imagery: Imagery, web: RangeServer, tmp_path: Path) -> None:
    points = fields().set_geometry(fields().centroid)
    web.files["/plots.geojson"] = as_geojson(points)
    (tmp_path / "plots.geojson").write_bytes(as_geojson(points))
    read = {"kind": "points", "bands": ["B04"]}
    found = output(imagery, read | {"points": f"{web.url}/plots.geojson"}, "web-points", "points.parquet")
    assert found.equals(output(imagery, read | {"points": str(tmp_path / "plots.geojson")}, "points", "points.parquet"))
    assert set(found["field"]) == {"a", "b"}


def test_an_area_is_read_when_the_spec_is(web: RangeServer, tmp_path: Path) -> None:
    frame = geopandas.GeoDataFrame(geometry=[shapely.geometry.shape(AREA)], crs="OGC:CRS84")
    web.files |= {"/area.geojson": json.dumps(AREA).encode(), "/area.parquet": as_parquet(frame, tmp_path)}
    text = (
        "version: 1\nname: a\ndataset: earthsearch/sentinel-2-l2a\nbands: [B04]\ndates: 2024-06\n"
        "intersects: {0}/area.{1}\nreads: {{cube: {{kind: stack, area: {0}/area.{1}}}}}\n"
    )
    for ending in ("geojson", "parquet"):
        (tmp_path / "spec.yaml").write_text(text.format(web.url, ending))
        (spec,) = load_specs(tmp_path / "spec.yaml")
        assert spec.reads is not None
        for area in (spec.intersects, spec.reads["cube"].area):
            assert area is not None
            assert shapely.geometry.shape(area).equals(shapely.geometry.shape(AREA))
    (tmp_path / "spec.yaml").write_text(text.format(web.url, "json"))
    with pytest.raises(SpecError) as caught:
        load_specs(tmp_path / "spec.yaml")
    assert [(problem.line, problem.path) for problem in caught.value.problems] == [(6, "intersects")]
    assert "404" in caught.value.problems[0].message


class Chunked(NoRange):
    """A whole body whose length is not told before, as programs answer that make it meanwhile."""

    def apply(self, request: Request, good: Response) -> Response:
        body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (good.body[:10], good.body[10:])) + b"0\r\n\r\n"
        return Response(200, body, {"Content-Type": "application/geo+json", "Transfer-Encoding": "chunked"})


@pytest.mark.parametrize("fault", [NoRange(), Chunked(), Gzip()], ids=["no-ranges", "no-length", "compressed"])
def test_a_server_without_ranges_gives_the_file_whole(fault: Fault, web: RangeServer) -> None:
    data = as_geojson(fields()) * (100 if isinstance(fault, Gzip) else 4000)
    web.files["/a"] = data
    web.faults["/a"] = fault
    assert whole_file(f"{web.url}/a", effort=EFFORT, secrets=environment_secrets) == data


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        (Status(404), SpecError, "404"),
        (Status(403), AccessDenied, "403|denied"),
        (Status(500), Unavailable, "500"),
        (Cut(100), Unavailable, "could not read"),
        (Redirect("file:///etc/hostname"), SpecError, "redirected to file:"),
        (Redirect("/a.geojson"), SpecError, "redirected without end"),
        (Html(status=200), SpecError, "a.geojson cannot be read"),
    ],
)
def test_what_cannot_be_read_is_told(imagery: Imagery, web: RangeServer, fault: Fault, error: type[RasterloomError], message: str) -> None:
    web.files["/a.geojson"] = as_geojson(fields())
    web.faults["/a.geojson"] = fault
    asked = imagery.job(zonal(f"{web.url}/a.geojson?token=planted"), effort=replace(EFFORT, retries=0))
    with pytest.raises(error, match=message) as caught:
        plan_read(asked)
    assert caught.value.remedy
    assert "planted" not in str(caught.value)


def test_too_much_is_told_before_it_is_read(web: RangeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wholefile, "LARGEST", 1 << 20)
    web.files["/a"] = b" " * (5 << 20)
    for fault, message in ((None, "has 5 MiB, the most are 1"), (NoRange(), "could not read")):
        web.faults = {} if fault is None else {"/a": fault}
        with pytest.raises(SpecError, match=message) as caught:
            whole_file(f"{web.url}/a", effort=EFFORT, secrets=environment_secrets)
        assert "download" in caught.value.remedy


def test_credentials_go_where_they_are_for() -> None:
    data = as_geojson(fields())
    with BlobServer({"/acct/c/a.geojson": data}) as blobs, TokenServer(blobs.key, "acct") as tokens, RangeServer({"/a": data}) as other:
        options = {"endpoint": f"{tokens.url}/token", "hosts": blobs.host}
        effort = Effort(retries=0, auth=AuthRef(provider="planetary_computer", options=tuple(sorted(options.items()))))
        assert whole_file(f"{blobs.url}/acct/c/a.geojson", effort=effort, secrets=environment_secrets) == data
        assert (len(tokens.tokens), blobs.refused) == (1, 0)
        assert whole_file(f"{other.url}/a", effort=effort, secrets=environment_secrets) == data
        assert all("sig=" not in request.target for request in other.log)
        with pytest.raises(AccessDenied):
            whole_file(f"{blobs.url}/acct/c/a.geojson", effort=Effort(retries=0), secrets=environment_secrets)
