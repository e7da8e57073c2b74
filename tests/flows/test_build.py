"""Whole builds against local servers: what is in the collection, and what it cost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.settings import PREFECT_API_URL

import rasterloom
from rasterloom.errors import AccessDenied, RasterloomError, Refused, SpecError, Unavailable
from rasterloom.flows.compile import compile
from rasterloom.flows.progress import Progress
from rasterloom.flows.run import run
from rasterloom.specs.model import CollectionSpec
from tests.flows.archive import Archive, opened
from tests.flows.places import places_with
from tests.servers import Hang, Status, free_port

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def archive() -> Iterator[Archive]:
    with opened(44) as made:
        yield made


@pytest.fixture
def large() -> Iterator[Archive]:
    """Enough for several header batches, whatever the smallest one is (`rasterloom.access.cache.staging`)."""
    with opened(1000) as made:
        yield made


@pytest.fixture
def workspace(tmp_path: Path) -> str:
    return str(tmp_path / "workspace")


def built(spec: CollectionSpec, workspace: str, *, force: bool = False) -> tuple[Any, Progress]:
    told: list[Progress] = []
    collection = run(spec, workspace=workspace, force=force, on_progress=told.append)
    return collection, told[-1]


SCRIPT = """
import json, sys
from dataclasses import asdict
from rasterloom.flows.run import run
told = []
collection = run(json.loads(sys.argv[1]), workspace=sys.argv[2], on_progress=told.append)
print(json.dumps({"rows": len(collection), **asdict(told[-1])}))
"""


def start_process(spec: CollectionSpec, workspace: str) -> subprocess.Popen[str]:
    """`run` in a process of its own, on the server of these tests."""
    mapping = json.dumps(spec.model_dump(mode="json", exclude_none=True))
    env = os.environ | {"PREFECT_API_URL": PREFECT_API_URL.value() or ""}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, mapping, workspace], env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def in_another_process(spec: CollectionSpec, workspace: str) -> dict[str, Any]:
    process = start_process(spec, workspace)
    out, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    return json.loads(out)


def forget_commits(workspace: str) -> None:
    """Leave only what is staged, as after a run that died before its commit."""
    for path in sorted(Path(workspace, "small").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


# --- the main line -------------------------------------------------------------------------------------------------------------------


def test_a_build_finds_every_scene_and_asks_once_for_every_file(archive: Archive, workspace: str) -> None:
    collection, last = built(archive.spec(), workspace)
    assert len(collection) == archive.scenes
    assert collection.bands == ["B02", "B03"]
    assert set(archive.requested().values()) == {1}
    assert len(archive.requested()) == archive.scenes * 2
    assert (last.stage, last.action, last.scenes, last.headers, last.failures) == ("done", "build", 44, 88, 0)
    assert last.header_requests == 88
    assert last.search_requests == len(archive.stac.log), "the landing page, and the pages of the search"


def test_copies_are_made_after_the_commit_and_not_again(archive: Archive, workspace: str, tmp_path: Path) -> None:
    wanted = [{"to": str(tmp_path / "plain")}, {"to": str(tmp_path / "items"), "format": "stac-geoparquet"}]
    spec = archive.spec(export=wanted)
    collection, _ = built(spec, workspace)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/**/*.parquet") if not path.is_relative_to(workspace)}
    assert len(rasterloom.load(tmp_path / "plain")) == len(collection) == 44
    assert {path.relative_to(tmp_path).parts[0] for path in stamps} == {"plain", "items"}
    assert built(spec, workspace)[1].action == "reuse"
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps


def test_a_place_that_is_taken_is_told_before_anything_is_asked(archive: Archive, workspace: str, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear diary")
    with pytest.raises(SpecError, match="no export of small"):
        built(archive.spec(export=[{"to": str(tmp_path / "mine")}]), workspace)
    assert not archive.stac.log


def test_progress_only_grows_and_ends_done(large: Archive, workspace: str) -> None:
    told: list[Progress] = []
    run(large.spec(), workspace=workspace, on_progress=told.append)
    assert told[0].stage == "decided"
    assert told[-1].stage == "done"
    assert [each.batches_done for each in told] == sorted(each.batches_done for each in told)
    assert told[-1].batches_done == told[-1].batches >= 2


def test_a_second_run_asks_nobody_for_anything(archive: Archive, workspace: str) -> None:
    first, _ = built(archive.spec(), workspace)
    pages, files = len(archive.stac.log), len(archive.files.log)
    second, last = built(archive.spec(), workspace)
    assert (len(archive.stac.log), len(archive.files.log)) == (pages, files)
    assert last.action == "reuse"
    assert second.uri == first.uri


def test_force_asks_for_everything_again(archive: Archive, workspace: str) -> None:
    built(archive.spec(), workspace)
    _, last = built(archive.spec(), workspace, force=True)
    assert (last.remembered, last.header_requests) == (0, 88)
    assert set(archive.requested().values()) == {2}


@pytest.mark.parametrize(
    ("change", "rows", "action"),
    [
        ({"bbox": [9.0, 44.0, 9.095, 46.0]}, 10, "derive"),
        ({"bbox": [8.0, 44.0, 12.0, 46.0]}, 44, "extend"),
        ({"bbox": [9.2, 44.0, 13.0, 46.0]}, 25, "rebuild"),
        ({"dates": "2024-06"}, 30, "derive"),
        ({"query": {"eo:cloud_cover": {"lt": 20}}}, 20, "derive"),
        ({"band_map": {"B02": "blue"}}, 44, "derive"),
    ],
    ids=["smaller bbox", "larger bbox", "moved bbox", "dates", "query", "band_map"],
)
def test_another_question_under_the_same_name_is_another_collection(
    archive: Archive, workspace: str, change: dict[str, Any], rows: int, action: str
) -> None:
    built(archive.spec(), workspace)
    asked = len(archive.stac.log) + len(archive.files.log)
    collection, last = built(archive.spec(**change), workspace)
    assert last.action == action
    assert len(collection) == rows
    assert (len(archive.stac.log) + len(archive.files.log) == asked) is (action == "derive")
    assert collection.bands == list(change.get("band_map", {"B02": "", "B03": ""}))


def test_another_endpoint_under_the_same_name_is_another_collection(archive: Archive, workspace: str) -> None:
    built(archive.spec(), workspace)
    with opened(7) as other:
        collection, last = built(other.spec(), workspace)
    assert (last.action, len(collection)) == ("rebuild", 7)


# --- what is remembered --------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_another_process_finds_the_tasks_cached(archive: Archive, workspace: str) -> None:
    _, first = built(archive.spec(), workspace)
    forget_commits(workspace)
    before = len(archive.stac.searches), len(archive.files.log)
    second = in_another_process(archive.spec(), workspace)
    assert second["rows"] == 44
    assert second["remembered"] == first.shards + first.batches
    assert (second["search_requests"], second["header_requests"]) == (0, 0)
    assert (len(archive.stac.searches), len(archive.files.log)) == before


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(b"PAR1 nonsense PAR1")], ids=["removed", "changed"])
def test_a_batch_whose_records_are_gone_or_changed_is_made_again_of_remembered_headers(large: Archive, workspace: str, harm: Any) -> None:
    _, first = built(large.spec(), workspace)
    forget_commits(workspace)
    harmed = sorted(Path(workspace).glob("_cache/records/*.parquet"))[0]
    harm(harmed)
    collection, last = built(large.spec(), workspace)
    assert len(collection) == large.scenes
    assert last.remembered == first.shards + first.batches
    assert last.header_requests == 0
    assert last.search_requests == 0


def test_an_open_window_is_searched_again_and_its_headers_are_not(archive: Archive, workspace: str) -> None:
    spec = archive.spec(dates="2024-06-01/..")
    built(spec, workspace)
    pages = len(archive.stac.searches)
    _, last = built(spec, workspace)
    assert last.action == "refresh"
    assert 0 < last.search_requests < pages
    assert last.header_requests == 0


@pytest.mark.slow
def test_a_killed_run_resumes_without_reading_finished_batches_again(large: Archive, workspace: str) -> None:
    last_scene = large.scenes - 1
    large.files.faults[f"/scene-{last_scene:04d}/blue.tif"] = Hang(600)
    process = start_process(large.spec(), workspace)
    wait_until(lambda: len(finished(workspace)) >= 2, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    large.files.has_heard_all()
    done, before = finished(workspace), large.requested()
    large.files.faults.clear()
    collection, last = built(large.spec(), workspace)
    assert len(collection) == large.scenes
    assert last.shards + len(done) <= last.remembered < last.shards + last.batches
    assert sum(large.requested().values()) - sum(before.values()) == 2 * (large.scenes - sum(done.values()))
    assert last.search_requests == 0


def finished(workspace: str) -> dict[str, int]:
    """Batches that are whole: name of the reference, which is written last -> scenes."""
    return {path.name: json.loads(path.read_bytes())["rows"] for path in Path(workspace).glob("_cache/records/*.json")}


def wait_until(condition: Any, process: subprocess.Popen[str], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


# --- errors --------------------------------------------------------------------------------------------------------------------------


def last_run() -> Any:
    with get_client(sync_client=True) as client:
        return max(client.read_flow_runs(limit=200), key=lambda each: each.expected_start_time)


def test_an_endpoint_that_is_down_is_unavailable(archive: Archive, workspace: str) -> None:
    spec = archive.spec(stac={"url": f"http://127.0.0.1:{free_port()}", "collection": "s2"}, build={"retries": 0})
    with pytest.raises(Unavailable):
        run(spec, workspace=workspace)
    state = last_run().state
    assert state.is_failed()
    assert "Unavailable" in state.message


def test_files_that_fail_stand_in_the_failures_and_the_others_are_built(archive: Archive, workspace: str) -> None:
    archive.files.faults["/scene-0003/blue.tif"] = Status(404)
    collection, last = built(archive.spec(), workspace)
    assert len(collection) == 44
    assert last.failures == 1
    here = last_run().id
    with get_client(sync_client=True) as client:
        artifacts = {each.key: str(each.data) for each in client.read_artifacts(limit=200) if each.flow_run_id == here}
    assert set(artifacts) == {"small-collection"}
    assert "| scene-0003 | B02 | missing |" in artifacts["small-collection"]


def test_over_budget_nothing_is_committed(archive: Archive, workspace: str) -> None:
    first, _ = built(archive.spec(dates="2024-06"), workspace)
    archive.files.faults["*"] = Status(404)
    with pytest.raises(Refused):
        run(archive.spec(dates=["2024-06-01", "2024-07-01"]), workspace=workspace, force=True)
    again, last = built(archive.spec(dates="2024-06"), workspace)
    assert (last.action, again.uri) == ("reuse", first.uri)


@pytest.mark.parametrize("documents", [0, 2])
def test_run_takes_one_spec(tmp_path: Path, archive: Archive, documents: int) -> None:
    path = tmp_path / "specs.yaml"
    one = "version: 1\nname: n{}\ndataset: earthsearch/sentinel-2-l2a\nbbox: [1, 2, 3, 4]\ndates: '2024'\n"
    path.write_text("---\n".join(one.format(number) for number in range(documents)))
    with pytest.raises(SpecError):
        run(path)


# --- secrets -------------------------------------------------------------------------------------------------------------------------

SECRET = "tok-0123456789-planted"


def test_a_secret_reaches_its_server_and_nothing_else(archive: Archive, workspace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAC_TOKEN", SECRET)
    archive.stac.bearer = SECRET
    headers = {"Authorization": "Bearer ${STAC_TOKEN}"}
    spec = archive.spec(stac={"url": archive.stac.url, "collection": "s2", "headers": headers})
    collection, _ = built(spec, workspace)
    assert len(collection) == 44
    assert not places_with(SECRET, workspace)
    assert any(".db" in place for place in places_with("${STAC_TOKEN}", workspace)), "the database was not looked at"


def test_a_refused_secret_is_access_denied_and_named_nowhere(archive: Archive, workspace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAC_TOKEN", SECRET)
    archive.stac.bearer = "another"
    headers = {"Authorization": "Bearer ${STAC_TOKEN}"}
    spec = archive.spec(stac={"url": archive.stac.url, "collection": "s2", "headers": headers}, build={"retries": 0})
    with pytest.raises(AccessDenied) as caught:
        run(spec, workspace=workspace)
    assert SECRET not in str(caught.value)
    assert not places_with(SECRET, workspace)


# --- the flow ------------------------------------------------------------------------------------------------------------------------


def test_a_compiled_spec_is_a_flow_of_that_name(archive: Archive, workspace: str) -> None:
    flow = compile(archive.spec())
    assert flow.name == "small"
    assert flow.description
    outcome = flow(workspace=workspace)
    assert json.loads(json.dumps(outcome))["decision"]["action"] == "build"
    assert outcome["collection"]["rows"] == 44
    found = last_run()
    assert found.state.is_completed()
    assert found.parameters["spec"]["name"] == "small"
    with get_client(sync_client=True) as client:
        (again,) = client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[found.id])))
    assert again.name == "small"


def test_a_compiled_flow_takes_another_spec_and_checks_it(archive: Archive, workspace: str) -> None:
    flow = compile(archive.spec())
    fewer = archive.spec(dates=["2024-06-01", "2024-06-10"]).model_dump(mode="json", exclude_none=True)
    assert flow(spec=fewer, workspace=workspace)["collection"]["rows"] == 10
    assert flow(spec=archive.spec(dates=["2024-06-01", "2024-06-05"]), workspace=workspace)["collection"]["rows"] == 5
    with pytest.raises(SpecError, match="bbbox"):
        flow(spec=fewer | {"bbbox": [1, 2, 3, 4]}, workspace=workspace)


def test_our_errors_keep_their_class_and_remedy(archive: Archive, workspace: str) -> None:
    with pytest.raises(RasterloomError) as caught:
        run(archive.spec(checks=[{"rows": {"min": 1000}}]), workspace=workspace)
    assert isinstance(caught.value, Refused)
    assert caught.value.remedy
