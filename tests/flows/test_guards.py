"""What a server that runs builds for a team keeps to: limits of hosts, secrets, and no loss when its database is killed."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from shapely.geometry import box, mapping

from rasterloom.access.collection import load
from tests.flows.archive import Archive, opened
from tests.flows.stack import Stack, deployed, started
from tests.servers import Server, Status
from tests.waiting import until

pytestmark = pytest.mark.slow

TOKEN = "planted-in-the-environment-0123456789"
IN_A_BLOCK = "planted-in-a-block-9876543210"
SQUARE = [9.0, 45.1, 9.02, 45.2]
"""Where the pixels of the archive really lie, and a part of them."""
WITHIN = [9.002, 45.149, 9.004, 45.151]


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with started(CATALOG_TOKEN=TOKEN) as running:
        yield running


def test_a_build_outlives_a_killed_database(stack: Stack, tmp_path: Path) -> None:
    """The old version stands until there is the new one, whole; the run tells of its end when the database is back."""
    with opened(44) as archive:
        deployed(stack, tmp_path, archive.spec(name="outlives", dates="2024-06"))
        assert stack.ended(stack.start("outlives"))["state"]["type"] == "COMPLETED"
        deployed(stack, tmp_path, archive.spec(name="outlives", build={"max_concurrent": 4}))
        archive.files.latency = 2.0
        asked = len(archive.files.log)
        run = stack.start("outlives")
        until(lambda: len(archive.files.log) > asked)  # 28 files, of which four are asked for every two seconds

        with stack.without_database():
            assert len(load("outlives", workspace=stack.workspace)) == 30
            archive.files.latency = 0.0
            until(lambda: len(load("outlives", workspace=stack.workspace)) == 44)  # the run is done, and can tell nobody
        assert stack.ended(run)["state"]["type"] == "COMPLETED", stack.told(run)
        assert sorted(load("outlives", workspace=stack.workspace).to_table(["id"])["id"].to_pylist()) == archive.ids
        asked = len(archive.files.log)
        assert stack.ended(stack.start("outlives"))["state"]["type"] == "COMPLETED"
        assert len(archive.files.log) == asked


def test_twenty_deployments_keep_to_the_limit_of_a_host(stack: Stack, tmp_path: Path) -> None:
    """Headers and pixels, of twenty runs at once."""
    latency = 0.1
    reads = {"cube": {"kind": "stack", "bands": ["B02"], "area": WITHIN}}
    with opened(20, latency=latency) as archive:
        for item in archive.stac.items:
            item["bbox"], item["geometry"] = SQUARE, mapping(box(*SQUARE))
        stack.shell(f"rasterloom setup --limit {archive.files.host}=10", cwd=tmp_path)
        specs = [archive.spec(name=f"crowd-{number:02d}", reads=reads, workspace=f"{stack.home}/crowd/{number}") for number in range(20)]
        deployed(stack, tmp_path, *specs)
        runs = [stack.start(spec.name) for spec in specs]
        ends = [stack.ended(run, seconds=550) for run in runs]  # all at once, so each takes as long as all
        assert {run["state"]["type"] for run in ends} == {"COMPLETED"}, stack.told(runs[0])
        assert len(archive.files.log) >= 20 * 20 * 2
        assert 2 <= most_at_once(archive.files, lasting=latency) <= 10
    spans = sorted((run["start_time"], run["end_time"]) for run in ends)
    assert any(later[0] < earlier[1] for earlier, later in pairwise(spans)), "they ran one after the other"


def most_at_once(server: Server, *, lasting: float) -> int:
    """Of requests that each last at least so many seconds from when they are logged."""
    edges = sorted([(request.at, 1) for request in server.log] + [(request.at + lasting, -1) for request in server.log])
    under_way = peak = 0
    for _, step in edges:
        under_way += step
        peak = max(peak, under_way)
    return peak


def test_secrets_are_nowhere(stack: Stack, tmp_path: Path) -> None:
    """Of the environment and of a block: both are sent to the catalog, and stand nowhere else, also where the run fails over them."""
    block = f"from prefect.blocks.system import Secret; Secret(value={IN_A_BLOCK!r}).save('catalog-key', overwrite=True)"
    stack.shell(f'python -c "{block}"', cwd=tmp_path)
    with opened(44) as archive, opened(44) as angry:
        angry.stac.faults["/search"] = Status(403, body=json.dumps({"description": f"no good: {IN_A_BLOCK}, {TOKEN}"}).encode())
        deployed(stack, tmp_path, secretive(archive, "secretive"), secretive(angry, "refused"))
        runs = [stack.ended(stack.start(name)) for name in ("secretive", "refused")]
        assert [run["state"]["type"] for run in runs] == ["COMPLETED", "FAILED"]
        for each in (archive, angry):
            sent = [request for request in each.stac.log if request.path.endswith("/search")]
            assert {request.headers["x-token"] for request in sent} == {TOKEN}
            assert {request.headers["x-key"] for request in sent} == {IN_A_BLOCK}
    until(lambda: "no good: REDACTED, REDACTED" in stack.told(runs[1]["id"]))

    dump = dumped(stack)
    assert b"secretive" in dump
    answers = [httpx.post(stack.api + path, json={}) for path in ("/block_documents/filter", "/flow_runs/filter", "/logs/filter")]
    assert {answer.status_code for answer in answers} <= {401, 403}
    files = files_of(stack)
    assert {Path(name).name for name in files} >= {"server.log", "worker.log", "postgres.log"}
    places = {"database": dump} | {answer.url.path: answer.content for answer in answers} | files
    for planted in (IN_A_BLOCK, TOKEN):
        assert [place for place, text in places.items() if planted.encode() in text] == []


def secretive(archive: Archive, name: str) -> Any:
    headers = {"X-Token": "${CATALOG_TOKEN}", "X-Key": "${secret.catalog-key}"}
    return archive.spec(name=name, stac={"url": archive.stac.url, "collection": "s2", "headers": headers})


def files_of(stack: Stack) -> dict[str, bytes]:
    """All of its directory but the database, which lives on meanwhile: a file may be gone when it is opened."""
    found: dict[str, bytes] = {}
    for folder, folders, names in os.walk(stack.home):
        if folder == f"{stack.home}/postgres":
            folders.remove("data")
        for path in (Path(folder, name) for name in names):
            with suppress(FileNotFoundError):
                if path.is_file():
                    found[str(path)] = path.read_bytes()
    return found


def dumped(stack: Stack) -> bytes:
    """All rows of the database as SQL."""
    secrets = dict(line.split("=", 1) for line in (stack.home / "secrets.env").read_text().splitlines())
    command = ["pg_dump", "--host", str(stack.home / "postgres"), "--username", "prefect", "--inserts", "prefect"]
    env = dict(stack.env) | {"PGPASSWORD": secrets["DATABASE_PASSWORD"]}
    return subprocess.run(command, env=env, capture_output=True, check=True).stdout
