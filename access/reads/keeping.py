"""What becomes of outputs and units in time: garbage collection, forgetting, and whether what stands is what was committed.

Never taken: commit files; the newest outputs, as many as the spec keeps; outputs that were the newest within the grace time; what
belongs to a run with a fresh heartbeat; files without a commit that are younger than a day.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from rasterloom.access.reads.folders import at_once
from rasterloom.access.reads.outputs import (
    OutputCommit,
    failures_key,
    newest_outputs,
    output_history,
    output_home,
    output_key,
    read_output_commit,
    reads_in,
)
from rasterloom.access.reads.units import UNITS, unit_file
from rasterloom.access.versions.commits import FAILURES, INFLIGHT, READS, VERSIONS, is_name
from rasterloom.access.versions.gc import GRACE, Collected
from rasterloom.access.versions.heartbeat import FRESH, is_fresh, run_of
from rasterloom.access.versions.verify import Finding
from rasterloom.access.workspace.clock import SYSTEM, Clock
from rasterloom.access.workspace.files import Entry, Workspace
from rasterloom.access.workspace.log import Log
from rasterloom.errors import RasterloomError

BOUND = 32 * 1024**3
"""Bytes of units that are remembered, beside those of the newest outputs. On a local disk most are the outputs' own, by hard links."""
YOUNG = timedelta(days=1)
_LOG = logging.getLogger("rasterloom.gc")


def collect_outputs(
    workspace: Workspace, name: str, *, grace: timedelta = GRACE, clock: Clock = SYSTEM, dry_run: bool = False
) -> list[Collected]:
    """Take away what is garbage among the outputs of every read of a collection."""
    return [_collect(workspace, name, read, grace, clock, dry_run=dry_run) for read in reads_in(workspace, name)]


def _collect(workspace: Workspace, name: str, read: str, grace: timedelta, clock: Clock, *, dry_run: bool) -> Collected:
    """Looks at the files first, then at the heartbeats, then at the log: what is committed meanwhile is seen to be."""
    home = output_home(name, read)
    found = list(workspace.list(home))
    now = clock.now()
    alive = [run_of(beat) for beat in workspace.list(f"{name}/{INFLIGHT}") if is_fresh(workspace, beat, now)]
    kept, named = _kept(workspace, name, read, now - grace)
    directories = {_directory(home, entry) for entry in found} - {""}
    young = {_directory(home, entry) for entry in found if now - entry.modified < FRESH}
    gone = [each for each in sorted(directories) if each not in kept and (each in named or not (each in young or _of_any(each, alive)))]
    litter = [entry for entry in found if now - entry.modified >= FRESH and _is_litter(home, entry, kept)]
    if not dry_run:
        for key in (*(f"{home}/{VERSIONS}/{each}" for each in gone), *(entry.key for entry in litter)):
            workspace.delete(key)
    taken = [entry for entry in found if _directory(home, entry) in gone or entry in litter]
    return Collected(
        name=f"{name}.{read}",
        versions=tuple(gone),
        others=tuple(entry.key for entry in litter),
        files=len(taken),
        bytes=sum(entry.size for entry in taken),
    )


def _kept(workspace: Workspace, name: str, read: str, since: datetime) -> tuple[set[str], set[str]]:
    """Directories that stay, and all that the log names."""
    kept: set[str] = set()
    named: set[str] = set()
    wanted, superseded = 0, None
    for place, commit in enumerate(output_history(workspace, name, read)):
        wanted = wanted or commit.keep
        if place < wanted or superseded is None or superseded >= since:
            kept.add(commit.dir)
        named.add(commit.dir)
        superseded = commit.ended
    return kept, named


def _directory(home: str, entry: Entry) -> str:
    folder, _, rest = entry.key.removeprefix(f"{home}/").partition("/")
    return rest.partition("/")[0] if folder == VERSIONS else ""


def _of_any(directory: str, runs: Iterable[str]) -> bool:
    return any(directory.startswith(f"{run}-") for run in runs)


def _is_litter(home: str, entry: Entry, kept: set[str]) -> bool:
    """Failures tables of outputs that went, and temporary files."""
    folder, _, file = entry.key.removeprefix(f"{home}/").rpartition("/")
    if file.startswith(".") and file.endswith(".tmp"):
        return True
    return folder == FAILURES and file.partition("-")[2].removesuffix(".parquet") not in kept


@dataclass(slots=True)
class _Unit:
    entries: list[Entry]

    @property
    def size(self) -> int:
        return sum(entry.size for entry in self.entries)

    @property
    def used(self) -> datetime:
        return max(entry.modified for entry in self.entries)


