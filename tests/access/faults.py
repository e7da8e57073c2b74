"""Faults as a table: what is hurt, and the one thing that is to come of it. Through the real functions of a build, without Prefect.

Every case begins with a committed version of three scenes. Two more appear upstream, something breaks, and a second build runs. Whatever
comes of it, the first version can still be read; and where nothing was committed, the next build has all five scenes once upstream is
well again.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pyarrow.parquet as pq
import pytest

from rasterloom.access.collection import load
from rasterloom.access.values import CollectionRef
from rasterloom.access.versions.commits import latest
from rasterloom.access.versions.opening import failures_of
from rasterloom.access.workspace.place import open_workspace
from rasterloom.errors import RasterloomError, Unreadable
from rasterloom.specs.effort import Effort
from tests.access.world import JUNE, World

OLD, NEW = (0, 1, 2), (3, 4)
"""Numbers of the scenes of the committed version, and of those that appear before the build that is hurt."""
EFFORT = Effort(allow_private_hosts=True, retries=1, timeout=10, page_size=2, max_error_rate=1.0, max_concurrent=8)


@dataclass(frozen=True)
class Built:
    """A version is committed."""

    rows: int = len(OLD) + len(NEW)
    failures: tuple[str, ...] = ()
    """Reasons in the failures table, sorted."""


@dataclass(frozen=True)
class Aborted:
    """Nothing is committed, and the error says what to do."""

    error: type[RasterloomError]
    words: str = ""
    """Part of the message; or of an `Unreadable` its reason."""


@dataclass(frozen=True)
class Case:
    name: str
    hurt: Callable[[World], None]
    outcome: Built | Aborted
    requests: int = 40
    """Of the build that is hurt, at most."""
    effort: dict[str, Any] = field(default_factory=dict[str, Any])
    also: Callable[[World], None] = lambda _: None
    """What else holds after the build."""


def begun(world: World) -> CollectionRef:
    """The committed version, and two more scenes upstream."""
    for number in OLD:
        world.add(number, JUNE + timedelta(days=10 * number))
    ref = build(world, "before")
    for number in NEW:
        world.add(number, JUNE + timedelta(days=10 * number))
    world.requests()
    return ref


def build(world: World, run_id: str, **effort: Any) -> CollectionRef:
    return world.run(world.job(run_id, effort=replace(EFFORT, **effort), closed=(False, False)))


def check(world: World, case: Case) -> None:
    before = begun(world)
    well = snapshot(world)
    case.hurt(world)
    asked = len(world.stac.log) + len(world.files.log)
    match case.outcome:
        case Built() as expected:
            check_built(world, build(world, "hurt", **case.effort), expected)
        case Aborted() as expected:
            check_aborted(world, case, expected)
    requests = len(world.stac.log) + len(world.files.log) - asked
    assert requests <= case.requests, requests
    case.also(world)
    assert pq.read_table(before.uri.removeprefix("file://")).num_rows == len(OLD), "the version before is untouched"
    if isinstance(case.outcome, Aborted):
        restore(world, well)
        again = build(world, "healed", retry_failed=True)
        assert (again.rows, again.failed) == (len(OLD) + len(NEW), 0), "once upstream is well the next build is whole"


def check_built(world: World, ref: CollectionRef, expected: Built) -> None:
    assert ref.version == 2
    found = failures_of("s2", str(world.workspace))
    reasons = tuple(sorted(found["reason"].to_pylist() if found else ()))
    assert (ref.rows, reasons) == (expected.rows, expected.failures), (ref.rows, reasons)


def check_aborted(world: World, case: Case, expected: Aborted) -> None:
    with pytest.raises(RasterloomError) as caught:
        build(world, "hurt", **case.effort)
    error = caught.value
    assert type(error) is expected.error or issubclass(type(error), expected.error)
    assert expected.words in (error.reason if isinstance(error, Unreadable) else error.message)
    assert error.remedy
    commit = latest(open_workspace(str(world.workspace)), "s2")
    assert commit is not None
    assert commit.version == 1


def snapshot(world: World) -> dict[str, Any]:
    """All knobs of the two servers."""
    return {
        "stac": {name: copy.copy(value) for name, value in vars(world.stac).items() if not name.startswith("_") and name != "stopping"},
        "items": copy.deepcopy(world.stac.items),
        "files": dict(world.files.files),
    }


def restore(world: World, well: dict[str, Any]) -> None:
    for name, value in well["stac"].items():
        if name not in ("log", "items"):
            setattr(world.stac, name, value)
    world.stac.items[:] = well["items"]
    world.files.files = well["files"]
    world.files.faults.clear()


def newest(world: World) -> dict[str, Any]:
    """The item that is hurt: scene 4."""
    return world.stac.items[-1]


def rows_of(world: World) -> dict[str, dict[str, Any]]:
    """The newest version by id."""
    return {row["id"]: row for row in load("s2", str(world.workspace)).to_table().to_pylist()}
