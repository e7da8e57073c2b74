"""The flow of a read: what it answers, what it leaves in Prefect, and how a build runs the reads of its spec."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import xarray
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.settings import PREFECT_API_URL

from rasterloom.errors import SpecError
from rasterloom.flows.build import build
from rasterloom.flows.read import read
from rasterloom.flows.readprogress import ReadProgress, listening_to_reads
from rasterloom.specs.loader import spec_from
from rasterloom.specs.model import CollectionSpec
from rasterloom.tasks.limits import limit_name
from tests.access.world import BANDS, JUNE, World
from tests.servers import Fault, Hang, RangeServer, Request, Response, StacServer
from tests.waiting import until

pytestmark = pytest.mark.slow


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with StacServer() as stac, RangeServer({}) as files:
        made = World(stac, files, tmp_path / "ws")
        for number in range(3):
            made.add(number, JUNE.replace(day=2 + number))
        yield made


def spec(world: World, **reads: Any) -> CollectionSpec:
    source = {"stac": {"url": world.stac.url, "collection": "s2"}, "bbox": [14, 44, 16, 46], "dates": "2024-06"}
    return spec_from({"name": "s2", **source, "band_map": {band: band.lower() for band in BANDS}, "reads": reads})


def cube(**changes: Any) -> dict[str, Any]:
    return {"kind": "stack", "bands": ["B04"], "area": [15.0, 45.14, 15.02, 45.15]} | changes


def test_a_build_runs_its_reads_and_a_read_runs_alone(world: World, prefect_server: None, tmp_path: Path) -> None:
    heard: list[ReadProgress] = []
    asked = spec(world, cube=cube(output=str(tmp_path / "cube")), small=cube(resolution=20))
    with listening_to_reads(heard.append):
        done = build(asked, workspace=str(world.workspace))
    assert [(each["read"], each["made"], each["changed"]) for each in (one["read"] for one in done["reads"])] == [
        ("cube", 3, True),
        ("small", 3, True),
    ]
    assert [progress.stage for progress in heard if progress.read == "cube"] == ["decided", "reading", "finishing", "done"]
    assert done["reads"][0]["read"]["copied_to"] == str((tmp_path / "cube" / "latest").resolve() / "stack.zarr")
    with xarray.open_zarr(tmp_path / "cube" / "latest" / "stack.zarr") as data:
        assert data.B04.shape[0] == 3
    world.requests()
    alone = read(asked, "cube", workspace=str(world.workspace))
    assert alone["decision"] == {"action": "reuse", "reason": "nothing has changed", "copied": False}
    assert world.requests() == (0, 0)
    with get_client(sync_client=True) as client:
        pages = {artifact.key: artifact for artifact in client.read_artifacts()}
    assert "data:image/png;base64," in str(pages["s2-cube"].data)


def test_a_read_that_fails_lets_the_others_run_and_is_told(world: World, prefect_server: None, tmp_path: Path) -> None:
    asked = spec(world, wrong=cube(area=[100.0, 10.0, 100.1, 10.1]), right=cube())
    with pytest.raises(SpecError, match="no scene"):
        build(asked, workspace=str(world.workspace))
    assert list((world.workspace / "s2" / "_reads" / "right").rglob("stack.zarr"))
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("x")
    with pytest.raises(SpecError, match="holds something"):
        build(spec(world, right=cube(output=str(tmp_path / "taken"))), workspace=str(world.workspace))
    with pytest.raises(SpecError, match="did you mean right"):
        read(spec(world, right=cube()), "rihgt", workspace=str(world.workspace))


def command(world: World, *words: str) -> subprocess.Popen[str]:
    """`rasterloom read s2 cube`, on the Prefect server of these tests."""
    words = ("read", "s2", "cube", "--workspace", str(world.workspace), "--json", *words)
    env = os.environ | {"PREFECT_API_URL": PREFECT_API_URL.value() or ""}
    return subprocess.Popen(
        [sys.executable, "-m", "rasterloom.cli.main", *words], env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_a_killed_command_goes_on_where_it_was(world: World, prefect_server: None) -> None:
    build(spec(world), workspace=str(world.workspace))
    world.requests()
    for band in BANDS:
        world.files.faults[f"/2/{band}.tif"] = Hang(600)
    asked = cube(bands=list(BANDS))
    options = [f"--set={key}={json.dumps(value)}" for key, value in asked.items() if key != "kind"]
    process = command(world, "--kind", "stack", *options)
    try:
        until(lambda: len(list(world.workspace.glob("_cache/reads/*.json"))) >= 2 or process.poll() is not None)
    finally:
        process.kill()
    _, error = process.communicate()
    assert process.returncode == -signal.SIGKILL, error
    assert not list((world.workspace / "s2").rglob("stack.zarr"))
    world.files.faults.clear()
    world.files.has_heard_all()
    world.requests()
    out, error = command(world, "--kind", "stack", *options).communicate(timeout=300)
    done = json.loads(out)
    assert (done["read"]["units"], done["read"]["made"], done["read"]["requests"]) == (3, 1, len(BANDS)), error
    assert {request.path for request in world.files.log} == {f"/2/{band}.tif" for band in BANDS}
    with xarray.open_zarr(done["read"]["data"]) as data:
        assert data.B04.notnull().all()


class SlotsTaken(Fault):
    """Changes nothing, and remembers how many slots of the host are taken while it is asked."""

    def __init__(self, host: str) -> None:
        super().__init__()
        self.host = host
        self.seen: set[int] = set()

    def apply(self, request: Request, good: Response) -> Response:
        self.seen.add(taken(self.host))
        return good


def taken(host: str) -> int:
    with get_client(sync_client=True) as client:
        return client.read_global_concurrency_limit_by_name(limit_name(host)).active_slots


def test_pixels_are_read_within_the_limit_of_their_host(world: World, prefect_server: None) -> None:
    build(spec(world), workspace=str(world.workspace))
    with get_client(sync_client=True) as client:
        client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=limit_name(world.files.host), limit=3))
    world.requests()
    slots = world.files.faults["*"] = SlotsTaken(world.files.host)
    done = read(spec(world, cube=cube()), "cube", workspace=str(world.workspace))
    assert done["read"]["made"] == 3
    assert world.requests()[1] > 0
    assert slots.seen == {3}
    until(lambda: taken(world.files.host) == 0)
