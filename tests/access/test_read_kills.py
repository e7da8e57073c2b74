"""SIGKILL of a process that runs a read job, of every kind: what it kept is kept, what stood stands, and the next run does the rest.

The server holds back the files of later scenes, so that a kill finds some units whole and the others in the middle of their requests.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rasterloom.access.reads.job import ReadJob
from rasterloom.access.reads.keeping import verify_outputs
from rasterloom.access.reads.outputs import latest_output
from rasterloom.access.reads.run import plan_read
from rasterloom.access.refs import to_json
from rasterloom.access.workspace.place import open_workspace
from tests.access.imagery import Imagery, run_read
from tests.servers import RangeServer, Request, Response

pytestmark = pytest.mark.slow

AREA = [9.0005, 46.041, 9.009, 46.046]
"""Inside of every scene."""
SCENES, KEPT = 5, 2
BANDS = ("B04", "B08")
PLACES = {"type": "FeatureCollection", "features": []}


def feature(number: int, geometry: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Feature", "properties": {"name": f"n{number}"}, "geometry": geometry}


def features(*geometries: dict[str, Any]) -> dict[str, Any]:
    return PLACES | {"features": [feature(number, geometry) for number, geometry in enumerate(geometries)]}


POINTS = features({"type": "Point", "coordinates": [9.002, 46.044]}, {"type": "Point", "coordinates": [9.007, 46.042]})
ZONES = features({"type": "Polygon", "coordinates": [[[9.001, 46.041], [9.008, 46.042], [9.004, 46.046], [9.001, 46.041]]]})
READS: dict[str, dict[str, Any]] = {
    "stack-zarr": {"kind": "stack", "area": AREA},
    "stack-netcdf": {"kind": "stack", "area": AREA, "format": "netcdf"},
    "composite": {"kind": "composite", "area": AREA, "period": "P1M"},
    "zonal": {"kind": "zonal", "zones": ZONES, "statistics": ["count", "valid", "mean", "median"]},
    "points": {"kind": "points", "points": POINTS},
    "chips-geotiff": {"kind": "chips", "area": AREA, "size": 16, "min_valid": 0.2},
    "chips-zarr": {"kind": "chips", "area": AREA, "size": 16, "min_valid": 0.2, "format": "zarr"},
}
RUN = """
import json, sys
from rasterloom.access.reads.job import ReadJob
from rasterloom.access.refs import from_json
from tests.access.imagery import run_read
run_read(from_json(ReadJob, json.load(sys.stdin)))
"""
BEFORE_THE_COMMIT = """
import pathlib, time
from rasterloom.access.reads import run
def commit_output(*args, **more):
    pathlib.Path({marker!r}).touch()
    time.sleep(600)
run.commit_output = commit_output
"""


class SlowServer(RangeServer):
    """Gives no file of `held` scenes until `go`."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, latency=0.01)
        self.held: frozenset[str] = frozenset()
        self.go = threading.Event()

    def respond(self, request: Request) -> Response:
        if scene_of(request) in self.held:
            self.go.wait(600)
        return super().respond(request)

    def asked(self) -> Counter[str]:
        """Requests by scene since the last call."""
        counts = Counter(scene_of(request) for request in self.log)
        self.log.clear()
        return counts


def scene_of(request: Request) -> str:
    return request.path.split("/")[1]


def add(made: Imagery, number: int) -> None:
    draw = np.random.default_rng(number)
    pixels = {band: draw.integers(0, 3000, (160, 200)).astype("u2") for band in BANDS}
    made.add(f"scene-{number}", f"2024-06-{4 + 5 * number:02d}T10:30:00", pixels)


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[tuple[Imagery, SlowServer]]:
    with SlowServer(tmp_path / "files") as server:
        made = Imagery(tmp_path / "files", tmp_path / "workspace", base=server.url)
        for number in range(SCENES):
            add(made, number)
        made.build()
        server.log.clear()
        yield made, server
        server.go.set()


