"""From staged records to a committed version: stream, verify, commit."""

from __future__ import annotations

import hashlib
import platform
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import version

from rasterloom.access.building.budget import Totals, check_budget, check_rows, totals
from rasterloom.access.building.checks import Findings, check_version
from rasterloom.access.building.compose import Composition, Written, composed, write_version
from rasterloom.access.building.departures import Searches
from rasterloom.access.building.job import Job
from rasterloom.access.building.parentrows import PARSER, Parent
from rasterloom.access.cache.headers import tidy_after
from rasterloom.access.credentials.secrets import Secrets, environment_secrets
from rasterloom.access.network.redact import redact
from rasterloom.access.values import BatchRef, CollectionRef, SearchRef
from rasterloom.access.versions.commits import (
    FAILURES,
    Commit,
    Counts,
    DataFile,
    Overtaken,
    Reuse,
    Searched,
    checked_name,
    collection_ref,
    commit,
    latest,
    numbered,
    version_key,
)
from rasterloom.access.versions.failures import failures_table, merged, remembered
from rasterloom.access.versions.gc import collect_after
from rasterloom.access.versions.heartbeat import Heartbeat
from rasterloom.access.versions.link import publish_link
from rasterloom.access.workspace.clock import SYSTEM, Clock
from rasterloom.access.workspace.files import Workspace
from rasterloom.access.workspace.place import open_workspace
from rasterloom.errors import Unavailable
from rasterloom.raster.header import PARSER_VERSION
from rasterloom.specs.identity import canonical_json, question_to_json
from rasterloom.specs.question import CopySource, Interval

TRIES = 5
"""How often a run that was overtaken stages its version again."""
_SOFTWARE = ("rasterloom", "pyarrow", "obstore", "numpy", "shapely")


def publish(
    job: Job, searches: Sequence[SearchRef], batches: Sequence[BatchRef], *, secrets: Secrets = environment_secrets
) -> CollectionRef:
    """Write the version directory of a build and commit it; returns the committed collection.

    Raises Refused where the budget or a check fails: nothing is committed then, the staged records stay. A repeated call of
    the same run whose commit stands returns it. Asks the source for the items that the newest version has and no search gave.
    """
    workspace, name = open_workspace(job.workspace), checked_name(job.plan.name)
    found = totals(searches, batches)
    run = _Run(job, workspace, Searches(job, searches, secrets), tuple(batches), found)
    standing = latest(workspace, name)
    if standing is not None and standing.run_id == job.run_id:
        return collection_ref(workspace, name, standing)
    check_budget(found, job.effort)
    with Heartbeat(workspace, name, job.run_id) as heartbeat:
        made = append(workspace, name, run.stage, beat=heartbeat.check)
        publish_link(workspace, name)
    tidy_after(workspace)
    collect_after(workspace, name)
    return collection_ref(workspace, name, made)


@dataclass(frozen=True, slots=True)
class Staged:
    """A version that is written, and the failures table that goes with it."""

    draft: Commit
    failures: bytes | None


def append(
    workspace: Workspace, name: str, stage: Callable[[Commit | None], Staged], *, beat: Callable[[], None], clock: Clock = SYSTEM
) -> Commit:
    """Put a version on top of the newest one. Where another run answered the same question meanwhile, stage again on top of that.

    Raises Conflict where that was another question, or where others are faster every time.
    """
    lost: Overtaken | None = None
    for _ in range(TRIES):
        parent = latest(workspace, name)
        staged = stage(parent)
        if staged.failures is not None:  # before the commit that names it
            workspace.write(f"{name}/{staged.draft.failures}", staged.failures)
        beat()
        try:
            return commit(workspace, name, numbered(staged.draft, parent), clock=clock)
        except Overtaken as overtaken:
            lost = overtaken
    raise lost or Unavailable(f"{name}: nothing was committed", remedy="run again")


