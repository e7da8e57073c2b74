"""Bring a collection to what its spec says, from this process, and hand it back."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from prefect.exceptions import PrefectHTTPStatusError

from rasterloom.access.collection import Collection, load
from rasterloom.access.network.redact import redact
from rasterloom.access.sources.areas import load_specs
from rasterloom.errors import AccessDenied, SpecError, Unavailable
from rasterloom.flows.compile import compile
from rasterloom.flows.progress import Listener, listening
from rasterloom.flows.readprogress import ReadListener, listening_to_reads
from rasterloom.flows.runners import check_runner
from rasterloom.specs.loader import spec_from
from rasterloom.specs.model import CollectionSpec
from rasterloom.specs.resolve import effort
from rasterloom.tasks.settings import connected, local_settings

Source = CollectionSpec | Mapping[str, Any] | str | PathLike[str]


def run(
    spec: Source,
    *,
    workspace: str | PathLike[str] | None = None,
    force: bool = False,
    retry_failed: bool = False,
    on_progress: Listener | None = None,
    on_read: ReadListener | None = None,
) -> Collection:
    """Build, refresh or reuse the collection of one spec: a value, a mapping, or a file with one document. A mapping may hold dates,
    paths, numpy arrays and shapes of Python where a file has text, lists and GeoJSON.

    Runs on the Prefect server that `PREFECT_API_URL` names; else on one that Prefect starts for this process on its first run and
    stops when the process ends (a process killed with SIGKILL leaves it behind). What comes back reads pixels with the spec's
    credentials. Raises the errors of `rasterloom.errors`.
    """
    wanted = one_spec(spec)
    how = effort(wanted)
    check_runner(how)
    where = None if workspace is None else fspath(workspace)
    with local_settings(), listening(on_progress), listening_to_reads(on_read), answers(), connected() as connection:
        outcome = compile(wanted, records=connection.records)(force=force, workspace=where, retry_failed=retry_failed)
    return load(outcome["collection"]["uri"], effort=how)


@contextmanager
def answers() -> Generator[None]:
    """For the block, what the Prefect server refuses is raised as one of our errors."""
    try:
        yield
    except PrefectHTTPStatusError as error:
        status = error.response.status_code
        message = f"the Prefect server answered {status}: {redact(error.response.text[:300])}"
        if status in (401, 403):
            raise AccessDenied(message, remedy="set PREFECT_API_AUTH_STRING, or PREFECT_API_KEY, as the server wants it") from error
        if status == 422:
            raise SpecError(message, remedy="make the spec smaller: the server takes 512 KB; simplify `intersects`") from error
        raise Unavailable(message, remedy="look at the server's log") from error


def one_spec(spec: Source) -> CollectionSpec:
    """The spec that a caller means. Raises SpecError where a file holds none or several."""
    if isinstance(spec, CollectionSpec):
        return spec
    if isinstance(spec, Mapping):
        return spec_from(spec)
    specs = load_specs(Path(spec))
    if len(specs) != 1:
        raise SpecError(f"{spec} holds {len(specs)} specs", remedy="split the file, or use the command line, which runs them all")
    return specs[0]
