"""What a run leaves for people: a report in Prefect's pages and beside the snapshot, events, and the state of freshness.

All of it comes after the commit, or after the failure, and none of it can change how the run ends.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

from prefect.artifacts import create_markdown_artifact

from rasterloom.access.network.redact import redact
from rasterloom.access.reports.gather import committed, report_of
from rasterloom.access.reports.markdown import headline, markdown
from rasterloom.access.reports.store import keep, kept
from rasterloom.access.reports.values import Decision, Report
from rasterloom.access.values import CollectionRef
from rasterloom.access.versions.commits import Commit, latest, read_commit
from rasterloom.access.versions.looks import freshness_of, note_failure, note_look
from rasterloom.access.versions.opening import open_version
from rasterloom.access.workspace.files import Workspace
from rasterloom.errors import RasterloomError, Refused
from rasterloom.flows.events import tell_committed, tell_refused, tell_reused, tell_stale
from rasterloom.flows.progress import Progress
from rasterloom.specs.freshness import Freshness
from rasterloom.specs.sections import FreshnessSpec

_LOG = logging.getLogger("rasterloom.report")
_OF_THE_BUILD = ("headers", "requests", "took")
"""Figures that a run with nothing to do has none of."""


def tell_success(workspace: Workspace, ref: CollectionRef, progress: Progress, *, limits: FreshnessSpec | None) -> None:
    """A run ended with this version of a collection: one that it made, or one that it found to be right."""
    name, is_new, now = ref.name, progress.action != "reuse", datetime.now(UTC)
    with _harmless(name):
        if not is_new:
            note_look(workspace, name, at=now, limits=limits)
    with _harmless(name):
        entry = read_commit(workspace, name, ref.version)
        if entry is None:
            return
        freshness = _judged(workspace, name, entry, limits, now)
        if is_new:
            tell_committed(workspace, name, entry)
            report = report_of(open_version(workspace, name, entry), freshness=freshness)
            _leave(report)
            keep(workspace, report)
        else:
            tell_reused(workspace, name, entry, reason=progress.reason)
            _leave(_unchanged(workspace, name, entry, progress, freshness, now))
            if not kept(workspace, name, entry):
                keep(workspace, report_of(open_version(workspace, name, entry), freshness=freshness))


def tell_failure(workspace: Workspace, name: str, error: RasterloomError, *, limits: FreshnessSpec | None) -> None:
    """A run failed. A collection that stands remembers it; nothing is written where there is none."""
    with _harmless(name):
        if isinstance(error, Refused):
            tell_refused(workspace, name, error)
        entry, now = latest(workspace, name), datetime.now(UTC)
        if entry is not None:
            note_failure(workspace, name, error, at=now, limits=limits)
            _judged(workspace, name, entry, limits, now)


def _judged(workspace: Workspace, name: str, entry: Commit, limits: FreshnessSpec | None, now: datetime) -> Freshness | None:
    """The state, told where it is not fresh."""
    freshness = freshness_of(workspace, name, entry, now=now, limits=limits) if limits else None
    if freshness is not None and freshness.state != "fresh":
        _LOG.warning("%s: %s: %s", name, freshness.state, freshness.message)
        tell_stale(workspace, name, freshness)
    return freshness


def _unchanged(workspace: Workspace, name: str, entry: Commit, progress: Progress, freshness: Freshness | None, now: datetime) -> Report:
    """Short: the pictures of the snapshot stand in the run that made it, and beside it. Reads no rows."""
    report = committed(workspace, name, entry, freshness=freshness)
    decision = Decision(action="reuse", reason=redact(progress.reason), run_id=entry.run_id, started=now, ended=now)
    figures = tuple(each for each in report.figures if each.label not in _OF_THE_BUILD)
    return replace(report, decision=decision, figures=figures, changes=None)


def _leave(report: Report) -> None:
    create_markdown_artifact(markdown=markdown(report), key=f"{report.name}-collection", description=headline(report))


@contextmanager
def _harmless(name: str) -> Generator[None]:
    """For the block, no error leaves: whatever is wrong with a drawing, a disk or Prefect's pages, the commit stands."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - a report is never worth a build
        _LOG.warning("%s: the report is not complete: %s: %s", name, type(error).__name__, redact(str(error))[:300])
