"""Make one read of a spec, from this process."""

from __future__ import annotations

from typing import Any

from rasterloom.flows.read import read as flow
from rasterloom.flows.readprogress import ReadListener, listening_to_reads
from rasterloom.flows.run import answers
from rasterloom.specs.model import CollectionSpec
from rasterloom.tasks.settings import connected, local_settings


def run_read(
    spec: CollectionSpec, read: str, *, workspace: str | None = None, force: bool = False, on_progress: ReadListener | None = None
) -> dict[str, Any]:
    """What `rasterloom.flows.read.read` returns. Needs no server, as `rasterloom.run`. Raises the errors of `rasterloom.errors`."""
    with local_settings(), listening_to_reads(on_progress), answers(), connected():
        return flow(spec, read, force=force, workspace=workspace)
