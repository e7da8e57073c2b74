"""What a spec asks across its keys. Judged on the raw mapping, so that these problems stand beside those of single keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from typing import Any, cast

from rasterloom.errors import SpecError
from rasterloom.specs import catalog
from rasterloom.specs.cql2 import WrongFilter
from rasterloom.specs.expressions import parse_expression
from rasterloom.specs.filters import parse_filter
from rasterloom.specs.leaks import leaks, texts
from rasterloom.specs.wrong import a_list, shown

SOURCES = ("dataset", "stac", "catalog", "table", "collection")
Path = tuple[str | int, ...]
MAX_TOLD = 20
"""Unknown bands that are told: finding the nearest one takes time."""


@dataclass(frozen=True, slots=True)
class Broken:
    """One broken rule, where it is seen best."""

    path: Path
    message: str
    remedy: str


def broken(spec: Mapping[str, Any]) -> Iterator[Broken]:
    """All broken rules of a raw spec whose keys may still be of wrong types."""
    yield from (Broken(leak.path, leak.message, leak.remedy) for leak in leaks(spec))
    yield from (
        Broken(path, f"{shown(text)} is not Unicode text", "remove the lone surrogate") for path, text in texts(spec) if _is_torn(text)
    )
    yield from _one_source(spec)
    if spec.get("bbox") is not None and spec.get("intersects") is not None:
        yield Broken(("intersects",), "bbox and intersects stand together, an area is one of them", "remove one of them")
    yield from _dataset_known(spec)
    yield from _bands(spec)
    yield from _covered(spec)
    yield from _filter(spec)
    yield from _reads(spec)


def _reads(spec: Mapping[str, Any]) -> Iterator[Broken]:
    """Bands of reads are those of the spec, and each output has a place of its own."""
    given = cast(Mapping[Any, Any], spec.get("reads")) if isinstance(spec.get("reads"), Mapping) else {}
    reads = {str(name): cast(Mapping[str, Any], read) for name, read in given.items() if isinstance(read, Mapping)}
    places: dict[str, str] = {}
    for name, read in reads.items():
        output = read.get("output")
        if isinstance(output, str) and (other := places.setdefault(output.rstrip("/"), name)) != name:
            yield Broken(("reads", name, "output"), f"{shown(output)} is the output of {other} too", "give every read its own place")
    known = _map_of(spec)
    bands = {band: band for band in _texts(spec.get("bands")) or known or ()}
    unknown = (found for name, read in reads.items() for found in _bands_read(name, read) if found[1] not in bands)
    yield from (_unknown_band(path, band, bands) for path, band in islice(unknown, MAX_TOLD if known is not None else 0))


def _bands_read(name: str, read: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    yield from ((("reads", name, "bands", at), band) for at, band in enumerate(_texts(read.get("bands"))))
    masks = read.get("mask")
    for at, mask in enumerate(cast(list[Any], masks) if isinstance(masks, list | tuple) else [masks]):
        band = cast(Mapping[str, Any], mask).get("band") if isinstance(mask, Mapping) else None
        if isinstance(band, str):
            yield ("reads", name, "mask", *((at,) if isinstance(masks, list | tuple) else ()), "band"), band
    expressions = read.get("expressions")
    for key, text in cast(Mapping[str, Any], expressions).items() if isinstance(expressions, Mapping) else ():
        yield from ((("reads", name, "expressions", key), band) for band in _named(text))


def _named(text: Any) -> tuple[str, ...]:
    """Bands of an expression; of one that is wrong, which is told elsewhere, none."""
    try:
        return parse_expression(text).bands if isinstance(text, str) else ()
    except SpecError:
        return ()


def _filter(spec: Mapping[str, Any]) -> Iterator[Broken]:
    value = spec.get("filter")
    if not isinstance(value, str | Mapping):
        return
    try:
        parse_filter(cast(object, value))
    except WrongFilter as error:
        yield Broken(("filter", *error.path), error.message, error.remedy)


def _is_torn(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)


def _one_source(spec: Mapping[str, Any]) -> Iterator[Broken]:
    given = [key for key in SOURCES if spec.get(key) is not None]
    if not given:
        near = "write dataset: earthsearch/sentinel-2-l2a, or stac: {url: ..., collection: ...}"
        yield Broken((), f"no source is given; wanted is exactly one of {a_list(SOURCES)}", near)
    for extra in given[1:]:
        yield Broken((extra,), f"{a_list(given)} stand together; wanted is exactly one source", f"keep {given[0]} or {extra}")


def _dataset_known(spec: Mapping[str, Any]) -> Iterator[Broken]:
    name = spec.get("dataset")
    if not isinstance(name, str):
        return
    try:
        catalog.dataset(name)
    except SpecError as error:
        yield Broken(("dataset",), error.message, error.remedy)


def _covered(spec: Mapping[str, Any]) -> Iterator[Broken]:
    checks = spec.get("checks")
    if spec.get("bbox") is not None or spec.get("intersects") is not None or not isinstance(checks, (list, tuple)):
        return
    for number, check in enumerate(cast("list[Any]", checks)):
        if isinstance(check, Mapping) and check.get("coverage") is not None:
            yield Broken(("checks", number, "coverage"), "coverage is a share of an area, and none is given", "give bbox or intersects")


def _bands(spec: Mapping[str, Any]) -> Iterator[Broken]:
    bands, indexes = spec.get("bands"), spec.get("band_index_map")
    known = _map_of(spec)
    if known is None:
        return
    if not known and _is_unknown_api(spec):
        if not bands:
            remedy = "write band_map: {B04: red, ...}, or bands: [...] where each code is the asset key"
            message = "nothing says which assets are the bands: this API and collection are not in the built-in catalog"
            yield Broken(("stac",), message, remedy)
        known = {band: band for band in _texts(bands)}
    for key, names in (("bands", list(enumerate(_texts(bands)))), ("band_index_map", [(name, name) for name in _texts(indexes)])):
        unknown = ((at, name) for at, name in names if name not in known)
        yield from (_unknown_band((key, at), name, known) for at, name in islice(unknown, MAX_TOLD))
    yield from _twice("bands", _texts(bands))
    yield from _shared(spec, known, set(_texts(bands)))


def _map_of(spec: Mapping[str, Any]) -> dict[str, str] | None:
    """Band code -> asset key, empty where no map is given; None where it cannot be judged."""
    given = spec.get("band_map")
    if given is not None:
        pairs = cast(Mapping[Any, Any], given) if isinstance(given, Mapping) else {}
        return {str(code): asset for code, asset in pairs.items() if isinstance(asset, str)} or None
    column = _table(spec).get("href_column")
    if isinstance(column, str) and isinstance(spec.get("band_index_map"), Mapping):
        return dict.fromkeys(_texts(spec["band_index_map"]), column)
    dataset = source_dataset(spec)
    if dataset is not None:
        return {code: band.asset for code, band in dataset.bands.items()}
    return {} if _is_unknown_api(spec) else None


def source_dataset(spec: Mapping[str, Any]) -> catalog.Dataset | None:
    """The catalog entry that the source names, or that has the same endpoint and collection."""
    name, stac, label = spec.get("dataset"), spec.get("stac"), _table(spec).get("data_source")
    if isinstance(name, str):
        return catalog.find(name)
    if isinstance(label, str):
        return catalog.described(label)
    pair = cast(Mapping[str, Any], stac) if isinstance(stac, Mapping) else {}
    url, collection = pair.get("url"), pair.get("collection")
    return catalog.match(url, collection) if isinstance(url, str) and isinstance(collection, str) else None


def _is_unknown_api(spec: Mapping[str, Any]) -> bool:
    return isinstance(spec.get("stac"), Mapping) and source_dataset(spec) is None


def _table(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    found = spec.get("table")
    return cast(Mapping[str, Any], found) if isinstance(found, Mapping) else {}


def _texts(value: Any) -> list[str]:
    return [str(part) for part in cast(list[Any], value)] if isinstance(value, list | tuple | Mapping) else []


def _unknown_band(path: Path, name: str, known: Mapping[str, str]) -> Broken:
    near = get_close_matches(name, known, n=1, cutoff=0.3)
    by_asset = [code for code, asset in known.items() if asset == name]
    remedy = f"write {(by_asset or near)[0]}" if by_asset or near else f"use some of {a_list(known)}"
    return Broken(path, f"the band {shown(name)} is not in the band map ({a_list(known)})", remedy)


def _twice(key: str, names: list[str]) -> Iterator[Broken]:
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name.casefold() in seen:
            yield Broken((key, index), f"the band {shown(name)} stands twice (upper and lower case are one column)", "keep one of them")
        seen.add(name.casefold())


def _shared(spec: Mapping[str, Any], known: Mapping[str, str], chosen: set[str]) -> Iterator[Broken]:
    """Bands of one asset are told apart by their index alone."""
    indexes = _indexes(spec)
    at = "band_map" if spec.get("band_map") is not None else "band_index_map"
    groups: dict[str, list[str]] = {}
    for code, asset in known.items():
        groups.setdefault(asset, []).append(code)
    for asset, sharing in groups.items():
        codes = [code for code in sharing if not chosen or code in chosen]
        if len(sharing) > 1 and (missing := [code for code in codes if code not in indexes]):
            pairs = a_list(f"{code}: {indexes.get(code, n)}" for n, code in enumerate(sharing))
            message = f"the bands {a_list(sharing)} share the asset {shown(asset)}, and {a_list(missing)} has no index in it"
            yield Broken((at, missing[0]), message, f"write band_index_map: {{{pairs}}} with the 0-based samples")
        yield from _same_sample(asset, codes, indexes)


def _same_sample(asset: str, codes: list[str], indexes: Mapping[str, Any]) -> Iterator[Broken]:
    seen: dict[str, str] = {}
    for code in (code for code in codes if code in indexes):
        if (other := seen.setdefault(str(indexes[code]), code)) != code:
            message = f"the bands {other} and {code} are both sample {shown(indexes[code])} of the asset {shown(asset)}"
            yield Broken(("band_index_map", code), message, "give each band a sample of its own")


def _indexes(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """Those of the spec over those of the catalog."""
    raw, dataset = spec.get("band_index_map"), source_dataset(spec)
    given = {str(code): index for code, index in cast(Mapping[Any, Any], raw).items()} if isinstance(raw, Mapping) else {}
    known = {code: band.index for code, band in dataset.bands.items()} if dataset and spec.get("band_map") is None else {}
    return known | given
