"""An existing collection as a source: its rows are items again, and its header columns are taken as they are. No network but the table's.

A copy is of one edition, settled when it is planned: the content of the files, in whatever snapshot of the collection it stands.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from rasterloom.access.cache.records import HeaderRows, naive
from rasterloom.access.credentials.secrets import Secrets
from rasterloom.access.items.pages import Page
from rasterloom.access.network.translate import translated
from rasterloom.access.sources.copyrows import Layout, headers_of, items_of, layout_of
from rasterloom.access.sources.copysieve import check_names, chosen
from rasterloom.access.values import Scene
from rasterloom.access.versions.opening import Opened, open_collection
from rasterloom.access.versions.snapshots import history, window
from rasterloom.access.workspace.place import Workspace, open_workspace
from rasterloom.errors import Problem, SpecError, Unavailable, Unreadable
from rasterloom.specs.effort import Effort
from rasterloom.specs.identity import fingerprint
from rasterloom.specs.question import Band, CopySource, Plan, Question, Shard

ROWS_AT_ONCE = 500


def settled(plan: Plan, workspace: Workspace) -> Plan:
    """The plan with the edition that it copies, and its bands; any other plan as it is.

    Raises `SpecError`: no such collection or snapshot, a band or property that it does not have, a copy of itself, what is no collection.
    """
    source = plan.question.source
    if not isinstance(source, CopySource):
        return plan
    opened = _open(source, workspace.uri)
    if opened.commit is not None and opened.workspace is not None and (opened.workspace.uri, opened.name) == (workspace.uri, plan.name):
        raise SpecError(f"{plan.name} would be a copy of itself", remedy="give the narrower collection a name of its own")
    layout = layout_of(opened)
    check_names(plan.question, layout)
    question = replace(plan.question, source=_edition(opened), bands=_bands(plan.question.bands, layout))
    # An edition never changes, whatever dates are asked for.
    shards = tuple(replace(shard, closed=True) for shard in plan.shards)
    return replace(plan, question=question, fingerprint=fingerprint(question), shards=shards, copied_from=_told(opened))


def search(question: Question, shard: Shard, *, effort: Effort, secrets: Secrets) -> Iterator[Page]:  # noqa: ARG001
    """The rows that may answer, as items. Raises `SpecError`, `Unavailable` (the files are no longer those that were planned with)."""
    copy = _Copy.of(question)
    yield from copy.pages(chosen(question, shard, copy.layout), question.bands)


def search_ids(question: Question, ids: Sequence[str], *, effort: Effort, secrets: Secrets) -> Iterator[Page]:  # noqa: ARG001
    """The rows of these ids, as items. Raises as `search`."""
    copy = _Copy.of(question)
    yield from copy.pages(copy.with_ids(ids), question.bands)


def copied_headers(question: Question, scenes: Sequence[Scene]) -> dict[str, HeaderRows]:
    """Band code -> the header rows of the scenes, null where the collection has none. Raises as `search`."""
    copy = _Copy.of(question)
    instants = [naive(scene.datetime) for scene in scenes]
    kind = copy.layout.types["datetime"]
    when = (pc.field("datetime") >= pa.scalar(min(instants), kind)) & (pc.field("datetime") <= pa.scalar(max(instants), kind))
    wanted = when & copy.with_ids([scene.id for scene in scenes])
    columns = ["id", "datetime", *(name for band in question.bands for name in copy.layout.headers(band.asset))]
    with _reading(copy.opened.uri):
        table = copy.opened.dataset.to_table(columns=list(dict.fromkeys(columns)), filter=wanted)
    pairs = zip(table["id"].to_pylist(), table["datetime"].cast(pa.timestamp("us"), safe=False).to_pylist(), strict=True)
    places = {pair: place for place, pair in enumerate(pairs)}
    order = pa.array([places.get((scene.id, instant)) for scene, instant in zip(scenes, instants, strict=True)], pa.int64())
    return {band.code: headers_of(table, band.asset).take(order) for band in question.bands}


@dataclass(frozen=True, slots=True)
class _Copy:
    """The collection of a settled question, open."""

    opened: Opened
    layout: Layout

    @staticmethod
    def of(question: Question) -> _Copy:
        source = question.source
        if not isinstance(source, CopySource):
            raise TypeError(f"a source of kind {source.kind} is no collection")
        opened = next((found for found in _kept(source) if _digest(found) == source.edition), None)
        if opened is None:
            raise Unavailable(f"{source.uri} was changed since this run was planned", remedy="run again")
        return _Copy(opened, layout_of(opened))

    def with_ids(self, ids: Sequence[str]) -> pc.Expression:
        return pc.field("id").isin(pa.array(ids, self.layout.types["id"]))

    def pages(self, rows: pc.Expression | None, bands: Sequence[Band]) -> Iterator[Page]:
        """Page by page, the first with the types of all columns, so that one that is null in the rows chosen stays a column."""
        types = self.layout.declared
        with _reading(self.opened.uri):
            scanner = self.opened.dataset.scanner(columns=list(self.layout.rows), filter=rows, batch_size=ROWS_AT_ONCE)
            for batch in scanner.to_batches():
                items = items_of(batch, self.layout, bands)
                yield Page(items=items, matched=None, bytes=0, requests=0, duplicates=0, types=types)
                types = {}


@contextmanager
def _reading(uri: str) -> Generator[None]:
    """A file that is gone was taken by a collection of garbage, or by a rebuild: another run finds what stands then."""
    try:
        with translated(f"read {uri}"):
            yield
    except Unreadable as error:
        if error.reason != "missing":
            raise
        raise Unavailable(error.message, remedy="run again: the collection was changed while it was copied") from None


def _open(source: CopySource, workspace: str | None) -> Opened:
    if source.uri.startswith(("http://", "https://")):
        raise SpecError(
            f"{source.uri} cannot be listed over http", remedy="name a directory or a prefix of an object store, or use `table`"
        )
    return open_collection(source.uri, workspace, snapshot=source.snapshot)


def _kept(source: CopySource) -> Iterator[Opened]:
    """The collection as it stands, then its older snapshots: another run may have committed since this one was planned."""
    newest = _open(source, None)
    yield newest
    if newest.commit is not None and newest.workspace is not None:
        for commit in window(history(newest.workspace, newest.name, newest.commit)).values():
            if commit.version != newest.commit.version:
                yield open_collection(source.uri, snapshot=commit.version)


def _edition(opened: Opened) -> CopySource:
    """What is copied, told so that the same rows are told in the same way."""
    metadata: Mapping[bytes, bytes] = opened.dataset.schema.metadata or {}
    return CopySource(
        uri=opened.uri if opened.workspace is None else opened.workspace.uri_of(opened.name),
        snapshot=None,
        edition=_digest(opened),
        catalog=opened.source,
        data_source=metadata.get(b"data_source", b"").decode("utf-8", "replace"),
        enrich=metadata.get(b"rasterloom:headers") != b"none",
    )


def _told(opened: Opened) -> str:
    if opened.commit is None or opened.workspace is None:
        return opened.uri
    return f"{opened.workspace.uri_of(opened.name)}, snapshot {opened.commit.version}"


def _digest(opened: Opened) -> str:
    """Of the content of a version's files, which its commit knows; of files without commits their names, sizes and times."""
    if opened.commit is not None:
        lines = sorted(file.sha256 for file in opened.commit.files)
    elif (file := Path(opened.uri)).is_file():
        lines = [f"{file.name} {file.stat().st_size} {file.stat().st_mtime_ns}"]
    else:
        root, _, key = opened.uri.rpartition("/")
        entries = open_workspace(root or "/").list(key)
        lines = [f"{entry.key} {entry.size} {entry.modified.isoformat()}" for entry in entries if entry.key.endswith(".parquet")]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _bands(asked: Sequence[Band], layout: Layout) -> tuple[Band, ...]:
    """Those of the spec, else all; each with its sample as the collection says it. A map may give a band another code."""
    if not asked:
        return tuple(Band(code=code, asset=code, index=index) for code, index in layout.bands.items())
    missing = [band for band in asked if band.asset not in layout.bands]
    if missing:
        problems = [Problem(path="bands", value=band.asset, message=_unknown(band, layout), remedy=_near(band, layout)) for band in missing]
        raise SpecError("the collection does not have all of the bands", problems=problems)
    return tuple(replace(band, index=layout.bands[band.asset]) for band in asked)


def _unknown(band: Band, layout: Layout) -> str:
    return f"the collection has no band {band.asset}: it has {', '.join(layout.bands)}"


def _near(band: Band, layout: Layout) -> str:
    near = get_close_matches(band.asset.casefold(), [code.casefold() for code in layout.bands], n=1, cutoff=0.3)
    found = next((code for code in layout.bands if near and code.casefold() == near[0]), None)
    return f"write {found}" if found else "leave it out"