@dataclass(frozen=True, slots=True)
class _Run:
    """What one call of `publish` has to publish, on top of whatever version is the newest."""

    job: Job
    workspace: Workspace
    searches: Searches
    batches: tuple[BatchRef, ...]
    found: Totals

    def stage(self, newest: Commit | None) -> Staged:
        job, workspace = self.job, self.workspace
        parent = Parent(workspace, job.plan.name, newest) if newest else None
        directory = _fresh_directory(workspace, job.plan.name, job.run_id)
        made = composed(self.searches, self.batches, workspace, parent, about(job))
        check_rows(len(made.selection.keys), job.effort)  # again: a scene may be found in two windows
        written = write_version(workspace, job, directory, made, parent, _metadata(job, directory))
        home = version_key(job.plan.name, directory)
        verify_listing(workspace, home, written.files)
        seen = check_version(workspace, home, written.files, question=job.plan.question, effort=job.effort, parent=newest)
        failures = merged(self.found.failures, remembered(workspace, job.plan.name, newest), datetime.now(UTC))
        table = failures_table(failures, run_id=job.run_id, collection=job.plan.question.source.collection or "")
        draft = self._draft(directory, made, written, seen)
        if table is None:
            return Staged(draft, None)
        key = f"{FAILURES}/{numbered_version(newest):020d}-{directory}.parquet"  # of this attempt alone: no rival writes over it
        return Staged(replace(draft, failures=key, failures_sha256=hashlib.sha256(table).hexdigest()), table)

    def _draft(self, directory: str, made: Composition, written: Written, seen: Findings) -> Commit:
        job, found = self.job, self.found
        return Commit(
            version=0,
            parent=0,
            run_id=job.run_id,
            dir=directory,
            files=written.files,
            rows=sum(file.rows for file in written.files),
            fingerprint=job.plan.fingerprint,
            question=question_to_json(job.plan.question),
            spec=job.spec,
            counts=_counts(found),
            traffic=found.traffic + made.departures.traffic,
            software=software(),
            started=job.started,
            ended=datetime.now(UTC),
            closed=all(shard.closed for shard in job.plan.shards),
            failures=None,
            action=job.action,
            input_digest=made.input_digest,
            reuse=self._reuse(made, written),
            searched=tuple(
                Searched(dates=shard.dates, closed=shard.closed, items=search.batches)
                for shard, search in zip(job.plan.shards, self.searches.refs, strict=True)
            ),
            carried=made.departures.carried.items,
            keep_snapshots=job.effort.keep_snapshots,
            twins=seen.twins,
            coverage=seen.coverage,
            drift=seen.drift,
            profile=seen.profile,
            copied_from=job.plan.copied_from,
            newest=seen.newest,
            reason=redact(job.reason),
        )

    def _reuse(self, made: Composition, written: Written) -> Reuse:
        gone, headers = made.departures, sum(batch.headers for batch in self.batches)
        fetched, inherited = (sum(getattr(batch, name) for batch in self.batches) for name in ("fetched", "inherited"))
        return Reuse(
            items_new=gone.new,
            items_changed=gone.changed,
            items_gone=gone.gone,
            items_carried=sum(items.scenes for items in gone.carried.items),
            items_left=gone.left,
            headers_fetched=fetched,
            headers_cached=headers - fetched - inherited,
            headers_parent=inherited,
            files_linked=written.linked,
            files_written=len(written.files) - written.linked,
        )


def _counts(found: Totals) -> Counts:
    return Counts(
        matched=found.matched,
        received=found.received,
        kept=found.kept,
        disagreeing=found.disagreeing,
        duplicates=found.duplicates,
        headers=found.headers,
        failed=found.by_reason,
    )


def numbered_version(parent: Commit | None) -> int:
    return parent.version + 1 if parent else 1


def _fresh_directory(workspace: Workspace, name: str, run_id: str) -> str:
    """The run's id, or, when an earlier attempt of the run left files, another name: nothing written is ever written over."""
    taken = next(iter(workspace.list(version_key(name, run_id))), None)
    return run_id if taken is None else f"{run_id}-{uuid.uuid4().hex[:8]}"


def verify_listing(workspace: Workspace, home: str, files: Sequence[DataFile]) -> None:
    """What stands in the version directory must be the manifest, no more and no less. Raises Unavailable."""
    there = {entry.key: entry.size for entry in workspace.list(home)}
    wanted = {f"{home}/{file.path}": file.size for file in files}
    if there != wanted:
        odd = sorted(set(there.items()) ^ set(wanted.items()))[:3]
        raise Unavailable(
            f"{workspace.uri_of(home)} does not hold what was written: {odd}", remedy="run again; leave the workspace alone meanwhile"
        )


def software() -> dict[str, str]:
    """Versions of what wrote a collection."""
    return {"python": platform.python_version(), PARSER: str(PARSER_VERSION), **{name: version(name) for name in _SOFTWARE}}


def about(job: Job) -> dict[str, str]:
    """Schema metadata that every version of one question has: a file that is linked from an older version says the same of it."""
    asked = job.plan.question.source
    source = str(job.spec.get("dataset") or (asked.data_source if isinstance(asked, CopySource) else asked.collection) or "")
    return {
        "name": job.plan.name,
        "description": str(job.spec.get("description") or f"STAC collection indexed from {source or redact(asked.address)}"),
        "data_source": source,
        "rasteret_collection_version": "1",
        "rasterloom:fingerprint": job.plan.fingerprint,
        **({} if job.plan.question.reads_headers else {"rasterloom:headers": "none"}),
    }


def _metadata(job: Job, directory: str) -> dict[str, str]:
    """Schema metadata of every file that this version writes: Rasteret's keys, then ours."""
    return {
        **about(job),
        "created": datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="seconds"),
        "date_range": date_range(job.plan.question.dates, job.plan.now),
        "rasterloom:spec": canonical_json(job.spec),
        "rasterloom:snapshot": directory,
        "rasterloom:software": canonical_json(software()),
    }


def date_range(dates: Interval, now: datetime) -> str:
    """`2024-06-01T00:00:00,2024-07-15T23:59:59`; an open end is `now`; without a start there is none to tell."""
    if dates.start is None:
        return ""
    last = dates.end - timedelta(microseconds=1) if dates.end else now
    return ",".join(instant.astimezone(UTC).replace(tzinfo=None, microsecond=0).isoformat() for instant in (dates.start, last))
