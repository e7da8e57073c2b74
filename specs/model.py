"""The spec: one field per YAML key. JSON-able, and what the UI of Prefect renders as a form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

from pydantic import Field, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from rasterloom.specs.checks import Check
from rasterloom.specs.kinds import BBox, Code, Dates, Geometry, Name, Text, Whole, Writable
from rasterloom.specs.query import Filter, Query
from rasterloom.specs.reads import ReadSpec
from rasterloom.specs.rules import Broken, broken
from rasterloom.specs.sections import (
    AuthSpec,
    BuildSpec,
    CatalogSpec,
    CollectionSource,
    DedupeSpec,
    ExportSpec,
    FreshnessSpec,
    RefreshSpec,
    RunSpec,
    ScheduleSpec,
    Section,
    SplitSpec,
    StacSpec,
    StorageSpec,
    TableSpec,
)
from rasterloom.specs.wrong import KIND, wrong
from rasterloom.specs.yamltext import MAX_DEPTH


class CollectionSpec(Section):
    """What a collection holds, and how it is brought there."""

    version: Literal[1] = 1
    """Of the spec language."""
    name: Name
    """Label of the collection: lower-case letters, digits and `-`."""
    dataset: Text | None = None
    """Source: id of a built-in dataset, e.g. `earthsearch/sentinel-2-l2a`."""
    stac: StacSpec | None = None
    """Source: any STAC API."""
    catalog: CatalogSpec | None = None
    """Source: a static STAC catalog."""
    table: TableSpec | None = None
    """Source: a Parquet index."""
    collection: CollectionSource | None = None
    """Source: an existing collection."""
    bbox: BBox | None = None
    """`[west, south, east, north]` in degrees; west > east crosses the antimeridian."""
    intersects: Geometry | None = None
    """GeoJSON geometry, in place of `bbox`. In a file: also the path of a GeoJSON or GeoParquet file beside it, or an http(s) address."""
    dates: Dates | None = None
    """`[start, end]`, both days included, or one text: `2024`, `2024-06`, `2024-06-01/..` (an open end keeps it fresh)."""
    query: Query | None = None
    """STAC query: `{"eo:cloud_cover": {"lt": 20}}`."""
    filter: Filter | None = None
    """CQL2, as text (`eo:cloud_cover < 20 AND year = 2024`) or as JSON."""
    bands: tuple[Code, ...] | None = Field(default=None, min_length=1)
    """Bands to index, in this order; default: all of the map, sorted by code."""
    band_map: dict[Code, Text] | None = Field(default=None, min_length=1)
    """Band code -> asset key; takes the place of the dataset's map."""
    band_index_map: dict[Code, Annotated[Whole, Field(ge=0, le=65_535)]] | None = Field(default=None, min_length=1)
    """Band code -> 0-based sample of its asset; needed where two bands share one."""
    dedupe: DedupeSpec | None = None
    """Keep one of several reprocessed scenes."""
    auth: AuthSpec | None = None
    """Credentials; default: what the dataset needs."""
    workspace: Writable | None = None
    """Directory, relative to where the run is started, or prefix in S3, GCS or Azure; default: `RASTERLOOM_WORKSPACE`, else
    `~/rasterloom_workspace`."""
    build: BuildSpec = BuildSpec()
    """How hard to try."""
    split: SplitSpec | None = None
    """How a large question is cut."""
    refresh: RefreshSpec = RefreshSpec()
    """What a later run looks at again."""
    storage: StorageSpec = StorageSpec()
    """How the collection is written."""
    checks: tuple[Check, ...] = ()
    """Run before the commit; one that fails keeps the old snapshot."""
    freshness: FreshnessSpec | None = None
    """How old the newest scene may be."""
    export: tuple[ExportSpec, ...] = ()
    """Copies for others."""
    reads: dict[Name, ReadSpec] | None = None
    """Reads of pixels after the build."""
    schedule: ScheduleSpec | None = None
    """When the collection is brought up to date."""
    run: RunSpec = RunSpec()
    """Where the work runs."""

    @model_validator(mode="wrap")
    @classmethod
    def _across(cls, value: Any, handler: ModelWrapValidatorHandler[CollectionSpec]) -> CollectionSpec:
        if _is_deep(value):
            raise wrong(f"nested deeper than {MAX_DEPTH} levels", remedy="write it flatter")
        found = [_detail(rule) for rule in broken(cast(Mapping[str, Any], value))] if isinstance(value, Mapping) else []
        try:
            spec = handler(value)
        except ValidationError as error:
            if not found:
                raise
            found = [*_details(error), *found]
        else:
            if not found:
                return spec
        raise ValidationError.from_exception_data(cls.__name__, found, hide_input=True)


def _is_deep(value: Any) -> bool:
    """Judged level by level, before anything that recurses: a mapping need not have come through the YAML reader."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH + 1):
        inner = [part.values() if isinstance(part, Mapping) else part for part in level if isinstance(part, Mapping | list | tuple)]
        level = [part for parts in cast(list[Any], inner) for part in parts]
    return bool(level)


def _detail(rule: Broken) -> InitErrorDetails:
    return InitErrorDetails(type=wrong(rule.message, remedy=rule.remedy), loc=rule.path, input=None)


def _details(error: ValidationError) -> list[InitErrorDetails]:
    """The problems of `error` in the form that a new error is made from."""
    details: list[InitErrorDetails] = []
    for one in error.errors(include_url=False):
        context: dict[str, Any] = one.get("ctx", {})
        kind = PydanticCustomError(KIND, "{message} (remedy: {remedy})", context) if one["type"] == KIND else one["type"]
        details.append(InitErrorDetails(type=kind, loc=one["loc"], input=one["input"], ctx={} if one["type"] == KIND else context))
    return details
