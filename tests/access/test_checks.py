"""What is seen between the writing of a version and its commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyproj
import pytest
import shapely

from rasterloom.access.building.checks import Findings, check_version
from rasterloom.access.building.publish import publish
from rasterloom.access.cache.records import assemble
from rasterloom.access.values import Scene
from rasterloom.access.versions.commits import Commit, latest
from rasterloom.access.versions.table import shape_of
from rasterloom.access.versions.version import VersionWriter
from rasterloom.access.workspace.place import open_workspace
from rasterloom.errors import Refused
from rasterloom.raster.properties import summarise
from rasterloom.specs.effort import Effort
from rasterloom.specs.question import Box, Question
from tests.access.building import BANDS, header, headers, job, opened, question, scene, searched, staged
from tests.access.test_commits import draft

BERLIN = Box(west=13.0, south=52.0, east=14.0, north=53.0)
ASKED = question(bbox=BERLIN)
ANY = Effort(min_coverage=0.0)


def checked(
    place: Path,
    scenes: Sequence[Scene],
    *,
    effort: Effort | None = None,
    asked: Question | None = None,
    known: Findings | None = None,
    found: Mapping[tuple[int, str], Any] | None = None,
) -> Findings:
    """Write the scenes as a version and check it."""
    workspace = open_workspace(str(place))
    shape = shape_of(BANDS, [summarise(one.properties for one in scenes)])
    found = headers(scenes, width=512, tile=256) if found is None else found
    with VersionWriter(workspace, "v", "r", schema=shape.schema, metadata={}) as writer:
        for start in range(0, len(scenes), 7):
            part = scenes[start : start + 7]
            writer.add(
                shape.typed(
                    assemble(
                        part,
                        {
                            (row, band): found[start + row, band]
                            for row in range(len(part))
                            for band in BANDS
                            if (start + row, band) in found
                        },
                        BANDS,
                    )
                )
            )
    parent = replace(draft("run"), profile=known.profile) if known else None
    return check_version(workspace, "v", writer.files, question=asked or question(), effort=effort or Effort(), parent=parent)


def boxed(number: int, west: float, south: float, east: float, north: float, **changes: Any) -> Scene:
    return scene(number, bbox=(west, south, east, north), **changes)


# --- through a build ---------------------------------------------------------------------------------------------------------------


def built(place: Path, run_id: str, scenes: Sequence[Scene], effort: Effort, **changes: Any) -> Commit:
    one = job(place, asked=ASKED, run_id=run_id, effort=replace(effort, force=True))
    publish(one, [searched(scenes)], staged(opened(one), scenes, width=512, tile=256, **changes))
    return newest(place)


def newest(place: Path) -> Commit:
    found = latest(open_workspace(str(place)), "s2")
    assert found is not None
    return found


def test_a_failed_check_keeps_the_old_snapshot(tmp_path: Path) -> None:
    half = [boxed(1, 13.0, 52.0, 13.5, 53.0)]
    first = built(tmp_path, "first", half, Effort(min_coverage=0.4))
    assert (first.coverage, first.drift, first.profile["B02 dtype"]) == (pytest.approx(0.5), (), {"uint16": 1})
    more = [*half, boxed(2, 13.0, 52.0, 13.6, 53.0)]
    with pytest.raises(Refused, match=r"cover 60\.0%"):
        built(tmp_path, "second", more, Effort(min_coverage=0.7))
    assert newest(tmp_path) == first
    second = built(tmp_path, "third", more, Effort(min_coverage=0.6))
    assert (second.version, second.coverage) == (2, pytest.approx(0.6))


def test_drift_is_told_in_the_commit_and_refused_where_asked(tmp_path: Path) -> None:
    scenes = [boxed(1, 13.0, 52.0, 13.5, 53.0)]
    built(tmp_path, "first", scenes, Effort())
    more = [*scenes, boxed(2, 13.0, 52.0, 13.6, 53.0)]
    with pytest.raises(Refused, match="dtype: float32"):
        built(tmp_path, "second", more, Effort(max_drift=0.0), dtype="float32")
    assert newest(tmp_path).run_id == "first"
    told = built(tmp_path, "third", more, Effort(), dtype="float32").drift
    assert "B02 dtype: float32 in 2 scenes (before: uint16)" in told


# --- profile and drift -------------------------------------------------------------------------------------------------------------


def test_a_profile_counts_rows_by_value(tmp_path: Path) -> None:
    scenes = [scene(number) for number in range(20)]
    found = checked(tmp_path, scenes)
    assert found.profile["B02 dtype"] == {"uint16": 20}
    assert found.profile["B02 tile"] == {"256x256": 20}
    assert found.profile["B02 nodata"] == {"0": 20}
    assert found.profile["crs"] == {"EPSG:32610": 20}
    assert (found.drift, found.twins, found.coverage) == ((), 0, None)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"dtype": "float32"}, "B03 dtype: float32 in 1 scenes (before: uint16)"),
        ({"nodata": None}, "B03 nodata: none in 1 scenes (before: 0)"),
        ({"nodata": -9999.0}, "B03 nodata: -9999 in 1 scenes (before: 0)"),
        ({"nodata": float("nan")}, "B03 nodata: nan in 1 scenes (before: 0)"),
        ({"tile": 128}, "B03 tile: 128x128 in 1 scenes (before: 256x256)"),
    ],
)
def test_one_file_that_is_not_like_those_before_is_told(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    scenes = [scene(number) for number in range(10)]
    before = checked(tmp_path / "before", scenes)
    found = headers(scenes, width=512, tile=256) | {(4, "B03"): header(9, **{"width": 512, "tile": 256, **changes})}
    assert checked(tmp_path / "a", scenes, known=before, found=found).drift == (told,)
    assert checked(tmp_path / "b", scenes, known=before, found=found, effort=Effort(max_drift=0.1)).drift == (told,)
    with pytest.raises(Refused, match=r"1 of 10 scenes differ from the version before \(B03"):
        checked(tmp_path / "c", scenes, known=before, found=found, effort=Effort(max_drift=0.05))
    assert checked(tmp_path / "d", scenes, found=found, effort=Effort(max_drift=0.0)).drift == (), "nothing is known to drift from"


def test_another_crs_is_drift_and_a_missing_header_is_none(tmp_path: Path) -> None:
    scenes = [scene(number) for number in range(6)]
    before = checked(tmp_path / "before", scenes)
    known = headers(scenes, width=512, tile=256)
    moved = {place: value for place, value in headers(scenes, width=512, tile=256, epsg=32611).items() if place[0] == 2}
    assert checked(tmp_path / "a", scenes, known=before, found=known | moved).drift == ("crs: EPSG:32611 in 1 scenes (before: EPSG:32610)",)
    without = {place: value for place, value in known.items() if place != (3, "B02")}
    assert checked(tmp_path / "b", scenes, known=before, found=without, effort=Effort(max_drift=0.0)).drift == ()


# --- duplicates --------------------------------------------------------------------------------------------------------------------


def test_scenes_of_one_grid_cell_and_instant_are_twins(tmp_path: Path) -> None:
    scenes = [scene(number) for number in range(10)]
    scenes[7] = replace(
        scenes[7], datetime=scenes[3].datetime, properties={**scenes[7].properties, "grid:code": scenes[3].properties["grid:code"]}
    )
    assert checked(tmp_path / "a", scenes).twins == 1
    with pytest.raises(Refused, match="1 of 10 scenes have the place and instant of another"):
        checked(tmp_path / "b", scenes, effort=Effort(max_duplicates=0.0))
    assert checked(tmp_path / "c", scenes, effort=Effort(max_duplicates=0.1)).twins == 1


def test_without_a_grid_the_corners_are_the_place(tmp_path: Path) -> None:
    scenes = [replace(scene(number), properties={}) for number in range(6)]
    for number, offset in ((1, 0.0), (4, 0.5), (5, 0.0001)):
        scenes[number] = boxed(number, *(edge + offset for edge in (10.0, 20.0, 11.0, 21.0)), datetime=scenes[1].datetime, properties={})
    assert checked(tmp_path, scenes).twins == 1


def test_an_id_twice_is_never_committed(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="1 ids stand twice"):
        checked(tmp_path, [scene(1), scene(2), replace(scene(3), id=scene(1).id)])


# --- coverage ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("boxes", "share"),
    [
        ([(13.0, 52.0, 14.0, 53.0)], 1.0),
        ([(12.0, 51.0, 15.0, 54.0)], 1.0),
        ([(13.0, 52.0, 13.5, 53.0)], 0.5),
        ([(13.0, 52.0, 13.5, 53.0), (13.25, 52.0, 13.75, 53.0)], 0.75),
        ([(20.0, 52.0, 21.0, 53.0)], 0.0),
        ([(13.0 + 360.0, 52.0, 13.5 + 360.0, 53.0)], 0.5),
    ],
)
def test_coverage_is_a_share_of_the_area(tmp_path: Path, boxes: list[tuple[float, float, float, float]], share: float) -> None:
    scenes = [boxed(number, *box) for number, box in enumerate(boxes)]
    assert checked(tmp_path, scenes, asked=ASKED, effort=ANY).coverage == pytest.approx(share, abs=1e-9)


def test_coverage_is_of_the_round_earth(tmp_path: Path) -> None:
    """The northern half of a box in degrees is less than half of its land; the geodesic area of pyproj is the judge."""
    asked = question(bbox=Box(west=10.0, south=40.0, east=20.0, north=80.0))
    share = checked(tmp_path, [boxed(1, 10.0, 60.0, 20.0, 80.0)], asked=asked, effort=ANY).coverage
    sphere = pyproj.Geod(a=6_371_000.0, b=6_371_000.0)

    def area(south: float, north: float) -> float:
        ring = shapely.segmentize(shapely.box(10.0, south, 20.0, north), 0.01)
        return abs(sphere.geometry_area_perimeter(ring)[0])

    assert share == pytest.approx(area(60.0, 80.0) / area(40.0, 80.0), rel=1e-4)


def test_coverage_across_the_antimeridian(tmp_path: Path) -> None:
    asked = question(bbox=Box(west=179.0, south=0.0, east=-179.0, north=1.0))
    crossing = replace(scene(1), geometry=shapely.to_wkb(shapely.box(179.5, 0.0, 180.5, 1.0)), bbox=(179.5, 0.0, -179.5, 1.0))
    assert checked(tmp_path, [crossing], asked=asked, effort=ANY).coverage == pytest.approx(0.5)


def test_too_little_coverage_is_refused(tmp_path: Path) -> None:
    half = [boxed(1, 13.0, 52.0, 13.5, 53.0)]
    with pytest.raises(Refused, match=r"cover 50.0% of the area and checks.coverage.min is 60.0%") as caught:
        checked(tmp_path / "a", half, asked=ASKED, effort=Effort(min_coverage=0.6))
    assert caught.value.remedy
    assert checked(tmp_path / "b", half, asked=ASKED, effort=Effort(min_coverage=0.4)).coverage == pytest.approx(0.5)


def test_coverage_of_a_polygon_and_of_a_broken_footprint(tmp_path: Path) -> None:
    triangle = '{"type":"Polygon","coordinates":[[[0,0],[2,0],[0,2],[0,0]]]}'
    bowtie = shapely.Polygon([(0, 0), (1, 1), (1, 0), (0, 1)])
    asked = question(bbox=None, intersects=triangle)
    one = replace(scene(1), geometry=shapely.to_wkb(bowtie), bbox=(0.0, 0.0, 1.0, 1.0))
    assert checked(tmp_path, [one], asked=asked, effort=ANY).coverage == pytest.approx(0.25, abs=1e-3)
