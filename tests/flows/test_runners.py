"""The same build on threads, on processes and on Dask and Ray clusters: one collection, also where a worker is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from prefect.settings import PREFECT_API_URL

import rasterloom
from rasterloom.errors import SpecError, Unavailable
from rasterloom.flows.progress import Progress
from rasterloom.flows.run import run
from rasterloom.flows.runners import check_runner
from rasterloom.specs.effort import Effort
from tests.flows.archive import Archive, opened
from tests.servers import Acting
from tests.waiting import until

SCENES = 600
"""Enough for several batches of headers."""


@pytest.fixture(scope="module")
def archive() -> Iterator[Archive]:
    with opened(SCENES, latency=0.01) as made:
        yield made


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Two Dask worker processes; of each test its own, for a killed one comes back some time later."""
    distributed = pytest.importorskip("distributed")
    pytest.importorskip("prefect_dask")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=None) as made:
        yield made


@pytest.fixture(scope="module")
def on_threads(prefect_server: None, archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    return rows(run(archive.spec(), workspace=str(tmp_path_factory.mktemp("threads"))))


def rows(collection: rasterloom.Collection) -> pa.Table:
    return collection.to_table().sort_by("id")


def built(archive: Archive, workspace: Path, **more: Any) -> tuple[pa.Table, Progress]:
    told: list[Progress] = []
    collection = run(archive.spec(**more), workspace=str(workspace), on_progress=told.append)
    return rows(collection), told[-1]


@pytest.mark.slow
def test_dask_gives_the_same_collection_with_the_same_requests(
    on_threads: pa.Table, archive: Archive, cluster: Any, tmp_path: Path
) -> None:
    found, progress = built(archive, tmp_path, run={"runner": "dask", "address": cluster.scheduler_address})
    assert found.equals(on_threads)
    assert progress.header_requests == 2 * SCENES


@pytest.mark.slow
def test_processes_give_the_same_collection_with_the_same_requests(on_threads: pa.Table, archive: Archive, tmp_path: Path) -> None:
    found, progress = built(archive, tmp_path, run={"runner": "processes"})
    assert found.equals(on_threads)
    assert progress.header_requests == 2 * SCENES


@pytest.mark.slow
def test_ray_gives_the_same_collection_with_the_same_requests(on_threads: pa.Table, archive: Archive, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    pytest.importorskip("prefect_ray")
    found, progress = built(archive, tmp_path, run={"runner": "ray"})
    assert found.equals(on_threads)
    assert progress.header_requests == 2 * SCENES


@pytest.mark.slow
def test_a_dask_worker_that_is_killed_is_done_without(on_threads: pa.Table, archive: Archive, cluster: Any, tmp_path: Path) -> None:
    with cluster.get_client() as client:
        pids = list(client.run(os.getpid).values())
    with killing(archive, 200, lambda: pids[0]):
        found, _ = built(archive, tmp_path, run={"runner": "dask", "address": cluster.scheduler_address}, build={"max_concurrent": 20})
    assert found.equals(on_threads)


@pytest.mark.slow
def test_a_ray_worker_that_is_killed_is_done_without(on_threads: pa.Table, archive: Archive, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    pytest.importorskip("prefect_ray")
    with killing(archive, 200, ray_worker):
        found, _ = built(archive, tmp_path, run={"runner": "ray"}, build={"max_concurrent": 4})
    assert found.equals(on_threads)


@pytest.mark.slow
def test_a_process_that_is_killed_ends_the_run_and_the_next_one_goes_on(on_threads: pa.Table, archive: Archive, tmp_path: Path) -> None:
    spec: dict[str, Any] = {"run": {"runner": "processes"}, "build": {"max_concurrent": 4}}
    others = spawned()
    with killing(archive, 400, lambda: max(spawned() - others)), pytest.raises(Unavailable, match="worker process is gone"):
        built(archive, tmp_path, **spec)
    assert rasterloom.Collection.list_collections(str(tmp_path)) == []
    found, progress = built(archive, tmp_path, **spec)
    assert found.equals(on_threads)
    assert progress.remembered > 0


@contextmanager
def killing(archive: Archive, at: int, found: Callable[[], int]) -> Generator[None]:
    """SIGKILL to the process that is found when so many files have been asked for in the block: one of a build in the middle."""
    killed: list[int] = []

    def kill() -> None:
        killed.append(found())
        os.kill(killed[0], signal.SIGKILL)

    archive.files.faults["*"] = Acting(at, kill)
    try:
        yield
    finally:
        archive.files.faults.clear()
    assert killed


def spawned() -> set[int]:
    """Processes that this one has spawned with multiprocessing."""
    listed = subprocess.run(["ps", "-ww", "-o", "pid=,args=", "--ppid", str(os.getpid())], capture_output=True, text=True).stdout
    return {int(line.split()[0]) for line in listed.splitlines() if "spawn_main" in line}


OTHERS = ("IDLE", "Agent")
"""In titles of Ray's processes that run no task."""


def ray_worker() -> int:
    """A process of this one's Ray that runs a task."""
    return until(lambda: next((pid for pid, title in titles() if title.startswith("ray::") and not any(o in title for o in OTHERS)), None))


def titles() -> Iterator[tuple[int, str]]:
    """Of all processes below this one; they come and go."""
    psutil = pytest.importorskip("psutil")
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            yield process.pid, " ".join(process.cmdline())


UNGUARDED = """
import json, sys
import rasterloom
rasterloom.run(json.loads(sys.argv[1]), workspace=sys.argv[2])
"""


@pytest.mark.slow
def test_a_script_without_a_guard_is_told_to_have_one(prefect_server: None, archive: Archive, tmp_path: Path) -> None:
    script = tmp_path / "unguarded.py"
    script.write_text(UNGUARDED)
    spec = archive.spec(run={"runner": "processes"}).model_dump_json(exclude_none=True)
    env = os.environ | {"PREFECT_API_URL": PREFECT_API_URL.value() or ""}
    done = subprocess.run([sys.executable, str(script), spec, str(tmp_path / "w")], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode != 0
    assert 'if __name__ == "__main__":' in done.stderr


@pytest.mark.parametrize(("runner", "module"), [("dask", "prefect_dask"), ("ray", "prefect_ray"), ("ray", "ray")])
def test_a_runner_that_is_not_installed_is_told_with_what_installs_it(runner: Any, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # what Python itself takes for "there is none"
    with pytest.raises(SpecError, match=module) as caught:
        check_runner(Effort(runner=runner))
    assert caught.value.remedy == f'pip install "rasterloom[{runner}]"'


@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_unavailable(
    prefect_server: None, archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dask = pytest.importorskip("dask")
    pytest.importorskip("prefect_dask")
    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}), pytest.raises(Unavailable, match=r"127\.0\.0\.1:9 ") as caught:
        built(archive, tmp_path, run={"runner": "dask", "address": "tcp://127.0.0.1:9"})
    assert "run.address" in caught.value.remedy
