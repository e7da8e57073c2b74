"""`rasterloom run`: the builds of all specs, one after the other. Prefect is imported for the first build that can begin."""

from __future__ import annotations

import time
from argparse import Namespace
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rasterloom.access.building.decide import Action
from rasterloom.access.building.preflight import preflight
from rasterloom.access.collection import Collection
from rasterloom.access.credentials.secrets import environment_secrets
from rasterloom.access.reads.outputs import OutputRef
from rasterloom.access.refs import to_json
from rasterloom.access.versions.opening import commit_of
from rasterloom.access.workspace.place import open_workspace
from rasterloom.cli.output import answer, complain, error_document
from rasterloom.cli.progress import both, read_lines, shown
from rasterloom.cli.read import line
from rasterloom.cli.specs import specs_of
from rasterloom.errors import RasterloomError
from rasterloom.specs.loader import spec_from
from rasterloom.specs.model import CollectionSpec

if TYPE_CHECKING:
    from rasterloom.flows.progress import Progress
    from rasterloom.flows.readprogress import ReadListener, ReadProgress

_WORDS: dict[Action, str] = {
    "reuse": "unchanged",
    "build": "built",
    "refresh": "refreshed",
    "extend": "extended",
    "derive": "derived",
    "rebuild": "rebuilt",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Built:
    """How the build of one spec ended: with a collection, or with an error."""

    name: str
    seconds: float
    collection: Collection | None = None
    error: RasterloomError | None = None
    progress: Progress | None = None
    outputs: tuple[OutputRef, ...] = ()

    @property
    def exit_code(self) -> int:
        return self.error.exit_code if self.error else 0

    def document(self) -> dict[str, Any]:
        shared = {"name": self.name, "seconds": round(self.seconds, 3)}
        if self.collection is None:
            return {**shared, "error": error_document(self.error) if self.error else None}
        reads = [to_json(output) for output in self.outputs]
        return {**shared, **_traffic(self.progress), **self.collection.describe(), **({"reads": reads} if reads else {})}

    def line(self) -> str:
        if self.collection is None:
            return ""
        word = _WORDS[self.progress.action] if self.progress else "built"
        told = f"{self.name}: {word}, {len(self.collection):,} scenes in {self.seconds:.1f} s\n  {self.collection.uri}"
        return "\n".join([told, *(line({"read": to_json(output)}) for output in self.outputs)])


def run(args: Namespace) -> int:
    """Builds every spec, also after one that failed; the exit code of the first failure, or 0."""
    built = [_build(args, spec) for spec in specs_of(args)]
    text = "\n".join(line for each in built if (line := each.line()))
    answer(args, {"collections": [each.document() for each in built]}, text)
    return next((each.exit_code for each in built if each.exit_code), 0)


def retry(args: Namespace) -> None:
    """Ask for the failed files of one collection once more, by the spec that it was built from, and commit what comes."""
    workspace = open_workspace(args.workspace).uri
    spec = spec_from(commit_of(args.name, workspace).spec)
    from rasterloom.flows.run import run as build

    with shown(args, args.name) as listener:
        build(spec, workspace=workspace, retry_failed=True, on_progress=listener)


def _build(args: Namespace, spec: CollectionSpec) -> _Built:
    told: list[Progress] = []
    outputs: list[OutputRef] = []
    start = time.monotonic()
    try:
        preflight(spec, workspace=args.workspace, secrets=environment_secrets, now=datetime.now(UTC))
        from rasterloom.flows.run import run as build

        with shown(args, spec.name) as listener:
            hear = _hearing(args, outputs)
            collection = build(spec, workspace=args.workspace, force=args.force, on_progress=both(told.append, listener), on_read=hear)
    except RasterloomError as error:
        complain(error, name=spec.name)
        return _Built(name=spec.name, seconds=time.monotonic() - start, error=error)
    progress = told[-1] if told else None
    seconds = time.monotonic() - start
    return _Built(name=spec.name, seconds=seconds, collection=collection, progress=progress, outputs=tuple(outputs))


def _hearing(args: Namespace, outputs: list[OutputRef]) -> ReadListener:
    """Keeps the outputs of the reads, and tells of them as they are made."""
    tell = None if args.json else read_lines()

    def listener(progress: ReadProgress) -> None:
        if progress.output is not None:
            outputs.append(progress.output)
        if tell is not None:
            tell(progress)

    return listener


def _traffic(progress: Progress | None) -> dict[str, Any]:
    if progress is None:
        return {}
    counted = ("action", "reason", "failures", "search_requests", "header_requests", "bytes")
    return {name: getattr(progress, name) for name in counted}
