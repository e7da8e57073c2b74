"""What a run would do with a plan: reuse the committed collection, refresh it, extend it, derive from it, or rebuild. Asks no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from rasterloom.access.building.batches import missing_hrefs
from rasterloom.access.building.derive import obstacle
from rasterloom.access.building.job import Job
from rasterloom.access.cache.staging import find_batch_ref, needs_retry, read_items, read_search, search_key
from rasterloom.access.refs import to_json
from rasterloom.access.values import CollectionRef, ItemsRef
from rasterloom.access.versions.commits import Commit, checked_name, collection_ref, latest, version_key
from rasterloom.access.workspace.files import Workspace
from rasterloom.specs.compare import Kind, relation
from rasterloom.specs.effort import Effort
from rasterloom.specs.identity import differences, question_from_json, question_to_json
from rasterloom.specs.plan import shard_key
from rasterloom.specs.question import CopySource, Plan, Shard

Action = Literal["reuse", "build", "refresh", "extend", "derive", "rebuild"]
"""`build`: there is nothing yet; `reuse`: nothing to do; `refresh`: the same question again; `extend`: a larger one; `derive`: a part of
the committed one, answered out of it; `rebuild`: another one. All but `reuse` make the whole answer, out of what is remembered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardState:
    """What is known of one shard before a run."""

    shard: Shard
    state: Literal["cached", "closed", "open"]
    """`cached`: answered without a search; `closed`: not searched yet; `open`: searched by every run."""
    scenes: int | None
    headers: int | None
    """Header requests that are still to be made; None where only the search can tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What will happen, and why."""

    action: Action
    reason: str
    differences: tuple[str, ...]
    """Fields of the question that differ from the committed one, `field: old -> new`."""
    ref: CollectionRef | None
    """The committed collection of this name, whatever its question."""
    shards: tuple[ShardState, ...]
    pages: int | None
    """Search pages that will be asked for; None where only the server knows."""
    headers: int | None
    """Header requests that will be made; None where only the searches can tell."""

    def to_json(self) -> dict[str, Any]:
        return to_json(self)


def decide(plan: Plan, workspace: Workspace, *, force: bool = False, retry_failed: bool = False) -> Decision:
    """Never answers with a collection of another question, and never with a part of one that is not sure to be whole.

    `retry_failed`: the files that failed are asked for again, so nothing is reused or derived as it stands.
    """
    commit = latest(workspace, checked_name(plan.name))
    choice = _first(plan) if commit is None else _choose(plan, workspace, commit, again=_again(force=force, retry_failed=retry_failed))
    offline = choice.action in ("reuse", "derive") or isinstance(plan.question.source, CopySource)
    states = tuple(_state(plan, shard, workspace, force=force) for shard in plan.shards)
    states = tuple(replace(state, state="cached", headers=0) for state in states) if offline else states
    return Decision(
        action=choice.action,
        reason=choice.reason,
        differences=() if commit is None else _differences(plan, commit),
        ref=None if commit is None else collection_ref(workspace, plan.name, commit),
        shards=states,
        pages=0 if all(state.state == "cached" for state in states) else None,
        headers=_sum([state.headers for state in states]),
    )


def is_whole(workspace: Workspace, name: str, commit: Commit) -> bool:
    """Whether the version directory holds exactly the files of the commit, by name and size."""
    home = version_key(name, commit.dir)
    there = {entry.key: entry.size for entry in workspace.list(home)}
    return there == {f"{home}/{file.path}": file.size for file in commit.files}


@dataclass(frozen=True, slots=True)
class _Choice:
    action: Action
    reason: str


def _first(plan: Plan) -> _Choice:
    return _Choice("build", f"the workspace has no collection named {plan.name}")


def _choose(plan: Plan, workspace: Workspace, commit: Commit, *, again: str | None) -> _Choice:
    """`again`: why the answer is made anew although it may stand, None where nobody asked for that."""
    version = f"version {commit.version}"
    whole = is_whole(workspace, plan.name, commit)
    kind = _kind(plan, commit)
    if kind == "same" and not whole:
        return _Choice("rebuild", f"files of {version} are gone or changed")
    if kind == "same":
        return _same(commit, again)
    fields = ", ".join(_fields(plan, commit))
    if kind == "larger":
        return _Choice("extend", f"{version} answers a part of the question (it differs in {fields}): its headers are not read again")
    if kind == "narrower" and whole:
        against = again or obstacle(workspace, plan, commit)
        if against is None:
            return _Choice("derive", f"{version} answers a larger question (it differs in {fields}) and holds all of this one")
        return _Choice("rebuild", f"{version} answers a larger question (it differs in {fields}), but {against}")
    return _Choice("rebuild", f"{version} answers another question (it differs in {fields})")


def _again(*, force: bool, retry_failed: bool) -> str | None:
    if force:
        return "force: nothing is read from caches"
    return "files that failed are asked for again" if retry_failed else None


def _same(commit: Commit, again: str | None) -> _Choice:
    version = f"version {commit.version}"
    if again is not None:
        return _Choice("refresh", again)
    if commit.closed:
        return _Choice("reuse", f"{version} answers the same question and all its windows were closed")
    return _Choice("refresh", f"{version} answers the same question, but not all of its windows were closed")


def _kind(plan: Plan, commit: Commit) -> Kind:
    """A question that this version of the program cannot read is another one."""
    if commit.fingerprint == plan.fingerprint:
        return "same"
    try:
        kind = relation(question_from_json(commit.question), plan.question).kind
    except (KeyError, TypeError, ValueError):
        return "other"
    return "other" if kind == "same" else kind


def _fields(plan: Plan, commit: Commit) -> Sequence[str]:
    asked = question_to_json(plan.question)
    return [name for name in asked if asked[name] != commit.question.get(name)] or ["the fingerprint"]


def _differences(plan: Plan, commit: Commit) -> tuple[str, ...]:
    if commit.fingerprint == plan.fingerprint:
        return ()
    return differences(commit.question, question_to_json(plan.question)) or ("the fingerprint, made by another version",)


def _state(plan: Plan, shard: Shard, workspace: Workspace, *, force: bool) -> ShardState:
    known = read_search(workspace, search_key(shard_key(plan.question, shard), run_id=None)) if shard.closed and not force else None
    if known is None:
        return ShardState(shard=shard, state="closed" if shard.closed else "open", scenes=None, headers=None)
    missing = sum(_missing(plan, items, workspace) for items in known.batches)
    return ShardState(shard=shard, state="cached", scenes=known.kept, headers=missing)


def _missing(plan: Plan, items: ItemsRef, workspace: Workspace) -> int:
    staged = find_batch_ref(workspace, items)
    if staged is not None and not needs_retry(staged):
        return 0
    job = Job(workspace=workspace.uri, plan=plan, effort=Effort(), spec={}, run_id="")
    return len(missing_hrefs(workspace, job, read_items(workspace, items), items))


def _sum(counts: list[int | None]) -> int | None:
    return None if None in counts else sum(count for count in counts if count is not None)
