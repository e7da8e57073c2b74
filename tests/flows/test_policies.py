"""What is remembered, what is read back, and what is tried again."""

from __future__ import annotations

import base64
import json
import lzma
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from prefect import flow, task
from prefect.results import get_default_result_storage
from prefect.task_runners import ThreadPoolTaskRunner

from rasterloom.access.building.job import Job
from rasterloom.access.cache.records import assemble
from rasterloom.access.cache.staging import write_batch, write_search
from rasterloom.access.values import BatchRef, Failure, ItemsRef, SearchRef, Traffic
from rasterloom.access.workspace.place import open_workspace
from rasterloom.errors import AccessDenied, SpecError, Unavailable, Unreadable
from rasterloom.specs.effort import AuthRef, Effort
from rasterloom.specs.loader import spec_from
from rasterloom.specs.plan import make_plan
from rasterloom.tasks.policies import UNAVAILABLE_ONLY, ArtifactRefSerializer, ContentKey, RecordRefused, references_only
from rasterloom.tasks.steps import index_digest, search_digest
from tests.access.building import BANDS, scene

SPEC = {"version": 1, "name": "keys", "dataset": "earthsearch/sentinel-2-l2a", "bbox": [-3.9, 40.3, -3.5, 40.6], "dates": "2024-06"}
ITEMS = ItemsRef(uri="items", sha256="0" * 64, scenes=2, assets=4)
DRAFT = BatchRef(uri="", sha256="", rows=2, headers=4, failures=(), traffic=Traffic(requests=4, bytes=65_536), first_range={"blue": 32_768})
SEARCH = SearchRef(
    uri="", batches=(), matched=0, received=0, kept=0, disagreeing=0, duplicates=0, failures=(), types={}, traffic=Traffic(requests=1)
)


def job(workspace: Path | str = "w", now: datetime = datetime(2026, 1, 1, tzinfo=UTC), **spec: Any) -> Job:
    value = spec_from(SPEC | spec)
    return Job(workspace=str(workspace), plan=make_plan(value, now=now), effort=Effort(), spec={}, run_id="r1")


def tried(effort: Effort) -> Job:
    return replace(job(), effort=effort, run_id="r2")


# --- keys --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "effort", [Effort(max_concurrent=7), Effort(force=True), Effort(auth=AuthRef(provider="aws", options=(("region", "x"),)))]
)
def test_keys_do_not_change_with_how_hard_we_try(effort: Effort) -> None:
    first, second = job(), tried(effort)
    shard = first.plan.shards[0]
    assert search_digest({"job": first, "shard": shard}) == search_digest({"job": second, "shard": shard})
    assert index_digest({"job": first, "items": ITEMS}) == index_digest({"job": second, "items": ITEMS, "first_range": {"blue": 1}})


@pytest.mark.parametrize(
    "other",
    [
        {"dates": "2024-07"},
        {"bbox": [0, 40, 1, 41]},
        {"query": {"eo:cloud_cover": {"lt": 5}}},
        {"dataset": "pc/sentinel-2-l2a"},
        {"bands": ["B02"]},
    ],
)
def test_keys_change_with_the_question(other: dict[str, Any]) -> None:
    first, second = job(), job(**other)
    assert search_digest({"job": first, "shard": first.plan.shards[0]}) != search_digest({"job": second, "shard": second.plan.shards[0]})


def test_keys_change_with_the_workspace_and_the_items() -> None:
    assert index_digest({"job": job("a"), "items": ITEMS}) != index_digest({"job": job("b"), "items": ITEMS})
    assert index_digest({"job": job(), "items": ITEMS}) != index_digest({"job": job(), "items": replace(ITEMS, sha256="1" * 64)})


def test_an_open_window_has_no_key() -> None:
    open_job = job(now=datetime(2024, 6, 15, tzinfo=UTC))
    inputs = {"job": open_job, "shard": open_job.plan.shards[-1]}
    assert not inputs["shard"].closed
    assert search_digest(inputs) is None
    assert ContentKey(namespace="search", digest=search_digest).compute_key(None, inputs, {}) is None  # pyright: ignore[reportArgumentType]


# --- records -----------------------------------------------------------------------------------------------------------------------


def staged(workspace: Path, draft: BatchRef = DRAFT) -> BatchRef:
    return write_batch(open_workspace(str(workspace)), ITEMS, assemble([scene(1), scene(2)], {}, BANDS), draft)


def records_file(workspace: Path) -> Path:
    (path,) = workspace.glob("_cache/records/*.parquet")
    return path


def test_a_reference_to_what_is_there_reads_back_equal(tmp_path: Path) -> None:
    serializer = ArtifactRefSerializer()
    batch = staged(tmp_path)
    search = write_search(open_workspace(str(tmp_path)), "_cache/searches/s.json", SEARCH)
    assert serializer.loads(serializer.dumps(batch)) == batch
    assert serializer.loads(serializer.dumps(search)) == search


