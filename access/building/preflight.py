"""What would end a first build at once, told before anything is started: Prefect needs longer to start than this takes."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from rasterloom.access.archive.shared import check_credentials
from rasterloom.access.building.job import Job
from rasterloom.access.building.suits import FEW, check_first_page, first_items
from rasterloom.access.credentials.secrets import Secrets
from rasterloom.access.sources.copies import settled
from rasterloom.access.versions.commits import latest
from rasterloom.access.workspace.place import open_workspace
from rasterloom.errors import Unavailable
from rasterloom.specs.model import CollectionSpec
from rasterloom.specs.plan import make_plan
from rasterloom.specs.question import StacSource
from rasterloom.specs.references import references, substitute
from rasterloom.specs.resolve import effort

TIMEOUT = 8.0
"""Seconds for one request."""


def preflight(spec: CollectionSpec, *, workspace: str | None, secrets: Secrets, now: datetime) -> None:
    """Ask an API for the first page of a question that no committed version answers, as the build will.

    Raises `SpecError` or `AccessDenied` for what the build would end with. What is only unavailable is left to it: it has the time to
    try again. Two requests, none for another run of the same question; none either where a Prefect block holds a secret.
    """
    how, place = effort(spec), workspace or spec.workspace
    texts = [text for _, text in (*how.headers, *how.auth.options)] + [place or ""]
    if any(reference.kind == "block" for text in texts for reference in references(text)):
        return
    home = open_workspace(substitute(place, secrets) if place else None)
    plan = settled(make_plan(spec, now=now), home)
    known = latest(home, spec.name)
    if not isinstance(plan.question.source, StacSource) or (known is not None and known.fingerprint == plan.fingerprint):
        return
    quick = replace(how, retries=0, timeout=min(how.timeout, TIMEOUT))
    job = Job(workspace=home.uri, plan=plan, effort=quick, spec={}, run_id=f"preflight-{plan.fingerprint}")
    try:
        check_credentials(plan.question, effort=quick, secrets=secrets)
        check_first_page(job, first_items(plan.question, effort=quick, secrets=secrets, count=FEW), secrets=secrets)
    except Unavailable:
        return
