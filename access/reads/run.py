"""What the tasks of a read call: plan it, make its units, finish it. No Prefect."""

from __future__ import annotations

import hashlib
import platform
import uuid
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.compute as pc

from rasterloom.access.archive.shared import shared_stores
from rasterloom.access.building.batches import Turn, freely
from rasterloom.access.collection import Collection
from rasterloom.access.credentials.secrets import Secrets, environment_secrets
from rasterloom.access.network.hosts import host_of
from rasterloom.access.pixels.engine import Engine
from rasterloom.access.pixels.files import pixel_columns
from rasterloom.access.reads.folders import PartFiles, at_once, keep, staged
from rasterloom.access.reads.job import Finished, Link, Part, PartRef, ReadJob, StoredFile, Unit, digest_of
from rasterloom.access.reads.keeping import tidy_outputs
from rasterloom.access.reads.kinds import kind_of
from rasterloom.access.reads.making import Making
from rasterloom.access.reads.outputs import (
    OutputCommit,
    OutputRef,
    commit_output,
    failures_path,
    is_as_good,
    latest_output,
    output_home,
    ref_of,
)
from rasterloom.access.reads.scenes import read_bands, view_of
from rasterloom.access.reads.units import MadeRef, find_units, store_unit
from rasterloom.access.values import Failure, Traffic
from rasterloom.access.versions.commits import VERSIONS
from rasterloom.access.versions.failures import failures_table
from rasterloom.access.versions.heartbeat import Heartbeat
from rasterloom.access.versions.opening import open_collection
from rasterloom.access.workspace.files import Workspace
from rasterloom.access.workspace.place import open_workspace
from rasterloom.errors import Refused, Unavailable
from rasterloom.specs.effort import Effort
from rasterloom.specs.reads import read_fingerprint

AT_ONCE = 8
"""Units of one task that are made at once: while one waits for its bytes, another is put together."""
HELD = 1 << 27
"""Numbers that all units of one task hold at once."""
NO_FAULTS = frozenset({"no-header", "band-missing"})
"""Reasons of failures that the collection told before: facts of the scene, and no part of the rate."""
_SOFTWARE = ("rasterloom", "pyarrow", "obstore", "numpy", "shapely", "rasterio", "pyproj", "tifffile", "imagecodecs", "xarray", "zarr")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRead:
    """What a read comes to, before any file is asked."""

    units: tuple[Unit, ...]
    input_digest: str
    missing: tuple[Unit, ...]
    """Units that are not remembered, or in which something failed that may now succeed."""
    standing: OutputCommit | None
    """The newest output."""
    reason: str
    """Why something is to be done, or nothing."""
    is_done: bool
    """Whether the newest output is what the read would make."""


def plan_read(job: ReadJob, *, secrets: Secrets = environment_secrets) -> PlannedRead:
    """Raises SpecError where the read does not fit the collection."""
    workspace, kind = open_workspace(job.workspace), kind_of(job)
    units = tuple(kind.plan(job, view_of(job, opened(job)), secrets))
    digest = digest_of(read_fingerprint(job.model), kind.version, [unit.key for unit in units])
    standing = latest_output(workspace, job.name, job.read)
    is_done = standing is not None and standing.input_digest == digest and not standing.retryable and not job.effort.force
    found: list[PartRef | None] = [None] * len(units) if job.effort.force else [] if is_done else find_units(workspace, units)
    missing = tuple(unit for unit, part in zip(units, found, strict=False) if part is None or part.needs_retry)
    reason = _reason(job, standing, digest, missing)
    return PlannedRead(units=units, input_digest=digest, missing=missing, standing=standing, reason=reason, is_done=is_done)


def _reason(job: ReadJob, standing: OutputCommit | None, digest: str, missing: Sequence[Unit]) -> str:
    if standing is None:
        return "there is no output yet"
    if job.effort.force:
        return "--force"
    if standing.fingerprint != read_fingerprint(job.model):
        return "the read in the spec is another one"
    if standing.input_digest != digest:
        return f"the scenes are others: {len(missing)} units are to be made"
    return f"{standing.retryable} failures may now succeed" if standing.retryable else "nothing has changed"


def opened(job: ReadJob) -> Collection:
    return Collection(open_collection(job.collection), effort=job.effort)