def test_a_reference_to_what_is_gone_is_refused(tmp_path: Path) -> None:
    blob = ArtifactRefSerializer().dumps(staged(tmp_path))
    records_file(tmp_path).unlink()
    with pytest.raises(RecordRefused):
        ArtifactRefSerializer().loads(blob)


def test_a_reference_to_what_has_changed_is_refused(tmp_path: Path) -> None:
    blob = ArtifactRefSerializer().dumps(staged(tmp_path))
    path = records_file(tmp_path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    with pytest.raises(RecordRefused):
        ArtifactRefSerializer().loads(blob)


@pytest.mark.parametrize(("retryable", "hit"), [(True, False), (False, True)])
def test_a_batch_is_only_done_when_nothing_in_it_may_still_succeed(tmp_path: Path, retryable: bool, hit: bool) -> None:
    failure = Failure(stage="header", reason="timeout", message="slow", retryable=retryable)
    blob = ArtifactRefSerializer().dumps(staged(tmp_path, replace(DRAFT, failures=(failure,))))
    if hit:
        assert isinstance(ArtifactRefSerializer().loads(blob), BatchRef)
    else:
        with pytest.raises(RecordRefused):
            ArtifactRefSerializer().loads(blob)


def test_an_exception_is_recorded_without_its_secrets() -> None:
    blob = ArtifactRefSerializer().dumps(ValueError("GET https://a.example/x.tif?sig=abcdefgh failed"))
    assert b"abcdefgh" not in blob
    with pytest.raises(RecordRefused):
        ArtifactRefSerializer().loads(blob)


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def planted(kind: str, path: Path) -> dict[str, Any]:
    """A record as Prefect writes it, whose reading makes `path`."""
    pickled = base64.encodebytes(cloudpickle.dumps(Bomb(path)))
    squeezed = base64.encodebytes(lzma.compress(pickled)).decode()
    serializer, result = {
        "pickle": ({"type": "pickle"}, pickled.decode()),
        "compressed/pickle": ({"type": "compressed/pickle"}, squeezed),
        "compressed": ({"type": "compressed", "serializer": {"type": "pickle"}}, squeezed),
    }[kind]
    return {"metadata": {"storage_key": "planted", "serializer": serializer, "prefect_version": "3.9.1"}, "result": result}


@task(cache_policy=ContentKey(namespace="planted", digest=lambda inputs: inputs["key"]), result_serializer="json")
def plain(key: str) -> str:
    return "computed"


@task(cache_policy=ContentKey(namespace="planted", digest=lambda inputs: inputs["key"]), result_serializer=ArtifactRefSerializer())
def guarded(key: str) -> BatchRef:
    return DRAFT


@flow(task_runner=ThreadPoolTaskRunner(max_workers=1), persist_result=False)
def unguarded_flow(key: str) -> Any:
    return plain.submit(key).result()


@flow(task_runner=ThreadPoolTaskRunner(max_workers=1), persist_result=False)
def guarded_flow(key: str) -> Any:
    with references_only():
        return guarded.submit(key).result()


def plant(key: str, record: dict[str, Any]) -> None:
    storage = get_default_result_storage(_sync=True)
    path = Path(storage.basepath) / f"rasterloom/planted/v1/{key}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))


@pytest.mark.parametrize("kind", ["pickle", "compressed/pickle", "compressed"])
def test_a_planted_record_runs_its_code_in_a_plain_flow_and_not_in_ours(prefect_server: None, tmp_path: Path, kind: str) -> None:
    mark = tmp_path / "ran"
    key = kind.replace("/", "-")
    plant(f"plain-{key}", planted(kind, mark))
    unguarded_flow(f"plain-{key}")
    assert mark.exists(), "the record does nothing: this test could not fail"
    mark.unlink()
    plant(f"ours-{key}", planted(kind, mark))
    assert guarded_flow(f"ours-{key}") == DRAFT
    assert not mark.exists()


def test_other_flows_of_the_process_read_their_pickles(prefect_server: None) -> None:
    @task(cache_policy=ContentKey(namespace="theirs", digest=lambda _: "one"), result_serializer="pickle")
    def theirs() -> set[int]:
        calls.append(1)
        return {1, 2}

    @flow
    def mine() -> set[int]:
        return theirs()

    calls: list[int] = []
    guarded_flow("none")
    assert mine() == mine() == {1, 2}
    assert len(calls) == 1


# --- retries -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "calls"),
    [
        (Unavailable("down"), 3),
        (AccessDenied("no"), 1),
        (SpecError("wrong"), 1),
        (Unreadable("bad", reason="not-a-tiff"), 1),
        (ValueError("a bug"), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_only_what_was_unavailable_is_tried_again(prefect_server: None, error: Exception, calls: int) -> None:
    made: list[int] = []

    @task(**UNAVAILABLE_ONLY | {"retry_delay_seconds": 0})
    def fails() -> None:
        made.append(1)
        raise error

    @flow
    def tries() -> None:
        fails.submit().result()

    with pytest.raises(type(error)):
        tries()
    assert len(made) == calls