@contextmanager
def child(job: ReadJob, *, before: str = "") -> Generator[subprocess.Popen[str]]:
    """A process that runs the job; it ends with the block, by SIGKILL."""
    root = Path(__file__).parents[2]
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])}
    process = subprocess.Popen(
        [sys.executable, "-c", before + RUN], cwd=root, env=env, text=True, stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(to_json(job)))
    process.stdin.close()
    try:
        yield process
        assert process.poll() is None, "it was to be killed in the middle"
    finally:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()
    assert process.returncode == -signal.SIGKILL


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 300
    while not condition():
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.02)


def kept(job: ReadJob) -> list[str]:
    """Labels of the units that are whole."""
    planned = plan_read(job)
    missing = {unit.key for unit in planned.missing}
    return [unit.label for unit in planned.units if unit.key not in missing]


def content(made: Imagery, uri: str) -> dict[str, str]:
    """All files of an output by their digest, but for where it stands."""
    files = {path.relative_to(uri).as_posix(): path.read_bytes() for path in Path(uri).rglob("*") if path.is_file()}
    return {name: hashlib.sha256(data.replace(str(made.workspace).encode(), b"W")).hexdigest() for name, data in files.items()}


def elsewhere(made: Imagery, tmp_path: Path, name: str) -> Imagery:
    """The same collection in a workspace of its own, of which nothing was read."""
    shutil.copytree(made.workspace, tmp_path / name, ignore=shutil.ignore_patterns("reads", "_reads"))
    return replace(made, workspace=tmp_path / name)


def output_files(made: Imagery) -> list[Path]:
    return [path for path in (made.workspace / "s2" / "_reads").rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", READS)
def test_a_killed_read_goes_on_and_no_half_output_is_seen(name: str, slow: tuple[Imagery, SlowServer], tmp_path: Path) -> None:
    made, server = slow
    whole = elsewhere(made, tmp_path, "whole")
    job = made.job(READS[name])
    place = open_workspace(job.workspace)

    # killed while it reads
    server.held = frozenset(f"scene-{number}" for number in range(KEPT, SCENES))
    with child(job) as process:
        own = len(plan_read(job).units) - SCENES  # the unit of zones or points
        wait_for(lambda: len(list(made.workspace.glob("_cache/reads/*.json"))) == KEPT + own, process)
    assert latest_output(place, "s2", "a") is None
    assert not output_files(made)
    assert set(kept(job)) >= {f"scene-{number}" for number in range(KEPT)}
    server.held = frozenset()
    server.go.set()
    server.has_heard_all()
    server.log.clear()
    resumed = run_read(replace(job, run_id="read-2"))
    assert resumed.made == SCENES - KEPT
    rest = {f"scene-{number}": len(BANDS) for number in range(KEPT, SCENES)}
    assert server.asked() == rest
    reference = run_read(replace(whole.job(READS[name]), started=job.started))  # which a cube's history tells
    assert server.asked() == rest | {f"scene-{number}": len(BANDS) for number in range(KEPT)}
    assert content(made, resumed.ref.uri) == content(whole, reference.ref.uri)

    # run again
    assert plan_read(replace(job, run_id="read-3")).is_done
    assert run_read(replace(job, run_id="read-3")).ref.uri == resumed.ref.uri
    assert not server.asked()

    # one scene more, killed before the commit: the older output stands as it was
    add(made, SCENES)
    made.build("run-2")
    server.log.clear()
    before = content(made, resumed.ref.uri)
    marker = tmp_path / "about-to-commit"
    job = made.job(READS[name], run_id="read-4")
    with child(job, before=BEFORE_THE_COMMIT.format(marker=str(marker))) as process:
        wait_for(marker.exists, process)
    assert server.asked() == {f"scene-{SCENES}": len(BANDS)}
    standing = latest_output(place, "s2", "a")
    assert standing is not None
    assert (standing.version, standing.run_id) == (1, "read-2")
    assert content(made, resumed.ref.uri) == before
    assert verify_outputs(place, "s2") == []
    second = run_read(replace(job, run_id="read-5"))
    assert (second.made, second.ref.version) == (0, 2)
    assert not server.asked(), "the scene was kept"
    anew = elsewhere(made, tmp_path, "anew")
    fresh = run_read(replace(anew.job(READS[name]), started=job.started))
    assert fresh.made == second.ref.units
    assert content(made, second.ref.uri) == content(anew, fresh.ref.uri)
