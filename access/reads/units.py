"""What is remembered of units: `<workspace>/_cache/reads/<key>.json`, written last, names the files of one attempt below `<key>/`."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rasterloom.access.cache.staging import CACHE
from rasterloom.access.reads.folders import at_once, keep, staged
from rasterloom.access.reads.job import Made, PartRef, Unit
from rasterloom.access.refs import from_json, to_json
from rasterloom.access.values import Traffic
from rasterloom.access.workspace.files import Workspace
from rasterloom.access.workspace.log import sealed, unsealed
from rasterloom.access.workspace.place import open_workspace

UNITS = f"{CACHE}/reads"
GROUP_PIXELS = 20_000_000
"""Numbers that one task makes, about: a second of work. Shorter tasks cost more in Prefect than they do."""
GROUP_UNITS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeRef:
    """The units of one task, as Prefect carries them."""

    workspace: str
    keys: tuple[str, ...]
    contents: tuple[str, ...]
    """Of each unit: `PartRef.content`."""
    made: int = 0
    """Units that this task made; the others were remembered."""
    failures: int = 0
    retryable: int = 0
    traffic: Traffic = Traffic()  # noqa: RUF009  frozen

    def remembered(self) -> MadeRef:
        """The reference as a later run finds it: that run asked for nothing."""
        return MadeRef(workspace=self.workspace, keys=self.keys, contents=self.contents, failures=self.failures)


def unit_file(key: str) -> str:
    return f"{UNITS}/{key}.json"


def store_unit(workspace: Workspace, unit: Unit, write: Callable[[Path], Made]) -> PartRef:
    """Make a unit in a folder of its own and remember it; two runs that make the same one do not meet."""
    home = f"{UNITS}/{unit.key}/{uuid.uuid4().hex[:12]}"
    with staged(workspace, home) as folder:
        made = write(folder)
        files = keep(workspace, home, folder)
        ref = PartRef(key=unit.key, home=home, files=files, meta=made.meta, failures=made.failures, asked=made.asked)
        workspace.write(unit_file(unit.key), sealed(to_json(ref)))
    return ref


def find_unit(workspace: Workspace, key: str) -> PartRef | None:
    """None where it was not made, or where a file of it is gone or was cut off."""
    data = workspace.read(unit_file(key))
    try:
        ref = from_json(PartRef, unsealed(data)) if data else None
    except (ValueError, TypeError, KeyError):
        return None
    return ref if ref is not None and _stands(workspace, ref) else None


def _stands(workspace: Workspace, ref: PartRef) -> bool:
    there = {entry.key: entry.size for entry in workspace.list(ref.home)} if ref.files else {}
    return all(there.get(f"{ref.home}/{file.path}") == file.size for file in ref.files)


def find_units(workspace: Workspace, units: Sequence[Unit]) -> list[PartRef | None]:
    """In the order of `units`."""
    return at_once(lambda unit: find_unit(workspace, unit.key), units)


def grouped(units: Sequence[Unit]) -> Iterator[tuple[Unit, ...]]:
    """Neighbours that make about a second of work together."""
    group: list[Unit] = []
    pixels = 0
    for unit in units:
        if group and (pixels + unit.pixels > GROUP_PIXELS or len(group) >= GROUP_UNITS):
            yield tuple(group)
            group, pixels = [], 0
        group.append(unit)
        pixels += unit.pixels
    if group:
        yield tuple(group)


def made_ref_is_whole(mapping: dict[str, Any]) -> bool:
    """Whether a remembered MadeRef, as JSON, still stands for what it names, and no failure of it is worth another try."""
    ref = from_json(MadeRef, mapping)
    workspace = open_workspace(ref.workspace)
    found = at_once(lambda key: find_unit(workspace, key), ref.keys)
    return all(
        part is not None and not part.needs_retry and part.content == content for part, content in zip(found, ref.contents, strict=True)
    )
