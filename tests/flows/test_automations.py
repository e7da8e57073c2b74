"""Automations on a real server: a collection that is built after another, people who are told, and runs that do not come."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import get_client
from prefect.events.actions import DoNothing, PauseDeployment, RunDeployment
from prefect.events.schemas.automations import Automation, AutomationCore

from rasterloom.access.collection import load
from rasterloom.flows.automations import automations_of, source_of
from rasterloom.flows.deploy import Deployed, deploy
from rasterloom.specs.loader import spec_from
from rasterloom.specs.model import CollectionSpec
from tests.flows import test_server
from tests.flows.archive import Archive, opened
from tests.flows.services import Services
from tests.flows.test_server import POOL
from tests.waiting import until

server_and_worker = test_server.server_and_worker
prefect = test_server.prefect
PART = {"version": 1, "name": "part", "collection": {"uri": "whole"}, "bbox": [9.0, 44.0, 9.1, 46.0]}


# --- what is wanted ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "workspace", "found"),
    [
        ({"uri": "whole"}, None, "whole"),
        ({"uri": "whole", "snapshot": 3}, None, None),
        ({"uri": "s3://bucket/ws/whole"}, "s3://bucket/ws/", "whole"),
        ({"uri": "s3://bucket/other/whole"}, "s3://bucket/ws", None),
        ({"uri": "/data/ws/whole/"}, "/data/ws", "whole"),
        ({"uri": "/data/ws/whole/_versions/x"}, "/data/ws", None),
        ({"uri": "part"}, None, None),
    ],
)
def test_a_collection_of_the_same_workspace_is_a_source(source: dict[str, Any], workspace: str | None, found: str | None) -> None:
    spec = spec_from(PART | {"collection": source})
    assert source_of(spec, workspace) == found


def test_what_is_complete_is_not_watched() -> None:
    base = {"name": "a", "dataset": "earthsearch/sentinel-2-l2a", "freshness": {"warn_after": "P3D", "error_after": "P1M"}}
    assert automations_of(spec_from(base | {"dates": "2024"}), "") == []
    warn, error = automations_of(spec_from(base | {"dates": "2024-01-01/.."}), "")
    assert [each.name for each in (warn, error)] == ["a: no run for P3D (warn)", "a: no run for P1M (error)"]
    assert [each.trigger.within.days for each in (warn, error)] == [3, 31]


# --- on a server -------------------------------------------------------------------------------------------------------------------


def whole(archive: Archive, **more: Any) -> CollectionSpec:
    return archive.spec(name="whole", dates="2024-06-01/..", **more)


def events(prefect: Services, name: str) -> list[dict[str, Any]]:
    return prefect.post("/events/filter", {"filter": {"event": {"name": [name]}}, "limit": 50})["events"]


def of(found: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """Those about one collection."""
    return [each for each in found if each["resource"]["prefect.resource.id"] == f"rasterloom.collection.{name}"]


def started(prefect: Services, deployed: Deployed, **parameters: Any) -> str:
    return prefect.ended(prefect.run(deployed.name, **parameters))


def automations(prefect: Services) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in prefect.post("/automations/filter", {})}


@pytest.mark.slow
def test_a_collection_is_built_after_the_one_that_it_comes_from(prefect: Services) -> None:
    with opened(20) as archive:
        specs = [whole(archive), spec_from(PART)]
        first = deploy(specs, work_pool=POOL, label="chain")
        assert [(each.name, each.change) for each in first][-1] == ("automation/part after whole", "created")
        again = deploy(specs, work_pool=POOL, label="chain")
        assert {each.change for each in again} == {"unchanged"}

        assert started(prefect, first[0]) == "COMPLETED"
        until(lambda: Path(prefect.workspace, "part", "_latest.json").exists())
        assert len(load("part", workspace=str(prefect.workspace))) == 11
        event = until(lambda: of(events(prefect, "rasterloom.collection.committed"), "whole"))[0]
        said = {name: event["payload"][name] for name in ("snapshot", "scenes", "new", "failed", "action")}
        assert said == {"snapshot": 1, "scenes": 20, "new": 20, "failed": 0, "action": "build"}

        strict = {**specs[0].model_dump(mode="json", exclude_none=True), "checks": [{"rows": {"min": 1000}}]}
        assert started(prefect, first[0], spec=strict) == "FAILED"
        (refused,) = until(lambda: of(events(prefect, "rasterloom.collection.refused"), "whole"))
        assert "1000" in refused["payload"]["reason"]

        left = deploy(specs[:1], work_pool=POOL, label="chain", prune=True, dry_run=True)
        assert ("automation/part after whole", "removed") in [(each.name, each.change) for each in left]
        assert "part after whole" in automations(prefect)
        deploy(specs[:1], work_pool=POOL, label="chain", prune=True)
        assert "part after whole" not in automations(prefect)


def edited(found: Automation, action: Any) -> AutomationCore:
    """As the UI sends it."""
    return AutomationCore.model_validate(found.model_dump(exclude={"id", "owner_resource"}) | {"enabled": False, "actions": [action]})


@pytest.mark.slow
def test_what_its_owner_made_of_an_automation_is_kept(prefect: Services) -> None:
    limits = {"warn_after": "P3D"}
    with opened(1) as archive, get_client(sync_client=True) as client:
        specs = [whole(archive, freshness=limits), spec_from(PART)]
        deployed = deploy(specs, work_pool=POOL)
        (watch,) = client.read_automations_by_name("whole: no run for P3D (warn)")
        (after,) = client.read_automations_by_name("part after whole")
        mine = PauseDeployment(type="pause-deployment", source="selected", deployment_id=deployed[0].id)
        client.update_automation(watch.id, edited(watch, mine))
        client.update_automation(after.id, edited(after, DoNothing(type="do-nothing")))
        changes = {each.name: each.change for each in deploy(specs, work_pool=POOL)}
        assert changes["automation/whole: no run for P3D (warn)"] == "unchanged"
        assert changes["automation/part after whole"] == "changed", "whom it runs is ours to say"
        (after,) = client.read_automations_by_name("part after whole")
        assert (after.enabled, [type(each) for each in after.actions]) == (False, [RunDeployment])
        (watch,) = client.read_automations_by_name("whole: no run for P3D (warn)")
        assert watch.actions == [mine]
        deploy([whole(archive), spec_from(PART)], work_pool=POOL)
        assert not client.read_automations_by_name("whole: no run for P3D (warn)")


@contextmanager
def hook() -> Iterator[tuple[str, list[Any]]]:
    """A chat, as far as a notification sees it."""
    told: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", told
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.slow
def test_people_are_told_of_stale_collections_and_a_watch_of_runs_that_do_not_come(prefect: Services, root: Path) -> None:
    """The example of the documentation, run as it stands there."""
    with opened(3) as archive, hook() as (url, told):
        CustomWebhookNotificationBlock(name="chat", url=url, method="POST", json_data={"subject": "{{subject}}", "text": "{{body}}"}).save(
            "chat", overwrite=True
        )
        for _ in range(2):
            subprocess.run(
                [sys.executable, root / "docs/examples/notify.py", "custom-webhook/chat"],
                check=True,
                env=os.environ | {"PREFECT_API_URL": prefect.url},
            )
        assert sum(name == "rasterloom: tell people" for name in automations(prefect)) == 1

        spec = archive.spec(name="old", dates="2024-06-01/..", freshness={"warn_after": "10s"})
        deployed = deploy([spec], work_pool=POOL)
        assert started(prefect, deployed[0]) == "COMPLETED"
        message = until(lambda: next((each for each in told if each["subject"] == "old"), None))
        assert "rasterloom.collection.stale" in message["text"]
        assert "the source has nothing newer" in message["text"]
        until(lambda: [each for each in events(prefect, "prefect.automation.triggered") if "old: no run for" in str(each)])
