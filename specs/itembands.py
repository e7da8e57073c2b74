"""Which assets of a STAC item are bands, how they are called, and which sample of a shared file each is."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rasterloom.errors import SpecError
from rasterloom.specs.catalog import BandSource, Dataset
from rasterloom.specs.media import is_geotiff, is_jpeg2000
from rasterloom.specs.wrong import a_list

MOST = 1024
"""Bands that are taken out of one item."""
_PICTURES = frozenset({"thumbnail", "overview", "visual", "preview", "rendered_preview", "tilejson", "browse"})
"""Roles, and keys where there are no roles, of assets that show the data and are not it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    asset: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bands:
    """The band map that fits an item."""

    found: Mapping[str, BandSource]
    """Code -> where it is."""
    chosen: tuple[str, ...] = ()
    """Of a built-in dataset, the codes that the item has, where it has not all of them."""
    left_out: tuple[LeftOut, ...] = ()

    @property
    def indexed(self) -> bool:
        """Whether bands share a file."""
        return len({band.asset for band in self.found.values()}) < len(self.found) or any(band.index for band in self.found.values())


@dataclass(frozen=True, slots=True)
class _Candidate:
    asset: str
    names: tuple[str, ...]
    """Of its samples, one each; empty texts where it says none."""
    is_picture: bool


def bands_of(item: Mapping[str, Any], dataset: Dataset | None) -> Bands:
    """The map of the built-in dataset where the item has some of it, else one out of the item's own words.

    Raises `SpecError` where no asset is a GeoTIFF.
    """
    assets: Mapping[str, Any] = item["assets"]
    candidates, left_out = _sorted_out(assets)
    if dataset is not None:
        there = tuple(code for code, band in dataset.bands.items() if band.asset in assets)
        if there:
            return Bands(
                found=dataset.bands, chosen=there if len(there) < len(dataset.bands) else (), left_out=_unmapped(dataset, left_out)
            )
    if not candidates:
        raise _no_bands(assets)
    taken, repeated = _without_copies(candidates)
    return Bands(found=_coded(taken), left_out=(*left_out, *repeated))


def _unmapped(dataset: Dataset, left_out: Sequence[LeftOut]) -> tuple[LeftOut, ...]:
    used = {band.asset for band in dataset.bands.values()}
    return tuple(each for each in left_out if each.asset not in used)


def _no_bands(assets: Mapping[str, Any]) -> SpecError:
    of_jpeg = [
        key for key, asset in assets.items() if isinstance(asset, Mapping) and is_jpeg2000(asset.get("type"), str(asset.get("href")))
    ]
    if of_jpeg:
        return SpecError(
            f"the item has no GeoTIFF: its images are JPEG 2000 ({a_list(of_jpeg)})",
            remedy="look for the same scenes as GeoTIFFs, e.g. rasterloom datasets",
        )
    return SpecError(f"the item has no GeoTIFF: its assets are {a_list(assets) or 'none'}", remedy="give an item whose assets are GeoTIFFs")


def _sorted_out(assets: Mapping[str, Any]) -> tuple[list[_Candidate], list[LeftOut]]:
    candidates: list[_Candidate] = []
    left_out: list[LeftOut] = []
    for key, asset in assets.items():
        why = _unfit(asset) if _is_text(key) else "its key is no plain text"
        if why:
            left_out.append(LeftOut(asset=key, why=why))
        else:
            candidates.append(_Candidate(key, names_of(asset), _is_picture(key, asset)))
    if any(not each.is_picture for each in candidates):
        left_out += [LeftOut(asset=each.asset, why="a picture of the data") for each in candidates if each.is_picture]
        candidates = [each for each in candidates if not each.is_picture]
    return candidates, left_out


def _is_text(key: Any) -> bool:
    """Whether a spec can name it."""
    return isinstance(key, str) and bool(key.strip()) and len(key) <= 2048 and key.isprintable()


def _unfit(asset: Any) -> str:
    """Why an asset is no band; an empty text where it may be one."""
    if not isinstance(asset, Mapping) or not isinstance(asset.get("href"), str):
        return "it has no href"
    kind, href, roles = asset.get("type"), asset["href"], _roles(asset)
    if is_jpeg2000(kind, href):
        return "JPEG 2000"
    if not is_geotiff(kind, href):
        return f"{kind.partition(';')[0].strip()[:60]}, no GeoTIFF" if isinstance(kind, str) and kind.strip() else "no GeoTIFF by its name"
    return "metadata" if "metadata" in roles and "data" not in roles else ""


def _roles(asset: Mapping[str, Any]) -> frozenset[str]:
    roles = asset.get("roles")
    return frozenset(str(role).lower() for role in roles) if isinstance(roles, list) else frozenset()


def _is_picture(key: str, asset: Mapping[str, Any]) -> bool:
    roles = _roles(asset)
    return not roles & {"data"} and bool(roles & _PICTURES or (not roles and key.lower() in _PICTURES))


def names_of(asset: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of an asset's samples, one each, empty where it says none: out of `bands` (STAC 1.1), `raster:bands` and `eo:bands`.
    Where those disagree on the number, the raster knows."""
    raster, newer, optical = (_mappings(asset.get(name)) for name in ("raster:bands", "bands", "eo:bands"))
    count = len(raster or newer or optical) or 1
    named = next((each for each in (newer, optical) if len(each) == count), raster if len(raster) == count else ())
    names = tuple(str(band.get("name") or band.get("eo:common_name") or band.get("common_name") or "") for band in named)
    return names if len(names) == count else ("",) * count


def _mappings(value: Any) -> tuple[Mapping[str, Any], ...]:
    return tuple(part if isinstance(part, Mapping) else {} for part in value) if isinstance(value, list) else ()


def _without_copies(candidates: Sequence[_Candidate]) -> tuple[list[_Candidate], list[LeftOut]]:
    """A file of several samples that all stand alone in other files is a picture made of them."""
    alone = {each.names[0].casefold() for each in candidates if len(each.names) == 1 and each.names[0]}

    def is_copy(each: _Candidate) -> bool:
        return len(each.names) > 1 and all(name and name.casefold() in alone for name in each.names)

    repeated = [LeftOut(asset=each.asset, why="its bands stand alone in other assets") for each in candidates if is_copy(each)]
    return [each for each in candidates if not is_copy(each)], repeated


def _coded(candidates: Sequence[_Candidate]) -> dict[str, BandSource]:
    """A code for each sample: the name that the item gives it, where that is one and no other sample has it; else its asset's key."""
    given = Counter(_code(name).casefold() for each in candidates for name in each.names)
    found: dict[str, BandSource] = {}
    for each in candidates:
        for index, name in enumerate(each.names):
            code = _code(name)
            wanted = code if code and given[code.casefold()] == 1 else _code(_by_asset(each, index))
            found[_free(wanted or "band", found)] = BandSource(asset=each.asset, index=index)
            if len(found) == MOST:
                return found
    return found


def _by_asset(candidate: _Candidate, index: int) -> str:
    return candidate.asset if len(candidate.names) == 1 else f"{candidate.asset}_{index + 1}"


def _code(text: str) -> str:
    """`text` in the letters of a band code."""
    return re.sub(r"[^\w.:+-]+", "_", text.strip()).strip("_")[:64]


def _free(code: str, taken: Mapping[str, Any]) -> str:
    used = {other.casefold() for other in taken}
    return next(free for free in _tries(code) if free.casefold() not in used)


def _tries(code: str) -> Iterator[str]:
    yield code
    yield from (f"{code[:58]}_{number}" for number in range(2, MOST + 2))
