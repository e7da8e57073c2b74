"""A version as it is to be: its rows, its columns, and a digest of what decides each partition; then the version, as it is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
import pyarrow as pa

from rasterloom.access.building.departures import Carried, Departures, Searches, departures, known_carried
from rasterloom.access.building.job import Job
from rasterloom.access.building.parentrows import Parent
from rasterloom.access.building.selection import Selection, partition_of, select
from rasterloom.access.cache.staging import read_records
from rasterloom.access.values import BatchRef
from rasterloom.access.versions.commits import DataFile, version_key
from rasterloom.access.versions.table import Shape, shape_of
from rasterloom.access.versions.version import VersionWriter
from rasterloom.access.workspace.files import Workspace
from rasterloom.specs.compare import relation
from rasterloom.specs.identity import digest, question_from_json

WRITER_VERSION = 1
"""Part of every digest: raise it when the same rows would be written in another way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """What a version is made of."""

    shape: Shape
    selection: Selection
    digests: Mapping[str, str]
    """Partition -> digest of everything that decides its content."""
    departures: Departures = field(default_factory=Departures)

    @property
    def input_digest(self) -> str:
        return digest(self.digests)


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    files: tuple[DataFile, ...]
    linked: int
    """How many of them are the parent's."""


def composed(
    run: Searches, batches: Sequence[BatchRef], workspace: Workspace, parent: Parent | None, about: Mapping[str, str]
) -> Composition:
    """The answer to the question, and what of the parent stays beside it. `about` is the schema metadata that all versions share.

    Only the answer to the same question, or to a part of it, has rows that may stay; where this one is derived, only the larger one
    out of which it is.
    """
    selection = select(workspace, batches, dedupe=run.job.plan.question.dedupe)
    if parent is None or not _is_part(parent, run.job):
        made = _composition(run, batches, workspace, Carried(), about)
        return replace(made, departures=Departures(new=len(selection.keys)))
    known = known_carried(parent, selection, run.job)
    made = _composition(run, batches, workspace, known, about)
    if run.job.action == "derive":  # its searches are a choice out of the parent, so nothing is missing
        return replace(made, departures=Departures(carried=known, gone=len(known.scenes)))
    unsettled = [name for name, files in parent.partitions.items() if files[0].input_digest != made.digests.get(name)]
    found = departures(parent, unsettled, made.selection, known, run)
    if found.carried is not known:
        made = _composition(run, batches, workspace, found.carried, about)
    return replace(made, departures=found)


def _is_part(parent: Parent, job: Job) -> bool:
    if parent.commit.fingerprint == job.plan.fingerprint:
        return True
    kind = relation(question_from_json(parent.commit.question), job.plan.question).kind
    return kind in ("same", "narrower" if job.action == "derive" else "larger")


def _composition(
    run: Searches, batches: Sequence[BatchRef], workspace: Workspace, carried: Carried, about: Mapping[str, str]
) -> Composition:
    bands = [band.code for band in run.job.plan.question.bands]
    shape = shape_of(bands, [*(search.types for search in run.refs), carried.types])
    selection = select(workspace, batches, carried=carried.batches, dedupe=run.job.plan.question.dedupe)
    effort = run.job.effort
    common = {"writer": WRITER_VERSION, "schema": shape.schema.to_string(), "compression": effort.compression, "about": dict(about)}
    return Composition(shape=shape, selection=selection, digests=selection.digests(effort.partition_by, digest(common)))


def write_version(
    workspace: Workspace, job: Job, directory: str, made: Composition, parent: Parent | None, metadata: Mapping[str, str]
) -> Written:
    """The data files, durable. Partitions that nothing decides differently are the parent's own files, under a second name."""
    home = version_key(job.plan.name, directory)
    linked = _linked(made, parent)
    for file in linked:
        workspace.copy(f"{cast(Parent, parent).home}/{file.path}", f"{home}/{file.path}")
    with VersionWriter(
        workspace,
        home,
        directory,
        schema=made.shape.schema,
        metadata=metadata,
        partition_by=job.effort.partition_by,
        compression=job.effort.compression,
    ) as writer:
        for table in _tables(workspace, job, made, {_partition(file) for file in linked}):
            writer.add(table)
    workspace.sync(home)
    written = [replace(file, input_digest=made.digests[_partition(file)]) for file in writer.files]
    return Written(files=(*linked, *written), linked=len(linked))


def _linked(made: Composition, parent: Parent | None) -> list[DataFile]:
    parts = parent.partitions if parent else {}
    return [file for name, files in parts.items() for file in files if file.input_digest and file.input_digest == made.digests.get(name)]


def _partition(file: DataFile) -> str:
    return file.path[: file.path.rfind("/") + 1]


def _tables(workspace: Workspace, job: Job, made: Composition, done: set[str]) -> Iterator[pa.Table]:
    """Typed rows of the partitions that are not done. A batch that has none of them is not read."""
    for source in made.selection.sources:
        months = [month for month in source.months if partition_of(month, job.effort.partition_by) not in done]
        if months:
            rows = source.chosen & np.isin(source.keys["month"], months)
            table: Any = read_records(workspace, source.batch)
            yield made.shape.typed(table if rows.all() else table.filter(pa.array(rows)))
