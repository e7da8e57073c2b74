"""The kinds of read jobs, in one table.

Each is a module of three functions:

- `plan(job, view, secrets)` says which units there are, in an order that the same question always has. `view` is the collection narrowed
  to the job's dates, filter and area. It asks no file of a scene for anything; zones and points may stand behind http(s).
- `make(making, unit, folder)` makes one unit: writes its files into the empty `folder` and says what became of it. Units are made in
  several threads at once; a file that cannot be read is a row of `Made.failures`, and the unit goes on without it.
- `finish(job, parts, folder)` puts the parts, in the order of the plan, together as the output in the empty `folder`, with a picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rasterloom.access.collection import Collection
from rasterloom.access.credentials.secrets import Secrets
from rasterloom.access.reads import chips, composite, points, stack, zonal
from rasterloom.access.reads.job import Finished, Made, Part, ReadJob, Unit
from rasterloom.access.reads.making import Making
from rasterloom.errors import SpecError


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    plan: Callable[[ReadJob, Collection, Secrets], Sequence[Unit]]
    make: Callable[[Making, Unit, Path], Made]
    finish: Callable[[ReadJob, Sequence[Part], Path], Finished]
    version: int = 1
    """Of the code of `finish`: raised when the output of the same parts comes out otherwise."""


def _alone(plan: Callable[[ReadJob, Collection], Sequence[Unit]]) -> Callable[[ReadJob, Collection, Secrets], Sequence[Unit]]:
    """Of a kind that is planned out of the collection alone."""
    return lambda job, view, _: plan(job, view)


KINDS: dict[str, Kind] = {
    "zonal": Kind(plan=zonal.plan, make=zonal.make, finish=zonal.finish),
    "chips": Kind(plan=_alone(chips.plan), make=chips.make, finish=chips.finish),
    "points": Kind(plan=points.plan, make=points.make, finish=points.finish),
    "composite": Kind(plan=_alone(composite.plan), make=composite.make, finish=composite.finish),
    "stack": Kind(plan=_alone(stack.plan), make=stack.make, finish=stack.finish),
}


def kind_of(job: ReadJob) -> Kind:
    name = job.model.kind
    if name not in KINDS:
        raise SpecError(f"reads.{job.read}: this version makes no {name}", remedy=f"use {', '.join(KINDS)}")
    return KINDS[name]
