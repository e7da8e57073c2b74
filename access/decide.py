"""What a run would do with a plan: reuse the committed collection, build it on, or rebuild it. Reads only the workspace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from rasterloom.access.commits import Commit, checked_name, collection_ref, latest, version_key
from rasterloom.access.files import Workspace
from rasterloom.access.refs import to_json
from rasterloom.access.staging import find_batch_ref, needs_retry, read_search, search_key
from rasterloom.access.values import CollectionRef, ItemsRef, SearchRef
from rasterloom.specs.identity import differences, question_to_json
from rasterloom.specs.plan import shard_key
from rasterloom.specs.question import Plan, Shard


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardState:
    """What is known of one shard before a run."""

    shard: Shard
    state: Literal["cached", "closed", "open"]
    """`cached`: searched before and closed, needs no page; `closed`: not searched yet; `open`: searched by every run."""
    scenes: int | None
    headers: int | None
    """Header requests that are still to be made; None where only the search can tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What will happen, and why."""

    action: Literal["reuse", "build", "rebuild"]
    reason: str
    differences: tuple[str, ...]
    """Fields of the question that differ from the committed one: `rebuild` alone."""
    ref: CollectionRef | None
    """The committed collection of this name, whatever its question."""
    shards: tuple[ShardState, ...]
    pages: int | None
    """Search pages that will be asked for; None where only the server knows."""
    headers: int | None
    """Header requests that will be made; None where only the searches can tell."""

    def to_json(self) -> dict[str, Any]:
        return to_json(self)


def decide(plan: Plan, workspace: Workspace, *, force: bool = False) -> Decision:
    """Never answers with a collection of another question: that is a rebuild which names the fields that differ."""
    commit = latest(workspace, checked_name(plan.name))
    ref = collection_ref(workspace, plan.name, commit) if commit else None
    states = tuple(_state(plan, shard, workspace, force=force) for shard in plan.shards)
    if (
        commit is not None
        and commit.fingerprint == plan.fingerprint
        and not force
        and commit.closed
        and is_whole(workspace, plan.name, commit)
    ):
        reason = f"version {commit.version} answers the same question and all its windows were closed"
        return Decision(action="reuse", reason=reason, differences=(), ref=ref, shards=states, pages=0, headers=0)
    changed = _differences(plan, commit)
    return Decision(
        action="rebuild" if changed else "build",
        reason=_reason(plan, commit, force=force),
        differences=changed,
        ref=ref,
        shards=states,
        pages=0 if all(state.state == "cached" for state in states) else None,
        headers=_sum([state.headers for state in states]),
    )


def is_whole(workspace: Workspace, name: str, commit: Commit) -> bool:
    """Whether the version directory holds exactly the files of the commit, by name and size."""
    home = version_key(name, commit.dir)
    there = {entry.key: entry.size for entry in workspace.list(home)}
    return there == {f"{home}/{file.path}": file.size for file in commit.files}


def _state(plan: Plan, shard: Shard, workspace: Workspace, *, force: bool) -> ShardState:
    known = read_search(workspace, search_key(shard_key(plan.question, shard), run_id=None)) if shard.closed and not force else None
    if known is None:
        return ShardState(shard=shard, state="closed" if shard.closed else "open", scenes=None, headers=None)
    return ShardState(shard=shard, state="cached", scenes=known.kept, headers=_missing_headers(workspace, known))


def _missing_headers(workspace: Workspace, known: SearchRef) -> int:
    return sum(_missing(workspace, items) for items in known.batches)


def _missing(workspace: Workspace, items: ItemsRef) -> int:
    staged = find_batch_ref(workspace, items)
    if staged is None:
        return items.assets
    return len({failure.href for failure in staged.failures if failure.retryable}) if needs_retry(staged) else 0


def _differences(plan: Plan, commit: Commit | None) -> tuple[str, ...]:
    if commit is None or commit.fingerprint == plan.fingerprint:
        return ()
    return differences(commit.question, question_to_json(plan.question)) or ("the fingerprint, made by another version",)


def _reason(plan: Plan, commit: Commit | None, *, force: bool) -> str:
    if commit is None:
        return f"the workspace has no collection named {plan.name}"
    if commit.fingerprint != plan.fingerprint:
        return f"version {commit.version} answers another question"
    if force:
        return "force: nothing is read from caches"
    if not commit.closed:
        return f"version {commit.version} answers the same question, but not all of its windows were closed"
    return f"files of version {commit.version} are gone or changed"


def _sum(counts: list[int | None]) -> int | None:
    return None if None in counts else sum(count for count in counts if count is not None)
