"""The same protocol over a real object store: in calm weather everything works throughout, and in a storm nothing is lost."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow.dataset as ds
import pytest

from rasterloom.access.collection import Collection, load
from rasterloom.access.versions.commits import latest, read_commit
from rasterloom.access.versions.opening import delete_collection
from rasterloom.access.versions.snapshots import snapshots
from rasterloom.access.versions.verify import verify
from rasterloom.access.workspace.place import open_workspace
from rasterloom.errors import Unavailable
from tests.torture.machine import ROOT, Machine, Order
from tests.torture.objects import Proxy, Weather, object_store
from tests.torture.rows import NAME, expected, generation_of
from tests.torture.scale import OBJECT_STORE_INSTANTS, ROUNDS, SECONDS
from tests.torture.state import State, generation_in, state_of
from tests.torture.test_builders import rounds
from tests.torture.upstream import Upstream


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    with object_store() as store, Proxy(url_behind=store.url, root=store.root) as made, pytest.MonkeyPatch.context() as patch:
        for name, value in store.environment(made.url).items():
            patch.setenv(name, value)
        yield made


@pytest.fixture(scope="module")
def machine(proxy: Proxy) -> Iterator[Machine]:
    """Forked after the endpoint is set."""
    with Machine() as made:
        yield made


@pytest.fixture
def workspace(proxy: Proxy) -> Iterator[str]:
    proxy.weather = Weather()
    yield f"{proxy.root}/{uuid4().hex[:8]}/ws"
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
    for target in (str(tmp_path / "out"), f"{workspace}-out/out"):
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
    made = rounds(machine, upstream, workspace, 1)
    assert 1 <= made.versions <= made.won + 1


@pytest.mark.slow
def test_many_builders_on_an_object_store(upstream: Upstream, machine: Machine, workspace: str, proxy: Proxy) -> None:
    upstream.become(0)
    proxy.weather, proxy.faults = Weather.storm(0.5), {}
    made = rounds(machine, upstream, workspace, ROUNDS)
    print(f"{made.done} rounds: {made.won} of {4 * made.done} builds succeeded, {made.versions} versions; planted: {proxy.faults}")


@pytest.mark.slow
def test_kills_at_random_instants_on_an_object_store(upstream: Upstream, machine: Machine, workspace: str, proxy: Proxy) -> None:
    victims = Victims(upstream, machine, workspace, proxy)
    done, ends = 0, time.monotonic() + SECONDS
    while done < (OBJECT_STORE_INSTANTS if victims.are_enough(done) else 10 * OBJECT_STORE_INSTANTS) and time.monotonic() < ends:
        done += 1
        victims.disaster()
    print(f"{done} instants, {victims.killed} kills, version {victims.state.version}")
    assert victims.are_enough(done)
    assert_tidy(machine, workspace)


class Victims:
    """What is killed at random instants over an object store in bad weather; a build in good weather then finishes."""

    def __init__(self, upstream: Upstream, machine: Machine, workspace: str, proxy: Proxy) -> None:
        self.upstream, self.machine, self.workspace, self.proxy = upstream, machine, workspace, proxy
        self.rng = random.Random(3)
        self.killed: dict[str, int] = {}
        upstream.become(0)
        report = machine.run(order(upstream, workspace))
        assert report.result is not None, report
        self.usual = {"build": report.seconds, "rollback": report.seconds / 4, "gc": report.seconds / 4, "export": report.seconds / 4}
        self.state = state_of(workspace)

    def are_enough(self, instants: int) -> bool:
        """Whether enough instants fell into the work: on a machine that has just become faster few do."""
        return sum(self.killed.values()) > instants // 4

    def disaster(self) -> None:
        step = self.rng.choice(["build", "build", "rollback", "gc", "export"])
        arguments, generations = self.arguments(step)
        instant = self.rng.uniform(0, 1.1) * self.usual[step]
        self.proxy.weather = Weather.storm(0.3)
        report = self.machine.run(Order(step=step, workspace=self.workspace, arguments=arguments, kill_after=instant))
        self.proxy.weather = Weather()
        self.killed[step] = self.killed.get(step, 0) + report.killed
        left = state_of(self.workspace)
        assert self.state.version <= left.version <= self.state.version + 1, (step, self.state, left)
        assert left.generation in generations, (step, self.state, left)
        if not report.killed:
            assert report.result is not None or (report.ours and report.remedy), report
            self.usual[step] = (self.usual[step] + report.seconds) / 2
        report = self.machine.run(order(self.upstream, self.workspace))
        assert report.result is not None, report
        self.state = state_of(self.workspace)
        assert self.state.generation == self.upstream.generation

    def arguments(self, step: str) -> tuple[dict[str, Any], set[int | None]]:
        """Of the step, and the generations that may be the current one when it has died."""
        before = self.state.generation
        match step:
            case "build":
                self.upstream.become(self.upstream.generation + 1)
                return {"spec": self.upstream.spec()}, {before, self.upstream.generation}
            case "rollback":
                number = self.rng.randint(max(1, self.state.version - 4), self.state.version)
                place = open_workspace(self.workspace)
                target = read_commit(place, NAME, number)
                assert target is not None
                return {"version": number}, {before, generation_in(place, target)}
            case "gc":
                return {"days_later": 30.0}, {before}
            case _:
                return {"target": f"{self.workspace}-export/{uuid4().hex}"}, {before}


def assert_tidy(machine: Machine, workspace: str) -> None:
    """After garbage collection there are the kept versions and nothing of the dead, and all of it is what the commits say."""
    assert machine.run(Order(step="gc", workspace=workspace, arguments={"days_later": 30.0})).result is not None
    place = open_workspace(workspace)
    newest = latest(place, NAME)
    assert newest is not None
    assert len(place.children(f"{NAME}/_versions")) <= newest.keep_snapshots
    assert list(place.list(f"{NAME}/_inflight")) == []
    assert verify(place, NAME).findings == []


def test_snapshots_on_an_object_store(upstream: Upstream, machine: Machine, workspace: str) -> None:
    """Unchanged files are copied within the store, older versions come back, garbage goes, and damage is found."""
    for generation in range(3):
        upstream.become(generation)
        spec = upstream.spec() | {"storage": {"keep_snapshots": 2}}
        assert machine.run(Order(step="build", workspace=workspace, arguments={"spec": spec})).result is not None
    place = open_workspace(workspace)
    newest = latest(place, NAME)
    assert newest is not None
    assert (newest.reuse.files_linked, newest.reuse.files_written) == (1, 1), "June has not changed"
    assert machine.run(Order(step="rollback", workspace=workspace, arguments={"version": 2})).result == {"version": 4}
    assert state_of(workspace) == State(4, 1)
    assert_tidy(machine, workspace)
    assert len(place.children(f"{NAME}/_versions")) == 2
    assert [(entry.number, entry.is_kept) for entry in snapshots(place, NAME)] == [(4, True), (3, True), (2, True), (1, False)]
    victims = [entry.key for entry in place.list(f"{NAME}/_versions") if entry.key.endswith(".parquet")]
    data = place.read(victims[0])
    assert data is not None
    place.write(victims[0], data[:-100] + b"\0" * 100)
    place.delete(victims[1])
    assert {(finding.kind, finding.path) for finding in verify(place, NAME).findings} == {("changed", victims[0]), ("missing", victims[1])}


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
