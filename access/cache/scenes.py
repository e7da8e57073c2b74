"""Scenes as JSON lines, and a spool that keeps a search of any size in bounded memory.

Spelled out by hand rather than through `refs`: a build passes every scene through here twice.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from rasterloom.access.values import Asset, Scene
from rasterloom.specs.question import Dedupe


def scene_to_line(scene: Scene) -> bytes:
    """One JSON document without a line end."""
    value = {
        "id": scene.id,
        "collection": scene.collection,
        "datetime": scene.datetime.isoformat(),
        "geometry": scene.geometry.hex(),
        "bbox": scene.bbox,
        "properties": scene.properties,
        "assets": [_asset_to_list(asset) for asset in scene.assets],
        "crs": scene.crs,
        "updated": scene.updated,
        **({"origin": scene.origin} if scene.origin else {}),
    }
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def scene_from_line(line: bytes) -> Scene:
    value: dict[str, Any] = json.loads(line)
    return Scene(
        id=value["id"],
        collection=value["collection"],
        datetime=datetime.fromisoformat(value["datetime"]),
        geometry=bytes.fromhex(value["geometry"]),
        bbox=tuple(value["bbox"]),
        properties=value["properties"],
        assets=tuple(_asset_from_list(*values) for values in value["assets"]),
        crs=value["crs"],
        updated=value["updated"],
        origin=value.get("origin"),
    )


def _asset_to_list(asset: Asset) -> list[str | int | None]:
    values = [asset.band, asset.key, asset.href, asset.band_index, asset.size]
    return values if asset.crs is None else [*values, asset.crs]


def _asset_from_list(band: str, key: str, href: str, index: int, size: int | None, crs: str | None = None) -> Asset:
    return Asset(band=band, key=key, href=href, band_index=index, size=size, crs=crs)


def hrefs_of(scene: Scene) -> list[str]:
    """The distinct files of a scene: bands that share a file share its header request."""
    return list(dict.fromkeys(asset.href for asset in scene.assets))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a scene stands in the spool, and what decides its order and its rivals."""

    instant: datetime
    id: str
    collection: str
    updated: str
    offset: int
    size: int
    hrefs: int
    rival: Rival


_Comparable = tuple[bool, float, str]
"""Absent values below numbers below texts."""


@dataclass(frozen=True, slots=True)
class Rival:
    """What decides which of several scenes is kept."""

    group: tuple[str, ...]
    """Scenes of one group answer the same: only the one of the highest rank is kept."""
    rank: tuple[_Comparable, ...]
    id: str
    """Of equal ranks the larger one is kept."""

    def beats(self, other: Rival) -> bool:
        return (self.rank, self.id) > (other.rank, other.id)


Contender = TypeVar("Contender")


def best_of(contenders: Iterable[Contender], rival: Callable[[Contender], Rival]) -> dict[tuple[str, ...], Contender]:
    """Group -> who is kept of it; of equals the first."""
    best: dict[tuple[str, ...], Contender] = {}
    for each in contenders:
        group = rival(each).group
        if rival(each).beats(rival(best.setdefault(group, each))):
            best[group] = each
    return best


class Spool:
    """Collects scenes on a temporary file; of two with the same (collection, id) the newest `updated` stays, the later of equals."""

    def __init__(self, dedupe: Dedupe | None = None) -> None:
        self._dedupe = dedupe or Dedupe(key=("collection", "id"), order_by=("updated",))
        self._file = tempfile.TemporaryFile(prefix="rasterloom-")  # noqa: SIM115 -- closed by __exit__
        self._places: dict[tuple[str, str], _Place] = {}
        self.duplicates = 0

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._places)

    @property
    def requests(self) -> int:
        """Header requests that all scenes need together."""
        return sum(place.hrefs for place in self._places.values())

    def add(self, scene: Scene) -> None:
        key = (scene.collection, scene.id)
        rival = self._places.get(key)
        if rival is not None:
            self.duplicates += 1
            if rival.updated > (scene.updated or ""):
                return
        line = scene_to_line(scene)
        offset = self._file.tell()
        self._file.write(line)
        self._places[key] = _Place(
            instant=scene.datetime,
            id=scene.id,
            collection=scene.collection,
            updated=scene.updated or "",
            offset=offset,
            size=len(line),
            hrefs=len(hrefs_of(scene)),
            rival=rival_of(scene, self._dedupe),
        )

    def batches(self, scenes: int) -> Iterator[Sequence[Scene]]:
        """The scenes in the order of (datetime, id, collection), so many at a time, one of each group of `dedupe`. Ends the adding."""
        best = best_of(self._places.values(), lambda place: place.rival)
        self.duplicates += len(self._places) - len(best)
        order = sorted(best.values(), key=lambda place: (place.instant, place.id, place.collection))
        for start in range(0, len(order), scenes):
            yield [self._read(place) for place in order[start : start + scenes]]

    def _read(self, place: _Place) -> Scene:
        self._file.seek(place.offset)
        return scene_from_line(self._file.read(place.size))


def rival_of(scene: Scene, dedupe: Dedupe) -> Rival:
    facts = {"id": scene.id, "collection": scene.collection, "datetime": scene.datetime.isoformat(), "updated": scene.updated}
    return rival_by({**scene.properties, **facts}, dedupe)


def rival_by(facts: Mapping[str, Any], dedupe: Dedupe) -> Rival:
    """Of the properties and columns of a scene. Alone in its group is one that lacks a property of the key."""
    values = [facts.get(name) for name in dedupe.key]
    alone = (str(facts["collection"]), str(facts["id"])) if None in values else ()
    rank = tuple(_comparable(facts.get(name)) for name in dedupe.order_by)
    return Rival(group=(*map(str, values), *alone), rank=rank, id=str(facts["id"]))


def group_of(scene: Scene, dedupe: Dedupe) -> tuple[str, ...]:
    """Scenes of one group answer the same: only one of them is kept."""
    return rival_of(scene, dedupe).group


def _comparable(value: Any) -> _Comparable:
    number = float(value) if isinstance(value, (int, float)) else float("-inf") if value is None else float("inf")
    return value is not None, number, value if isinstance(value, str) else ""
