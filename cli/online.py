"""`rasterloom validate --online`: every line as it comes, or all of them as one document."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from rasterloom.access.building.online import probe
from rasterloom.access.building.probes import Line, failed
from rasterloom.access.credentials.secrets import Secrets, environment_secrets
from rasterloom.errors import SpecError
from rasterloom.specs.model import CollectionSpec
from rasterloom.specs.references import references

_STATE, _CHECK = 9, 13
"""Widths of columns."""


def check(args: Namespace, specs: Sequence[CollectionSpec]) -> list[dict[str, Any]]:
    """One document for each spec, with its lines and the worst of their exit codes. Printed as they come, unless under --json."""
    with _secrets_of(specs) as secrets:
        return [_checked(args, spec, secrets) for spec in specs]


def _checked(args: Namespace, spec: CollectionSpec, secrets: Secrets) -> dict[str, Any]:
    lines: list[Line] = []
    if not args.json:
        print(f"{spec.name}:", flush=True)
    for line in _lines(args, spec, secrets):
        lines.append(line)
        if not args.json:
            print(_text(line), flush=True)
    return {"name": spec.name, "exit_code": max((line.exit_code for line in lines), default=0), "lines": [asdict(line) for line in lines]}


def _lines(args: Namespace, spec: CollectionSpec, secrets: Secrets) -> Iterator[Line]:
    now = datetime.now(UTC)
    try:
        yield from probe(spec, workspace=args.workspace, secrets=secrets, now=now)
    except SpecError as error:
        yield failed("spec", "read the spec", error)
    if spec.schedule is not None:
        yield _schedule(spec, now)


def _schedule(spec: CollectionSpec, now: datetime) -> Line:
    from rasterloom.flows.schedules import next_run  # Prefect is for this alone

    assert spec.schedule is not None
    tried = "reckoned the next run"
    try:
        date = next_run(spec.schedule, now)
    except SpecError as error:
        return failed("schedule", tried, error)
    if date is None:
        error = SpecError("the schedule has no run in the future", remedy="correct schedule")
        return failed("schedule", tried, error)
    when = date.isoformat(sep=" ", timespec="minutes")
    paused = "" if spec.schedule.active else ", but it is paused (active: false)"
    return Line(check="schedule", state="note" if paused else "ok", tried=tried, result=f"{when}, once it is deployed{paused}")


def _text(line: Line) -> str:
    tried = f"{line.tried}: " if line.tried else ""
    remedy = f"\n{'':{2 + _STATE + _CHECK}}remedy: {line.remedy}" if line.remedy else ""
    return f"  {line.state:<{_STATE}}{line.check:<{_CHECK}}{tried}{line.result}{remedy}"


@contextmanager
def _secrets_of(specs: Sequence[CollectionSpec]) -> Generator[Secrets]:
    """How the references of the specs are looked up: blocks on the Prefect server, where any is named."""
    if not any(_names_block(spec) for spec in specs):
        yield environment_secrets
        return
    from rasterloom.tasks.secrets import secret
    from rasterloom.tasks.settings import local_settings, reach_server

    with local_settings():
        reach_server()
        yield secret


def _names_block(spec: CollectionSpec) -> bool:
    return any(reference.kind == "block" for text in _texts(spec.model_dump(mode="json", exclude_none=True)) for reference in _found(text))


def _found(text: str) -> Sequence[Any]:
    return references(text) if "${secret." in text else ()


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)