def make_units(job: ReadJob, units: Sequence[Unit], *, secrets: Secrets = environment_secrets, turn: Turn = freely) -> MadeRef:
    """Make those of the units that are not whole, and remember them one by one. Raises Unavailable, AccessDenied, SpecError for what
    is not one file's."""
    workspace, kind = open_workspace(job.workspace), kind_of(job)
    known = [None if job.effort.force or part is None or part.needs_retry else part for part in find_units(workspace, units)]
    left = [unit for unit, part in zip(units, known, strict=True) if part is None]
    making = _making(job, left, secrets)
    with turn(_hosts(making)), ThreadPoolExecutor(_width(left)) as pool:
        made = list(pool.map(lambda unit: store_unit(workspace, unit, lambda folder: kind.make(making, unit, folder)), left))
    fresh = {part.key: part for part in made}
    parts = [part or fresh[unit.key] for unit, part in zip(units, known, strict=True)]
    failures = [failure for part in parts for failure in part.failures]
    return MadeRef(
        workspace=workspace.uri,
        keys=tuple(part.key for part in parts),
        contents=tuple(part.content for part in parts),
        made=len(made),
        failures=len(failures),
        retryable=sum(failure.retryable for failure in failures),
        traffic=making.engine.traffic,
    )


def _making(job: ReadJob, units: Sequence[Unit], secrets: Secrets) -> Making:
    found, effort = open_collection(job.collection), job.effort
    collection = Collection(found, effort=effort)
    read = job.model
    bands = read_bands(read, collection.bands)
    ids = sorted({scene for unit in units for scene in unit.scenes})
    view = collection.where(pc.field("id").isin(pa.array(ids, pa.string())))
    rows = {row["id"]: row for row in view.to_table(pixel_columns(collection.dataset.schema, bands)).to_pylist()} if ids else {}
    stores = shared_stores(effort.auth, effort=effort, secrets=secrets, source=found.source)
    return Making(job=job, read=read, bands=tuple(collection.bands), engine=Engine(stores, effort=effort), secrets=secrets, rows=rows)


def _hosts(making: Making) -> set[str]:
    """Those of the files that may be asked; none where all units are remembered."""
    bands = read_bands(making.read, making.bands)
    assets = [(row.get("assets") or {}).get(band) for row in making.rows.values() for band in bands]
    return {host_of(asset["href"]) for asset in assets if asset and asset.get("href")} - {""}


