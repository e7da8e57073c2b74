"""The built-in datasets: facts about providers, one YAML file each in `specs/catalog`, parsed when a dataset of it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from typing import Any, cast

from rasterloom.errors import SpecError
from rasterloom.specs.effort import AuthRef
from rasterloom.specs.question import Dedupe
from rasterloom.specs.wrong import shown
from rasterloom.specs.yamltext import documents

SUPPORTED = "supported"


@dataclass(frozen=True, slots=True, kw_only=True)
class BandSource:
    """Where a band is in a STAC item."""

    asset: str
    index: int = 0
    """0-based sample of the asset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    id: str
    title: str
    provider: str
    """Name of the provider, for people."""
    url: str | None
    """Landing page of the STAC API; None where there is none."""
    collection: str | None
    bands: Mapping[str, BandSource]
    auth: AuthRef
    status: str = SUPPORTED
    """`supported`, or why it cannot be built."""
    max_page_size: int | None = None
    """Items per page that the provider is known to give without errors."""
    counts: bool = True
    """False: a `numberMatched` of the provider is missing or an estimate, and says nothing about what a search must bring."""
    former_collections: tuple[str, ...] = ()
    """Ids that the provider had for the collection before: a spec that names one means this dataset."""
    refused_assets: tuple[tuple[str, str], ...] = ()
    """Pattern of asset keys, and why no band can be one of them."""
    ignores_filter: bool = False
    """The provider takes `filter` and does not heed it."""
    query_knows: tuple[str, ...] | None = None
    """The only properties that the provider's `query` heeds, by order alone; None: all."""
    href: str = "href"
    """Which href of an asset is taken: `href`, or a path such as `alternate.s3.href`."""
    region: str | None = None
    """Of the bucket."""
    dtype: str | None = None
    nodata: str | None = None
    scale: str | None = None
    """Text, because offsets and scales differ by item and band in some datasets; never applied."""
    offset: str | None = None
    dedupe: Dedupe | None = None
    """A rule that fits the dataset's reprocessed scenes. Offered, never applied unasked: it drops scenes."""
    quirks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """About the provider."""
    license: str | None = None
    license_url: str | None = None
    extent: str | None = None
    """Where and since when, for people."""
    example_bbox: tuple[float, float, float, float] | None = None
    example_dates: tuple[str, str] | None = None
    aliases: tuple[str, ...] = ()
    table: str | None = None
    """URI of a Parquet index, where there is one."""
    column_map: tuple[tuple[str, str], ...] = ()
    href_column: str | None = None
    verified: str | None = None
    """How the entry was checked."""

    def refusal(self, asset: str) -> str:
        """Why no band can be this asset; empty where one can."""
        return next((why for pattern, why in self.refused_assets if fnmatchcase(asset, pattern)), "")

    @property
    def supported(self) -> bool:
        return self.status == SUPPORTED


def datasets() -> tuple[Dataset, ...]:
    """All of them, by id."""
    return tuple(sorted((one for name in _providers() for one in _datasets_of(name)), key=lambda one: one.id))


def find(name: str) -> Dataset | None:
    """The dataset of this id or alias."""
    prefix = name.partition("/")[0]
    likely = sorted((other for other in _providers() if name in _text(other)), key=lambda other: other != prefix)
    every = (one for provider in likely for one in _datasets_of(provider))
    return next((one for one in every if name == one.id or name in one.aliases), None)


def dataset(name: str) -> Dataset:
    """The dataset of this id. Raises `SpecError` that names the nearest one."""
    found = find(name)
    if found is None:
        known = [one.id for one in datasets()]
        near = [one for one in known if name and one.endswith(f"/{name}")] or get_close_matches(name, known, n=1, cutoff=0.5)
        either = f"write {near[0]}, or" if near else "use stac: {url, collection}, or"
        remedy = f"{either} see `rasterloom datasets list`"
        raise SpecError(f"{shown(name)} is not a built-in dataset", remedy=remedy)
    return found


def described(name: str) -> Dataset | None:
    """What a `data_source` means: the dataset of this id or alias, else the one of this collection; of several that of Earth Search,
    as Rasteret has it, or the first."""
    same = [one for one in datasets() if one.collection == name and one.supported]
    ours = sorted(same, key=lambda one: not one.id.startswith("earthsearch/"))
    return find(name) or next(iter(ours), None)


def match(url: str, collection: str) -> Dataset | None:
    """The dataset that this API and collection are, so that `stac:` and `dataset:` ask the same question."""
    url = url.rstrip("/")
    every = (one for name in _providers() if url in _text(name) for one in _datasets_of(name))
    return next((one for one in every if one.url == url and collection in (one.collection, *one.former_collections)), None)


@cache
def _providers() -> tuple[str, ...]:
    found = (entry.name for entry in (files("rasterloom.specs") / "catalog").iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in found if name.endswith(".yaml")))


@cache
def _text(provider: str) -> str:
    return (files("rasterloom.specs") / "catalog" / f"{provider}.yaml").read_text("utf-8")


@cache
def _datasets_of(provider: str) -> tuple[Dataset, ...]:
    parsed, found = documents(_text(provider), file=f"specs/catalog/{provider}.yaml")
    if found:
        raise SpecError("the built-in catalog is damaged", problems=found, remedy="install rasterloom again")
    content = parsed[0].value
    return tuple(_entries(content["provider"], content["datasets"]))


def _entries(provider: Mapping[str, Any], entries: Mapping[str, Mapping[str, Any]]) -> Iterator[Dataset]:
    for name, entry in entries.items():
        fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in _fields(entry)}
        fields |= {
            "collection": entry.get("collection"),
            "id": name,
            "provider": provider["title"],
            "url": provider.get("url"),
            "max_page_size": provider.get("max_page_size"),
            "counts": provider.get("counts", True),
            "refused_assets": tuple(provider.get("refused_assets", {}).items()),
            "ignores_filter": provider.get("ignores_filter", False),
            "query_knows": tuple(provider["query_knows"]) if "query_knows" in provider else None,
            "notes": tuple(provider.get("notes", ())),
            "auth": _auth(entry.get("auth", provider.get("auth", {})), region=entry.get("region")),
        }
        yield Dataset(**fields)


def _fields(entry: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    indexes = entry.get("band_index", {})
    yield "bands", {code: BandSource(asset=asset, index=indexes.get(code, 0)) for code, asset in entry["bands"].items()}
    if "dedupe" in entry:
        yield "dedupe", Dedupe(key=tuple(entry["dedupe"]["key"]), order_by=tuple(entry["dedupe"]["order_by"]))
    for key in ("nodata", "scale", "offset"):
        if key in entry:
            yield key, str(entry[key])
    yield "column_map", tuple(cast(Mapping[str, str], entry.get("column_map", {})).items())
    yield from ((key, value) for key, value in entry.items() if key not in _BUILT)


_BUILT = frozenset({"bands", "band_index", "dedupe", "nodata", "scale", "offset", "column_map", "auth"})


def _auth(auth: Mapping[str, Any], *, region: str | None) -> AuthRef:
    options = {key: option_text(value) for key, value in auth.items() if key != "provider"}
    if region:
        options["region"] = region
    return AuthRef(provider=auth.get("provider", "anonymous"), options=tuple(sorted(options.items())))


def option_text(value: Any) -> str:
    """How a value of `auth` travels in `AuthRef.options`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(map(str, cast(list[Any], value))) if isinstance(value, list | tuple) else str(value)
