"""The same protocol over a real S3 API: in calm weather everything works throughout, and in a storm nothing is lost."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pyarrow.dataset as ds
import pytest

from rasterloom.access.collection import Collection, load
from rasterloom.access.commits import latest
from rasterloom.access.opening import delete_collection
from rasterloom.access.workspace import open_workspace
from rasterloom.errors import Unavailable
from tests.torture.machine import ROOT, Machine, Order
from tests.torture.objects import BUCKET, Proxy, Weather, s3_server
from tests.torture.rows import NAME, expected, generation_of
from tests.torture.scale import OBJECT_STORE_INSTANTS, ROUNDS
from tests.torture.state import state_of
from tests.torture.test_builders import rounds
from tests.torture.upstream import Upstream


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    with s3_server() as url, Proxy(url_behind=url) as made, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", made.url)
        patch.setenv("AWS_REGION", "us-east-1")
        if "TORTURE_S3_ENDPOINT" not in os.environ:
            patch.setenv("AWS_ACCESS_KEY_ID", "tester")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "tester")
        yield made


@pytest.fixture(scope="module")
def machine(proxy: Proxy) -> Iterator[Machine]:
    """Forked after the endpoint is set."""
    with Machine() as made:
        yield made


@pytest.fixture
def workspace(proxy: Proxy) -> Iterator[str]:
    proxy.weather = Weather()
    yield f"s3://{BUCKET}/{uuid4().hex[:8]}/ws"
    proxy.weather = Weather()


def order(upstream: Upstream, workspace: str, **faults: float) -> Order:
    return Order(step="build", workspace=workspace, arguments={"spec": upstream.spec()}, **faults)  # type: ignore[arg-type]


def test_everything_works_on_an_object_store(upstream: Upstream, machine: Machine, workspace: str, tmp_path: Path) -> None:
    upstream.become(0)
    assert machine.run(order(upstream, workspace)).result is not None
    upstream.become(1)
    report = machine.run(order(upstream, workspace))
    assert report.result is not None, report
    assert state_of(workspace).generation == 1
    (listed,) = Collection.list_collections(workspace)
    assert (listed.name, listed.version, listed.rows) == (NAME, 2, len(expected(1)))
    collection = load(NAME, workspace)
    assert collection.subset(date_range=("2024-07-01", "2024-07-31")).to_table(["id"]).num_rows == len(expected(1)) - 3
    assert load(f"{workspace}/{NAME}").uri == collection.uri
    for target in (str(tmp_path / "out"), f"s3://{BUCKET}/{uuid4().hex}/out"):
        copy = load(collection.export(target)).to_table(["id", "generation"])
        assert generation_of(dict(zip(copy["id"].to_pylist(), copy["generation"].to_pylist(), strict=True))) == 1
    assert ds.dataset(tmp_path / "out", partitioning="hive").count_rows() == len(expected(1))
    assert machine.run(Order(step="rollback", workspace=workspace, arguments={"version": 1})).result == {"version": 3}
    assert state_of(workspace).generation == 0
    assert delete_collection(workspace, NAME) > 0
    assert Collection.list_collections(workspace) == []
    assert list(open_workspace(workspace).list(NAME)) == []


def test_nothing_is_lost_in_a_storm(upstream: Upstream, machine: Machine, workspace: str, proxy: Proxy) -> None:
    upstream.become(0)
    proxy.weather, proxy.faults = Weather.storm(), {}
    for generation in range(1, 6):
        upstream.become(generation)
        report = machine.run(order(upstream, workspace))
        assert report.result is not None or (report.ours and report.remedy), report
    proxy.weather = Weather()
    assert machine.run(order(upstream, workspace)).result is not None
    assert state_of(workspace).generation == 5
    assert len(proxy.faults) >= 3, proxy.faults


def test_bodies_that_are_cut_or_short_are_never_taken_for_data(upstream: Upstream, machine: Machine, workspace: str, proxy: Proxy) -> None:
    upstream.become(0)
    assert machine.run(order(upstream, workspace)).result is not None
    good, errors, proxy.faults = 0, [], {}
    proxy.weather = Weather(cut_body=0.1, short_body=0.3)
    for _ in range(20):
        try:
            table = load(NAME, workspace).to_table(["id", "generation"])
        except Unavailable as error:
            errors.append(error)
            continue
        good += 1
        assert generation_of(dict(zip(table["id"].to_pylist(), table["generation"].to_pylist(), strict=True))) == 0
    assert good
    assert all(error.remedy for error in errors)
    assert set(proxy.faults) == {"cut_body", "short_body"}


def test_an_ambiguous_put_of_the_commit_is_read_back(upstream: Upstream, machine: Machine, workspace: str, proxy: Proxy) -> None:
    """Stored, and the answer lost, in every way that a server can lose it: it is one version."""
    upstream.become(0)
    for version, weather in enumerate([Weather(lost_answer=0.3), Weather(late_error=0.3), Weather(conflict=0.9)], start=1):
        upstream.become(version)
        proxy.weather = weather
        report = machine.run(order(upstream, workspace))
        proxy.weather = Weather()
        if report.result is None:
            assert report.ours
            assert report.remedy
            assert machine.run(order(upstream, workspace)).result is not None
        assert state_of(workspace).generation == version
    newest = latest(open_workspace(workspace), NAME)
    assert newest is not None
    assert newest.version <= 6


def test_builders_at_once_on_an_object_store(upstream: Upstream, machine: Machine, workspace: str, proxy: Proxy) -> None:
    upstream.become(0)
    proxy.weather = Weather.storm(0.3)
    won, versions = rounds(machine, upstream, workspace, 1)
    assert 1 <= versions <= won + 1


@pytest.mark.slow
def test_many_builders_on_an_object_store(upstream: Upstream, machine: Machine, workspace: str, proxy: Proxy) -> None:
    upstream.become(0)
    proxy.weather, proxy.faults = Weather.storm(0.5), {}
    won, versions = rounds(machine, upstream, workspace, ROUNDS)
    print(f"{won} of {4 * ROUNDS} builds succeeded, {versions} versions; planted: {proxy.faults}")


@pytest.mark.slow
def test_kills_at_random_instants_on_an_object_store(upstream: Upstream, machine: Machine, workspace: str, proxy: Proxy) -> None:
    upstream.become(0)
    report = machine.run(order(upstream, workspace))
    assert report.result is not None
    rng, killed, usual = random.Random(3), 0, report.seconds
    for generation in range(1, OBJECT_STORE_INSTANTS + 1):
        upstream.become(generation)
        proxy.weather = Weather.storm(0.3)
        killed += machine.run(order(upstream, workspace, kill_after=rng.uniform(0, 1.1) * usual)).killed
        proxy.weather = Weather()
        left = state_of(workspace)
        assert left.generation in (generation - 1, generation)
        report = machine.run(order(upstream, workspace))
        assert report.result is not None, report
        assert state_of(workspace).generation == generation
    print(f"{OBJECT_STORE_INSTANTS} instants, {killed} kills")
    assert killed > OBJECT_STORE_INSTANTS // 4


@pytest.mark.slow
def test_the_command_line_on_an_object_store(upstream: Upstream, workspace: str, tmp_path: Path) -> None:
    spec = tmp_path / "spec.json"
    upstream.become(0)
    spec.write_text(json.dumps(upstream.spec()))

    def rasterloom(*arguments: str) -> str:
        command = [sys.executable, "-m", "rasterloom.cli.main", *arguments, "--workspace", workspace]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    rasterloom("run", str(spec))
    assert NAME in rasterloom("list")
    assert json.loads(rasterloom("info", NAME, "--json"))
    rasterloom("export", NAME, str(tmp_path / "out"))
    assert ds.dataset(tmp_path / "out", partitioning="hive").count_rows() == len(expected(0))
    rasterloom("delete", NAME, "--yes")
    assert "no collections" in rasterloom("list")