def prune_units(workspace: Workspace, *, bound: int = BOUND, clock: Clock = SYSTEM, dry_run: bool = False) -> list[Entry]:
    """Forget what killed runs left and, above the bound, the oldest units; those of the newest outputs stay. What was forgotten.

    A unit can be read again from its files, so this costs requests and nothing else. While a run is under way nothing is forgotten.
    """
    units: dict[str, _Unit] = {}
    for entry in workspace.list(UNITS):
        units.setdefault(entry.key.removeprefix(f"{UNITS}/").partition("/")[0].removesuffix(".json"), _Unit([])).entries.append(entry)
    now = clock.now()
    old = {key: unit for key, unit in units.items() if now - unit.used >= YOUNG}
    forgotten = [key for key, unit in old.items() if not any(entry.key == unit_file(key) for entry in unit.entries)]
    excess = sum(unit.size for unit in units.values()) - sum(units[key].size for key in forgotten) - bound
    if (excess <= 0 and not forgotten) or _is_busy(workspace, now):
        return []
    if excess > 0:
        live = {key for name in _collections(workspace) for commit in newest_outputs(workspace, name) for key in commit.units}
        forgotten += _oldest({key: unit for key, unit in old.items() if key not in live and key not in forgotten}, excess)
    if not dry_run:
        for key in forgotten:
            workspace.delete(unit_file(key))  # first, as it says that the unit is whole
            workspace.delete(f"{UNITS}/{key}")
    return [entry for key in forgotten for entry in units[key].entries]


def _oldest(units: Mapping[str, _Unit], excess: int) -> list[str]:
    """As many as make up `excess` bytes."""
    found: list[str] = []
    for key, unit in sorted(units.items(), key=lambda item: (item[1].used, item[0])):
        if excess <= 0:
            break
        excess -= unit.size
        found.append(key)
    return found


def _collections(workspace: Workspace) -> list[str]:
    return [name for name in workspace.children() if is_name(name) and READS in workspace.children(name)]


def _is_busy(workspace: Workspace, now: datetime) -> bool:
    names = [name for name in workspace.children() if is_name(name)]
    return any(is_fresh(workspace, beat, now) for name in names for beat in workspace.list(f"{name}/{INFLIGHT}"))


def tidy_outputs(workspace: Workspace, name: str, *, clock: Clock = SYSTEM) -> None:
    """After a commit. What goes wrong here is told in the log of the process and harms nothing: the next commit tries again."""
    try:
        collect_outputs(workspace, name, clock=clock)
        prune_units(workspace, clock=clock)
    except RasterloomError as error:
        _LOG.warning("%s: garbage of reads was not collected: %s", name, error)


def verify_outputs(workspace: Workspace, name: str) -> list[Finding]:
    """What is wrong with the kept outputs of every read: files that are missing or changed, commits that are gone or damaged."""
    return [finding for read in reads_in(workspace, name) for finding in _verified(workspace, name, read)]


def _verified(workspace: Workspace, name: str, read: str) -> list[Finding]:
    log = Log(workspace, output_home(name, read))
    findings: list[Finding] = []
    commits: list[OutputCommit] = []
    for number in range(log.newest(), 0, -1):
        try:
            commit = read_output_commit(log, number)
        except RasterloomError as error:
            findings.append(Finding(kind="unreadable", path=log.key(number), message=str(error)))
            continue
        if commit is None:
            findings.append(Finding(kind="chain", path=log.key(number), message="a commit is gone: they are never deleted"))
        else:
            commits.append(commit)
    for commit in commits[: commits[0].keep] if commits else ():
        findings += _checked(workspace, commit)
    return findings


def _checked(workspace: Workspace, commit: OutputCommit) -> list[Finding]:
    home = output_key(commit)
    wanted = {f"{home}/{file.path}": (file.size, file.sha256) for file in commit.files}
    there = {entry.key: entry.size for entry in workspace.list(home)}
    odd = [
        Finding(kind="missing", path=key, message=f"a file of output {commit.version} of {commit.read}")
        for key in sorted(wanted.keys() - there.keys())
    ]
    odd += [Finding(kind="extra", path=key, message="no file of the output") for key in sorted(there.keys() - wanted.keys())]
    tables = [(failures_key(commit), commit.failures_sha256)] if commit.failures else []
    changed = _changed(workspace, [*((key, wanted[key][1]) for key in sorted(wanted.keys() & there.keys())), *tables])
    return odd + [Finding(kind="changed", path=key, message="the content is not what was written: its SHA-256 differs") for key in changed]


def _changed(workspace: Workspace, files: Sequence[tuple[str, str]]) -> list[str]:
    sums = at_once(lambda file: hashlib.sha256(workspace.read(file[0]) or b"").hexdigest(), files)
    return [key for (key, wanted), found in zip(files, sums, strict=True) if wanted != found]
