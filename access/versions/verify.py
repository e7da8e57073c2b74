"""Whether a collection is what its commits say: every commit, every file of every kept version, and nothing beside them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rasterloom.access.versions.commits import (
    COMMITS,
    FAILURES,
    INFLIGHT,
    READS,
    REPORTS,
    VERSIONS,
    Commit,
    DataFile,
    checked_name,
    commit_key,
    decoded,
    hint_key,
    report_path,
    version_key,
    write_hint,
)
from rasterloom.access.versions.link import points_to, publish_link
from rasterloom.access.versions.looks import look_key
from rasterloom.access.versions.snapshots import window
from rasterloom.access.workspace.files import Workspace
from rasterloom.access.workspace.log import hint_of
from rasterloom.errors import RasterloomError, SpecError

_PIECE = 8 * 1024 * 1024
_COMMIT = re.compile(r"(\d{20})\.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as it should be."""

    kind: str
    """`missing`, `changed`, `unreadable`, `extra`, `chain`, `duplicate`; harmless ones: `leftover`, `unfinished`, `hint`, `link`."""
    path: str
    """Relative to the workspace."""
    message: str
    harmless: bool = False
    """Whether nothing of the collection is lost or wrong: garbage collection, `--repair` or the next run puts it right."""


@dataclass(slots=True)
class Report:
    name: str
    snapshots: list[int] = field(default_factory=list[int])
    """Those whose files were read."""
    files: int = 0
    bytes: int = 0
    findings: list[Finding] = field(default_factory=list[Finding])

    @property
    def is_damaged(self) -> bool:
        return any(not finding.harmless for finding in self.findings)

    def add(self, kind: str, path: str, message: str) -> None:
        self.findings.append(Finding(kind=kind, path=path, message=message))

    def note(self, kind: str, path: str, message: str) -> None:
        self.findings.append(Finding(kind=kind, path=path, message=message, harmless=True))


def verify(workspace: Workspace, name: str) -> Report:
    """Read everything of a collection and compare it with its commits. Changes nothing. Raises SpecError where there is none."""
    report = Report(name=checked_name(name))
    there = {entry.key: entry.size for entry in workspace.list(name)}
    if not any(key.startswith(f"{name}/{COMMITS}/") for key in there):
        raise SpecError(f"no collection named {name!r} in {workspace.uri}", remedy="see `rasterloom list`")
    log = _log(workspace, name, there, report)
    _check_hint(workspace, name, log, report)
    kept = window(log)
    for directory, entry in _versions(log).items():
        _check_version(workspace, name, entry, there, report, is_kept=directory in kept)
    _check_failures(workspace, name, kept.values(), there, report)
    _check_rest(name, log, there, report)
    _check_link(workspace, name, log, report)
    return report


def repair(workspace: Workspace, name: str) -> None:
    """Write the hint and the link anew: what can be made from the log. Data cannot."""
    log = _log(workspace, name, {entry.key: entry.size for entry in workspace.list(name)}, Report(name=name))
    if log:
        write_hint(workspace, name, log[0])
        publish_link(workspace, name)


# --- the log -----------------------------------------------------------------------------------------------------------------------


def _log(workspace: Workspace, name: str, there: dict[str, int], report: Report) -> list[Commit]:
    """All commits that can be read, newest first."""
    found = sorted(int(match[1]) for key in there if (match := _commit_number(name, key)))
    for missing in sorted(set(range(1, max(found, default=0) + 1)) - set(found)):
        report.add("missing", commit_key(name, missing), "the commit is gone, and commits are never deleted")
    entries = [entry for number in found if (entry := _commit(workspace, name, number, report))]
    return entries[::-1]


def _commit_number(name: str, key: str) -> re.Match[str] | None:
    folder = f"{name}/{COMMITS}/"
    return _COMMIT.fullmatch(key[len(folder) :]) if key.startswith(folder) else None


def _commit(workspace: Workspace, name: str, number: int, report: Report) -> Commit | None:
    key = commit_key(name, number)
    try:
        entry = decoded(workspace.read(key) or b"")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        report.add("changed", key, f"not the commit that was written: {error}")
        return None
    except RasterloomError as error:
        report.add("unreadable", key, error.message)
        return None
    if (entry.version, entry.parent) != (number, number - 1):
        report.add("chain", key, f"says that it is commit {entry.version} after {entry.parent}")
    return entry


def _check_hint(workspace: Workspace, name: str, log: list[Commit], report: Report) -> None:
    data, newest = workspace.read(hint_key(name)), log[0].version if log else 0
    numbers = re.findall(rb"\d+", data or b"")
    if data is not None and numbers and data == hint_of(int(numbers[0])) and int(numbers[0]) > newest:
        report.add("missing", commit_key(name, int(numbers[0])), f"the hint names it, and the newest commit that can be read is {newest}")
    elif data != hint_of(newest):
        report.note("hint", hint_key(name), f"does not name the newest commit, {newest}; readers look further, --repair rewrites it")


# --- versions ----------------------------------------------------------------------------------------------------------------------