def _width(units: Sequence[Unit]) -> int:
    largest = max((unit.held or unit.pixels for unit in units), default=1)
    return max(1, min(AT_ONCE, HELD // max(1, largest)))


def finish_read(job: ReadJob, units: Sequence[Unit], *, made: int = 0, traffic: Traffic = Traffic()) -> OutputRef:  # noqa: B008  frozen
    """Put the units together as an output and commit it; the standing one, where it holds the same.

    Raises Refused where more failed than the spec allows: nothing is committed then, what was made stays remembered.
    """
    workspace, kind = open_workspace(job.workspace), kind_of(job)
    parts = _whole_parts(workspace, units)
    check_budget(parts, job.effort)
    draft = _draft(job, parts, digest_of(read_fingerprint(job.model), kind.version, [unit.key for unit in units]), made, traffic)
    standing = latest_output(workspace, job.name, job.read)
    if standing is not None and not job.effort.force and is_as_good(standing, draft):
        return ref_of(workspace, standing, changed=False)
    with Heartbeat(workspace, job.name, job.run_id) as heartbeat:
        written = _write(job, workspace, units, parts, draft)
        heartbeat.check()
        done = commit_output(workspace, written, anew=job.effort.force)
    tidy_outputs(workspace, job.name)
    return ref_of(workspace, done, changed=(done.run_id, done.dir) == (written.run_id, written.dir))


def _whole_parts(workspace: Workspace, units: Sequence[Unit]) -> list[PartRef]:
    found = find_units(workspace, units)
    gone = sum(part is None for part in found)
    if gone:
        raise Unavailable(
            f"{gone} of {len(units)} units that were made are gone from {workspace.uri}", remedy="run again: they are made anew"
        )
    return [part for part in found if part is not None]


def check_budget(parts: Sequence[PartRef], effort: Effort) -> None:
    """Raises Refused where too many files could not be read."""
    failures = [failure for part in parts for failure in part.failures]
    faults = [failure for failure in failures if failure.reason not in NO_FAULTS]
    asked = sum(part.asked for part in parts) - (len(failures) - len(faults))
    share = len(faults) / asked if asked > 0 else float(bool(faults))
    if faults and (effort.on_error == "fail" or share > effort.max_error_rate):
        limit = "build.on_error is fail" if effort.on_error == "fail" else f"build.max_error_rate is {effort.max_error_rate:.1%}"
        first = faults[0]
        raise Refused(
            f"{len(faults)} of {asked} files could not be read ({share:.1%}) and {limit}: {_reasons(faults)}; "
            f"the first: {first.item_id} {first.band}: {first.message}",
            remedy="correct the source, or raise build.max_error_rate; what was read is remembered, the old output stands",
        )


def _reasons(faults: Sequence[Failure]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in Counter(fault.reason for fault in faults).most_common(5))


def _draft(job: ReadJob, parts: Sequence[PartRef], digest: str, made: int, traffic: Traffic) -> OutputCommit:
    failures = [failure for part in parts for failure in part.failures]
    return OutputCommit(
        version=0,
        parent=0,
        run_id=job.run_id,
        dir="",
        files=(),
        name=job.name,
        read=job.read,
        kind=job.model.kind,
        collection=job.collection,
        snapshot=job.snapshot,
        snapshot_version=job.version,
        collection_fingerprint=job.fingerprint,
        spec=job.spec,
        fingerprint=read_fingerprint(job.model),
        input_digest=digest,
        content_digest=digest_of([part.content for part in parts]),
        units=tuple(part.key for part in parts),
        made=made,
        asked=sum(part.asked for part in parts),
        failed=dict(sorted(Counter(failure.reason for failure in failures).items())),
        retryable=sum(failure.retryable for failure in failures),
        failures="",
        failures_sha256="",
        traffic=traffic,
        software={"python": platform.python_version(), **{name: version(name) for name in _SOFTWARE}},
        started=job.started,
        ended=datetime.now(UTC),
        keep=job.effort.keep_snapshots,
    )


def _write(job: ReadJob, workspace: Workspace, units: Sequence[Unit], refs: Sequence[PartRef], draft: OutputCommit) -> OutputCommit:
    directory = f"{job.run_id}-{uuid.uuid4().hex[:8]}"
    top = output_home(job.name, job.read)
    home = f"{top}/{VERSIONS}/{directory}"
    with TemporaryDirectory(prefix="rasterloom-") as scratch, staged(workspace, home) as folder:
        every = zip(units, refs, strict=True)
        parts = [Part(unit=unit, ref=ref, files=PartFiles(workspace, ref, Path(scratch) / ref.key)) for unit, ref in every]
        done = kind_of(job).finish(job, parts, folder)
        files = (*keep(workspace, home, folder), *_linked(workspace, home, parts, done))
    draft = replace(draft, dir=directory, files=files, meta=done.meta, data=done.data, picture=done.picture, ended=datetime.now(UTC))
    return _with_failures(workspace, draft, top, [failure for ref in refs for failure in ref.failures])


def _linked(workspace: Workspace, home: str, parts: Sequence[Part], done: Finished) -> tuple[StoredFile, ...]:
    held = [{file.path: file for file in part.ref.files} for part in parts]

    def link(each: Link) -> StoredFile:
        workspace.copy(f"{parts[each.part].ref.home}/{each.file}", f"{home}/{each.path}")
        return replace(held[each.part][each.file], path=each.path)

    stored = tuple(at_once(link, done.links))
    if stored:
        workspace.sync(home)
    return stored


def _with_failures(workspace: Workspace, draft: OutputCommit, top: str, failures: Sequence[Failure]) -> OutputCommit:
    table = failures_table(failures, run_id=draft.run_id, collection=draft.name)
    if table is None:
        return draft
    standing = latest_output(workspace, draft.name, draft.read)
    path = failures_path(standing.version + 1 if standing else 1, draft.dir)
    workspace.write(f"{top}/{path}", table)
    return replace(draft, failures=path, failures_sha256=hashlib.sha256(table).hexdigest())
