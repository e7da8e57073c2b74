"""From a name, a path or a URI to a pyarrow dataset of one fixed set of files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds

from rasterloom.access.versions.commits import COMMITS, INFLIGHT, READS, VERSIONS, Commit, checked_name, is_name, latest, version_key
from rasterloom.access.versions.failures import read_failures
from rasterloom.access.versions.heartbeat import is_fresh
from rasterloom.access.versions.link import points_to
from rasterloom.access.versions.looks import freshness_of
from rasterloom.access.versions.snapshots import checked_snapshot, history
from rasterloom.access.workspace.files import Workspace
from rasterloom.access.workspace.place import is_remote, local_path, open_workspace
from rasterloom.errors import SpecError, Unavailable
from rasterloom.specs.freshness import Freshness
from rasterloom.specs.identity import source_from_json
from rasterloom.specs.question import CopySource

_NAMED = 32
"""Names of a workspace that are looked at where the one that is asked for is not there: each is a question to the store."""
_AT_WORK = timedelta(minutes=5)
"""A heartbeat that is older is that of a killed run."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An open collection: its files are settled."""

    dataset: ds.Dataset
    uri: str
    """The directory or prefix that holds the files."""
    name: str
    """From the path; the schema metadata may say better."""
    commit: Commit | None
    """Where it is a version of a workspace's collection."""
    workspace: Workspace | None = None
    """The workspace that holds `commit`."""

    @property
    def source(self) -> str | None:
        """Address of the catalog that gave the hrefs, where our own commit says it; nobody else's files are believed in that."""
        source = source_from_json(self.commit.question["source"]) if self.commit else None
        return source.catalog if isinstance(source, CopySource) else (source and source.address) or None


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One line of a listing of collections."""

    name: str
    uri: str
    """Version directory."""
    version: int
    rows: int
    bands: tuple[str, ...]
    data_source: str
    date_range: str
    failed: int
    bytes: int
    committed: datetime
    freshness: Freshness | None
    """None where the spec sets no bounds."""


def open_collection(uri: str, workspace: str | None = None, *, snapshot: int | None = None) -> Opened:
    """Resolve once, to the newest version or to the one of a commit's number.

    A plain name is that of a collection in the workspace; a path has a slash. Only where no workspace is given and the default
    one has no such collection, a plain name is taken for a path, too.
    """
    place = uri.removeprefix("file://").rstrip("/") or "/"
    if is_name(place):
        home = open_workspace(workspace)
        if workspace is not None or not Path(place).exists() or latest(home, place) is not None:
            return _snapshot(home, place, _existing(home, place), snapshot)
    opened = _by_place(place, uri, snapshot)
    if snapshot is not None and opened.commit is None:
        raise SpecError(f"{uri} is no collection of a workspace and has no snapshots", remedy="leave the number of the snapshot out")
    return opened


def _by_place(place: str, uri: str, snapshot: int | None) -> Opened:
    root, _, last = place.rpartition("/") if is_remote(place) else ("", "", "")
    if root.endswith(":/"):
        raise SpecError(f"{uri} is a bucket, not a collection", remedy="give the prefix of a collection in it")
    home, key = (open_workspace(root), last) if root else _local(uri)
    commit = latest(home, key) if is_name(key) else None
    if commit is not None:
        return _snapshot(home, key, commit, snapshot)
    return _version(home, key) or Opened(_dataset(home, key), home.uri_of(key), key, None)


def collections_in(workspace: str | None) -> list[Summary]:
    """All collections with a commit, sorted by name."""
    place = open_workspace(workspace)
    names = [name for name in place.children() if is_name(name)]
    found = [(name, latest(place, name)) for name in names if COMMITS in place.children(name)]
    return [_summary(place, name, commit) for name, commit in found if commit is not None]


def summary_of(name: str, workspace: str | None) -> Summary:
    """What stands in the workspace under a name. Raises SpecError where there is nothing."""
    place = open_workspace(workspace)
    return _summary(place, name, _existing(place, name))


def commit_of(name: str, workspace: str | None) -> Commit:
    """The newest commit of a collection. Raises SpecError where there is none."""
    place = open_workspace(workspace)
    return _existing(place, name)


def failures_of(name: str, workspace: str | None) -> pa.Table | None:
    """The quarantined items and assets of the newest version, None where nothing failed."""
    place = open_workspace(workspace)
    return read_failures(place, name, _existing(place, name))


def delete_collection(workspace: Workspace | str | None, name: str) -> int:
    """Delete a collection and all its versions, nothing else; the number of files deleted. Raises SpecError where there is none.

    The commits go before the data, the newest last of them: a delete that is interrupted leaves the whole of the newest version,
    or no collection; never an older one, and none that points to missing files. Once more, and it is finished.
    """
    place = workspace if isinstance(workspace, Workspace) else open_workspace(workspace)
    if not {COMMITS, VERSIONS, READS} & set(place.children(checked_name(name))):
        raise _unknown(place, name)
    now = datetime.now(UTC)
    if any(is_fresh(place, beat, now, within=_AT_WORK) for beat in place.list(f"{name}/{INFLIGHT}")):
        raise Unavailable(
            f"a run is building {name} now", remedy="wait until it ends; one that was killed counts as ended after five minutes"
        )
    if points_to(place, name) is not None:
        place.delete(f"{name}_stac")
    keys = [entry.key for entry in place.list(name)]
    commits = sorted((key for key in keys if key.startswith(f"{name}/{COMMITS}/")), key=lambda key: (key.endswith(".json"), key))
    place.delete_files(commits[:-1])
    place.delete_files(commits[-1:])
    place.delete_files(key for key in keys if not key.startswith((f"{name}/{COMMITS}/", f"{name}/{VERSIONS}/")))
    place.delete(f"{name}/{VERSIONS}")  # last, as it is what a second attempt knows the collection by
    place.delete(name)
    return len(keys)


def _snapshot(workspace: Workspace, name: str, newest: Commit, number: int | None) -> Opened:
    return open_version(workspace, name, newest if number is None else checked_snapshot(workspace, name, number, newest))


def _existing(workspace: Workspace, name: str) -> Commit:
    commit = latest(workspace, checked_name(name))
    if commit is None:
        raise _unknown(workspace, name)
    return commit


def _unknown(workspace: Workspace, name: str) -> SpecError:
    folders = [other for other in workspace.children() if is_name(other)]
    there = [other for other in folders[:_NAMED] if COMMITS in workspace.children(other)]
    listed = f"it has {', '.join(there[:8])}" if there else "it has none"
    near = get_close_matches(name.lower(), there, n=1)
    remedy = f"{f'write {near[0]}, ' if near else ''}build it with `rasterloom run`, or give another --workspace"
    return SpecError(f"no collection named {name!r} in {workspace.uri}: {listed}", remedy=remedy)


def _local(place: str) -> tuple[Workspace, str]:
    """A local directory, links resolved once: what is committed later does not reach an open collection."""
    path = local_path(place).expanduser().resolve()
    if not path.exists():
        raise SpecError(f"{path} does not exist", remedy="give a collection's name, directory or URI")
    return open_workspace(str(path.parent)), path.name


def open_version(workspace: Workspace, name: str, commit: Commit) -> Opened:
    """Exactly the files of the commit, without listing anything. Raises Unavailable where one is gone."""
    home = version_key(name, commit.dir)
    paths = [workspace.path_of(f"{home}/{file.path}") for file in sorted(commit.files, key=lambda file: file.path)]
    return Opened(_files(workspace, paths, workspace.path_of(home)), workspace.uri_of(home), name, commit, workspace)


def _version(place: Workspace, directory: str) -> Opened | None:
    """A version directory of a collection that stands in a workspace."""
    root, _, name = place.uri.removesuffix(f"/{VERSIONS}").rpartition("/")
    if not place.uri.endswith(f"/{VERSIONS}") or not is_name(name):
        return None
    workspace = open_workspace(root)
    commit = next((entry for entry in history(workspace, name) if entry.dir == directory), None)
    return open_version(workspace, name, commit) if commit else None


def _dataset(workspace: Workspace, key: str) -> ds.Dataset:
    """Any directory of Parquet files, or one file; names that begin with `_` or `.` are not data."""
    local = workspace.local_path(key)
    if local is not None and local.is_file():
        return _files(workspace, [workspace.path_of(key)], workspace.path_of(key))
    keys = [entry.key for entry in workspace.list(key) if entry.key.endswith(".parquet") and not _hidden(entry.key[len(key) :])]
    if not keys:
        raise SpecError(
            f"{workspace.uri_of(key)} holds no collection: no Parquet file is in it", remedy="give a collection's name, directory or URI"
        )
    return _files(workspace, [workspace.path_of(key) for key in keys], workspace.path_of(key))


def _hidden(relative: str) -> bool:
    return any(part.startswith(("_", ".")) for part in relative.split("/"))


def _files(workspace: Workspace, paths: Sequence[str], base: str) -> ds.Dataset:
    """The schema is the first file's, as every file has all columns; hive columns follow."""
    options = ds.FileSystemFactoryOptions(partition_base_dir=base, partitioning=ds.HivePartitioning.discover())
    try:
        return ds.FileSystemDatasetFactory(workspace.filesystem(), list(paths), ds.ParquetFileFormat(), options).finish()
    except FileNotFoundError as error:
        raise Unavailable(f"{base}: a file of the collection is gone: {error}", remedy="build it again with `rasterloom run`") from error
    except (pa.ArrowInvalid, OSError) as error:
        raise SpecError(
            f"{base} cannot be read as a collection: {error}", remedy="give a directory of Parquet files that `rasterloom` wrote"
        ) from error


def _summary(workspace: Workspace, name: str, commit: Commit) -> Summary:
    bands = commit.question.get("bands") or ()
    dates, source = (commit.question.get(name) or {} for name in ("dates", "source"))
    return Summary(
        name=name,
        uri=workspace.uri_of(version_key(name, commit.dir)),
        version=commit.version,
        rows=commit.rows,
        bands=tuple(band["code"] for band in bands),
        data_source=str(commit.spec.get("dataset") or source.get("collection") or source.get("data_source") or ""),
        date_range="/".join(str(dates.get(end) or "..") for end in ("start", "end")),
        failed=sum(commit.counts.failed.values()),
        bytes=sum(file.size for file in commit.files),
        committed=commit.ended,
        freshness=freshness_of(workspace, name, commit, now=datetime.now(UTC)),
    )