def _versions(log: Iterable[Commit]) -> dict[str, Commit]:
    """Every directory that a commit names, with the newest such commit."""
    versions: dict[str, Commit] = {}
    for entry in log:
        versions.setdefault(entry.dir, entry)
    return versions


def _check_version(workspace: Workspace, name: str, entry: Commit, there: dict[str, int], report: Report, *, is_kept: bool) -> None:
    """A version that is no longer kept may be gone, as a whole or in part."""
    home = version_key(name, entry.dir)
    wanted = {f"{home}/{file.path}": file for file in entry.files}
    found = {key for key in there if key.startswith(f"{home}/")}
    if not is_kept and not set(wanted) <= found:
        for key in sorted(found):
            report.note("leftover", key, "of a version that is no longer kept; garbage collection takes it")
        return
    report.snapshots.append(entry.version)
    for key in sorted(set(wanted) - found):
        report.add("missing", key, f"a file of snapshot {entry.version}")
    for key in sorted(found - set(wanted)):
        report.add("extra", key, f"no file of snapshot {entry.version}, but readers of its directory see it")
    whole = [key for key in sorted(set(wanted) & found) if _check_file(workspace, key, wanted[key], there[key], report)]
    if len(whole) == len(wanted):
        _check_ids(workspace, home, whole, report)


def _check_file(workspace: Workspace, key: str, file: DataFile, size: int, report: Report) -> bool:
    """Whether size, content, footer and rows are those of the commit."""
    report.files += 1
    report.bytes += size
    if size != file.size:
        report.add("changed", key, f"{size:,} bytes, the commit says {file.size:,}")
        return False
    try:
        if _digest(workspace, key) != file.sha256:
            report.add("changed", key, "the content is not what was written: its SHA-256 differs")
            return False
        rows = _rows(workspace, key)
    except (RasterloomError, OSError, pa.ArrowException) as error:
        report.add("unreadable", key, str(error).splitlines()[0][:300])
        return False
    if rows != file.rows:
        report.add("changed", key, f"{rows:,} rows, the commit says {file.rows:,}")
    return rows == file.rows


def _digest(workspace: Workspace, key: str) -> str:
    digest = hashlib.sha256()
    with workspace.filesystem().open_input_file(workspace.path_of(key)) as source:
        while piece := source.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def _rows(workspace: Workspace, key: str) -> int:
    return pq.read_metadata(workspace.path_of(key), filesystem=workspace.filesystem()).num_rows


def _check_ids(workspace: Workspace, home: str, keys: Iterable[str], report: Report) -> None:
    """Each id once in the whole version."""
    filesystem = workspace.filesystem()
    columns = [_ids(filesystem, workspace.path_of(key)) for key in keys]
    ids = pa.chunked_array([chunk for column in columns for chunk in column.chunks], pa.string())
    repeated = len(ids) - pc.count_distinct(ids).as_py()
    if repeated:
        report.add("duplicate", home, f"{repeated:,} ids stand more than once")


def _ids(filesystem: Any, path: str) -> pa.ChunkedArray:
    with filesystem.open_input_file(path) as source:
        return pq.read_table(source, columns=["id"])["id"]


# --- the rest ----------------------------------------------------------------------------------------------------------------------


def _check_failures(workspace: Workspace, name: str, kept: Iterable[Commit], there: dict[str, int], report: Report) -> None:
    for entry in kept:
        key = f"{name}/{entry.failures}"
        if not entry.failures:
            continue
        if key not in there:
            report.add("missing", key, f"the failures table of snapshot {entry.version}")
        elif entry.failures_sha256 and hashlib.sha256(workspace.read(key) or b"").hexdigest() != entry.failures_sha256:
            report.add("changed", key, "the content is not what was written: its SHA-256 differs")


def _check_rest(name: str, log: Iterable[Commit], there: dict[str, int], report: Report) -> None:
    """Every file that nothing above accounts for."""
    log = list(log)
    directories = {entry.dir for entry in log}
    known = {f"{name}/{path}" for entry in log for path in (entry.failures, report_path(entry.version))} | {hint_key(name), look_key(name)}
    for key in sorted(there):
        folder, _, rest = key.removeprefix(f"{name}/").partition("/")
        file = rest.rsplit("/", 1)[-1] or folder
        if _commit_number(name, key) or key in known:
            continue
        if folder == READS or (folder == VERSIONS and rest.partition("/")[0] in directories):
            continue
        if file.startswith(".") and file.endswith(".tmp"):
            report.note("leftover", key, "a temporary file of a run that is under way or was killed")
        elif folder in (INFLIGHT, VERSIONS, FAILURES, REPORTS) and rest:
            report.note("unfinished", key, "of a run that is under way, was killed or lost against another")
        else:
            report.add("extra", key, "no file of a collection")


def _check_link(workspace: Workspace, name: str, log: list[Commit], report: Report) -> None:
    target = points_to(workspace, name)
    if log and target is not None and target != version_key(name, log[0].dir):
        report.note("link", f"{name}_stac", f"points to {target}, not to the newest version; --repair and the next run correct it")
