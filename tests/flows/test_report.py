"""What a run leaves for people, and that none of it can change how the run ends."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.runtime import flow_run

from rasterloom.access.versions.commits import latest
from rasterloom.access.versions.looks import freshness_of, read_look
from rasterloom.access.versions.verify import verify
from rasterloom.access.workspace.place import open_workspace
from rasterloom.errors import Refused
from rasterloom.flows.progress import Progress, also, listening, share, tell
from rasterloom.flows.run import run
from rasterloom.flows.runpage import EVERY, FIRST_AFTER, RunPage
from rasterloom.specs.model import CollectionSpec
from tests.flows.archive import Archive, opened
from tests.servers import Status

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture(scope="module")
def archive() -> Iterator[Archive]:
    with opened(44) as made:
        yield made


@pytest.fixture
def workspace(tmp_path: Path) -> str:
    return str(tmp_path / "workspace")


def artifact(key: str) -> Any:
    """The newest of that key."""
    wanted = ArtifactFilter(key=ArtifactFilterKey(any_=[key]))
    with get_client(sync_client=True) as client:
        return max(client.read_artifacts(artifact_filter=wanted), key=lambda each: each.created)


def named(archive: Archive, name: str, **more: Any) -> CollectionSpec:
    return archive.spec(name=name, **more)


def test_a_run_leaves_its_report_in_prefect_and_beside_the_snapshot(archive: Archive, workspace: str) -> None:
    spec = named(archive, "first")
    run(spec, workspace=workspace)
    text = str(artifact("first-collection").data)
    assert "**built**: the workspace has no collection named first" in text
    assert "| scenes | 44 |" in text
    pictures = [base64.b64decode(data).decode() for data in re.findall(r"\(data:image/svg\+xml;base64,([^)]*)\)", text)]
    assert [re.findall("<title>(.*?)</title>", picture)[0].split()[0] for picture in pictures] == ["Map", "Scenes"]
    page = Path(workspace, "first", "_reports", "00000000000000000001.html")
    assert "the workspace has no collection named first" in page.read_text("utf-8")
    assert not verify(open_workspace(workspace), "first").findings


def test_a_reused_run_says_so_without_pictures_and_leaves_a_mark(archive: Archive, workspace: str) -> None:
    spec, place = named(archive, "again"), open_workspace(workspace)
    run(spec, workspace=workspace)
    assert read_look(place, "again").looked is None
    page = Path(workspace, "again", "_reports", "00000000000000000001.html")
    page.unlink()
    before = datetime.now(UTC)
    run(spec, workspace=workspace)
    text = str(artifact("again-collection").data)
    assert "**unchanged**" in text
    assert "data:image" not in text
    assert "| requests |" not in text, "those of another run"
    assert artifact("again-collection").description == "unchanged: snapshot 1, scenes 44, failed 0"
    looked = read_look(place, "again").looked
    assert looked is not None
    assert looked >= before
    assert page.exists(), "a page that was missing is made"
    stamp = page.stat().st_mtime_ns
    run(spec, workspace=workspace)
    assert page.stat().st_mtime_ns == stamp
    assert not verify(place, "again").findings


def test_no_report_is_worth_a_build(archive: Archive, workspace: str, caplog: pytest.LogCaptureFixture) -> None:
    home = Path(workspace, "broken")
    home.mkdir(parents=True)
    (home / "_reports").write_text("in the way")
    assert len(run(named(archive, "broken"), workspace=workspace)) == 44
    assert "broken: the report is not complete" in caplog.text
    assert "| scenes | 44 |" in str(artifact("broken-collection").data)


def test_a_stale_collection_is_built_and_says_so(archive: Archive, workspace: str, caplog: pytest.LogCaptureFixture) -> None:
    spec = named(archive, "stale", dates="2024-06-01/..", freshness={"warn_after": "P3D", "error_after": "P7D"})
    run(spec, workspace=workspace)
    text = str(artifact("stale-collection").data)
    assert "**error**" in text
    assert "the source has nothing newer" in text
    assert "stale: error: the newest scene is of 2024-07-14" in caplog.text


def test_a_failed_run_is_remembered_where_a_collection_stands(archive: Archive, workspace: str) -> None:
    limits = {"warn_after": "P3D"}
    place = open_workspace(workspace)
    archive.files.faults["*"] = Status(404)
    try:
        with pytest.raises(Refused):
            run(named(archive, "fails"), workspace=workspace)
        assert not Path(workspace, "fails", "_looked.json").exists(), "there is no collection"
        archive.files.faults.clear()
        run(named(archive, "fails", dates="2024-06-01/..", freshness=limits), workspace=workspace)
        archive.files.faults["*"] = Status(404)
        with pytest.raises(Refused):
            run(named(archive, "fails", dates="2024-06-01/..", freshness=limits), workspace=workspace, force=True)
    finally:
        archive.files.faults.clear()
    entry = latest(place, "fails")
    assert entry is not None
    assert entry.version == 1
    found = freshness_of(place, "fails", entry, now=datetime.now(UTC) + timedelta(seconds=1))
    assert found is not None
    assert (found.state, found.cause) == ("warn", "pipeline")
    assert "failed" in found.message


# --- the bar -----------------------------------------------------------------------------------------------------------------------


def progress(**more: Any) -> Progress:
    values = {"collection": "bar", "stage": "gathering", "action": "build", "reason": "so", "shards": 2}
    return Progress(**(values | more))


def test_a_short_run_has_no_bar_and_a_long_one_has_one_that_never_goes_back() -> None:
    now = [0.0]

    @flow
    def building(until: float) -> str:
        page = RunPage(clock=lambda: now[0])
        seen: list[float] = []
        for second in range(int(until)):
            now[0] += 1
            found = min(second, 8)
            page(progress(shards_done=min(second, 2), batches=found, batches_done=max(0, found - 3)))
            if second >= FIRST_AFTER + EVERY:
                seen.append(float(artifact("bar-progress").data))
        page(progress(stage="done"))
        assert seen == sorted(seen)
        return str(flow_run.id)

    building(FIRST_AFTER - 1)
    with get_client(sync_client=True) as client:
        assert not [each for each in client.read_artifacts() if each.key == "bar-progress"]
    last = building(30)
    found = artifact("bar-progress")
    assert float(found.data) == 100.0
    assert found.flow_run_id == UUID(last)
    assert found.description.startswith("done: ")


def test_the_share_grows_from_nothing_to_all() -> None:
    steps = [
        progress(stage="decided"),
        progress(shards_done=1, batches=1),
        progress(shards_done=2, batches=3, batches_done=1),
        progress(shards_done=2, batches=3, batches_done=3, stage="publishing"),
        progress(stage="done"),
    ]
    shares = [share(each) for each in steps]
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert shares[-2] < shares[-1] == 1


def test_who_listens_already_is_told_first() -> None:
    told: list[str] = []
    with listening(lambda _: told.append("first")):
        with also(lambda _: told.append("second")):
            tell(progress())
        tell(progress())
    with also(lambda _: told.append("alone")):
        tell(progress())
    assert told == ["first", "second", "first", "alone"]
