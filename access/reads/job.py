"""What a read job is: one read of a spec over one snapshot of a collection, cut into units that are remembered by their content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from rasterloom.access.values import Failure
from rasterloom.specs.effort import Effort
from rasterloom.specs.reads import Read, read_from


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadJob:
    """Travels to the tasks: JSON-able through `rasterloom.access.refs`, no clients, no secrets."""

    workspace: str
    """URI for `rasterloom.access.workspace.place.open_workspace`: outputs and units stand there."""
    name: str
    """Label of the collection."""
    read: str
    """Name of the read."""
    spec: dict[str, Any]
    """The read as JSON, as `rasterloom.specs.reads.read_to_json` gives it."""
    collection: str
    """URI of the files that are read: a version directory, or any directory in the format."""
    snapshot: str
    """Name of the version directory; for a collection outside of a workspace what its files are, as a digest."""
    version: int = 0
    """Number of the commit; 0 outside of a workspace."""
    fingerprint: str = ""
    """Of the collection's question."""
    area: dict[str, Any] | None = None
    """GeoJSON that is read where the read names no area of its own: that of the collection; None: all of its scenes."""
    effort: Effort = field(default_factory=Effort)
    run_id: str = ""
    """Unique to this run; part of the names of its files."""
    started: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def model(self) -> Read:
        """The read as the spec's model: `StackRead`, `CompositeRead`, ..."""
        return read_from(self.spec)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A piece of work whose result is remembered: the smallest that one new scene makes anew."""

    key: str
    """64 hex digits of everything that decides its content (`unit_key`)."""
    label: str
    """For people, e.g. `S2A_32UNU_20240601 B04`."""
    scenes: tuple[str, ...] = ()
    """Ids of the rows that it needs."""
    payload: dict[str, Any] = field(default_factory=dict[str, Any])
    """JSON: what else the kind needs to make it."""
    pixels: int = 0
    """Numbers that it makes, about: small units are grouped by it."""
    held: int = 0
    """Numbers that it holds in memory at once, about; 0: all that it makes. No more are made at once than memory holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What became of one unit; its files stand in the folder that it was given."""

    meta: dict[str, Any] = field(default_factory=dict[str, Any])
    """Small JSON that `finish` needs."""
    failures: tuple[Failure, ...] = ()
    """Files that could not be read: rows of the output's failures table, never a reason to stop."""
    asked: int = 0
    """Files (one band of one scene) that were to be read: what failures are a share of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    path: str
    """Relative, with `/`."""
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PartRef:
    """A unit that was made, as the workspace remembers it."""

    key: str
    home: str
    """Key of the directory of its files in the workspace."""
    files: tuple[StoredFile, ...]
    meta: dict[str, Any]
    failures: tuple[Failure, ...]
    asked: int

    @property
    def needs_retry(self) -> bool:
        """Whether another attempt may read more than this one did."""
        return any(failure.retryable for failure in self.failures)

    @property
    def content(self) -> str:
        """64 hex digits of what it holds: two attempts that found the same have the same."""
        held = [[file.path, file.sha256] for file in self.files]
        failed = sorted([failure.item_id, failure.band, failure.reason] for failure in self.failures)
        return digest_of(self.key, sorted(held), self.meta, failed)


class Files(Protocol):
    """The files of a part, wherever they are."""

    def path(self, name: str) -> Path: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A unit with what was made of it, as `finish` gets it."""

    unit: Unit
    ref: PartRef
    files: Files

    @property
    def meta(self) -> dict[str, Any]:
        return self.ref.meta

    def path(self, name: str) -> Path:
        """A file of the part, on this machine: of an object store it is brought here when it is first asked for."""
        return self.files.path(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A file of the output that is a file of a part, byte for byte: it is linked or copied by the store, and never read."""

    path: str
    """In the output."""
    part: int
    """Place in the parts that `finish` was given."""
    file: str
    """In the part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """What `finish` made, beside the files in its folder."""

    meta: dict[str, Any] = field(default_factory=dict[str, Any])
    """Small JSON for people, stored with the commit: shape, CRS, rows, whatever tells what the output is."""
    data: str = ""
    """The file or directory that a user opens, relative to the output."""
    picture: str = ""
    """PNG to look at, relative to the output; empty where there is none."""
    links: tuple[Link, ...] = ()


def unit_key(kind: str, version: int, *decides: Any) -> str:
    """64 hex digits. `version` is that of the kind's code: raise it when a unit of the same inputs comes out otherwise."""
    return digest_of(kind, version, decides)


def digest_of(*parts: Any) -> str:
    """64 hex digits of JSON values; NaN has a word here, unlike in a spec."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":"), default=_plain).encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    raise TypeError(f"{type(value).__name__} has no place in a key")


def scene_digest(row: Mapping[str, Any], bands: Sequence[str]) -> str:
    """64 hex digits of what a row says of some bands: addresses, headers with etag and size, CRS and instant.

    A file that was replaced, as far as the collection knows, has another one, and so have the units that are made of it.
    """
    assets = row.get("assets") or {}
    said = [[band, assets.get(band), row.get(f"{band}_metadata"), row.get(f"{band}_ext")] for band in bands]
    return digest_of(row["id"], row.get("datetime"), row.get("crs"), row.get("proj:epsg"), said)
