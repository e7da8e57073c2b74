"""The nested sections of a spec. What the whole document asks across sections stands in `rasterloom.specs.rules`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rasterloom.specs.durations import parse_duration
from rasterloom.specs.kinds import (
    Api,
    Cron,
    Flag,
    HostName,
    Importable,
    Json,
    Length,
    Place,
    PositiveLength,
    RRule,
    Share,
    Text,
    Timeout,
    Whole,
    Writable,
    Zone,
)
from rasterloom.specs.wrong import a_list, wrong


def _in_order(schema: dict[str, Any]) -> None:
    """The form of the Prefect UI sorts fields by `position`."""
    for position, field in enumerate(schema.get("properties", {}).values()):
        field.setdefault("position", position)


class Section(BaseModel):
    """Frozen, strict about keys; its repr hides nothing because nothing secret can be in it, its errors hide their input."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
        json_schema_extra=_in_order,
    )


class OneOf(Section):
    """A section of which exactly one of some keys is given."""

    one_of: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="after")
    def _exactly_one(self) -> OneOf:
        given = [key for key in self.one_of if getattr(self, key) is not None]
        if len(given) != 1:
            message = f"{a_list(given)} stand together, wanted is one" if given else f"none of {a_list(self.one_of)} is given"
            raise wrong(message, remedy=f"give exactly one of {a_list(self.one_of)}")
        return self


class StacSpec(Section):
    """Any STAC API."""

    url: Api
    """Landing page of the API, `https://...`."""
    collection: Text
    """Id of the STAC collection."""
    headers: dict[Text, Text] | None = None
    """Extra HTTP headers, sent to this host alone; secrets by reference: `${ENV}` or `${secret.block-name}`."""
    page_size: Whole | None = Field(default=None, ge=1, le=10_000)
    """Items per page; default: the most that the provider is known to give."""
    method: Literal["POST", "GET"] = "POST"
    """How the search is asked."""


class CatalogSpec(Section):
    """A static STAC catalog."""

    path: Place
    """File path or URL of `catalog.json`."""
    collection: Text | None = None
    """Only this collection of it."""


class TableSpec(OneOf):
    """A GeoParquet or Parquet index, or a callable that gives Arrow data."""

    one_of = ("uri", "object")

    uri: Place | None = None
    """File, directory or glob: a path, `s3://`, `gs://`, `az://`, or one file behind `https://`."""
    object: Importable | None = None
    """`pkg.module:callable` that gives a DuckDB relation, a Polars or GeoPandas frame, a pyarrow table, reader or dataset."""
    params: Json | None = None
    """Arguments of `object`."""
    column_map: dict[Text, Text] | None = None
    """Column of the table -> column of the collection, e.g. `{geom: geometry}`."""
    href_column: Text | None = None
    """Column that holds the address of a row's one file; `band_index_map` says which bands are in it."""
    url_rewrite: dict[Text, Text] | None = None
    """Prefix of an address -> prefix that takes its place."""
    data_source: Text | None = None
    """What the rows are: a dataset of the built-in catalog, which says what the bands are, or any label."""
    enrich: Flag = True
    """Read the headers of the files; false: scenes and addresses alone."""


class CollectionSource(Section):
    """An existing collection, as the start of a narrower one."""

    uri: Place
    """Its name in the workspace, a path or a URL."""
    snapshot: Whole | None = Field(default=None, ge=1)
    """Number of the commit; default: the newest."""


class DedupeSpec(Section):
    """Which of several scenes that share properties is kept, over the whole question."""

    key: tuple[Text, ...] = Field(min_length=1)
    """Properties, or `id`, `collection`, `datetime`, that reprocessed scenes share; a scene that lacks one of them stays."""
    order_by: tuple[Text, ...] = ()
    """Properties whose largest value wins; ties: the larger id."""


class CustomAuth(Section):
    """Credentials from code of your own."""

    object: Importable
    """`pkg.module:factory`, imported where the work runs."""
    params: Json | None = None
    """Arguments of the factory."""


class AuthSpec(Section):
    """Which credentials open the files; secrets by reference: `${ENV}` or `${secret.block-name}`."""

    provider: Literal["anonymous", "aws", "planetary_computer", "earthdata", "azure", "gcs", "custom"] = "anonymous"
    """Who hands out the credentials; each provider also finds those of the environment."""
    region: Text | None = None
    """S3 region, e.g. `us-west-2`."""
    endpoint: Text | None = None
    """URL of an S3-compatible, Azure or GCS endpoint."""
    requester_pays: Flag | None = None
    """Agree to pay for the traffic of requester-pays buckets."""
    profile: Text | None = None
    """Profile of the AWS configuration files."""
    access_key_id: Text | None = None
    """Reference only."""
    secret_access_key: Text | None = None
    """Reference only."""
    session_token: Text | None = None
    """Reference only."""
    account_name: Text | None = None
    """Azure storage account."""
    account_key: Text | None = None
    """Reference only."""
    sas_key: Text | None = None
    """Azure SAS; reference only."""
    client_id: Text | None = None
    """Azure application."""
    client_secret: Text | None = None
    """Reference only."""
    tenant_id: Text | None = None
    """Azure tenant."""
    service_account: Text | None = None
    """Path of a Google service-account file."""
    username: Text | None = None
    """Earthdata user."""
    password: Text | None = None
    """Reference only."""
    token: Text | None = None
    """Bearer token (Earthdata); reference only."""
    subscription_key: Text | None = None
    """Planetary Computer; reference only."""
    hosts: tuple[Text, ...] | None = None
    """The only hosts and buckets that these credentials are sent to; default: those of the provider."""
    custom: CustomAuth | None = None
    """With `provider: custom`."""

    @model_validator(mode="after")
    def _custom_both(self) -> AuthSpec:
        if (self.provider == "custom") != (self.custom is not None):
            raise wrong(f"provider is {self.provider} and custom is {'not ' if self.custom is None else ''}given",
                        remedy='write {provider: custom, custom: {object: "pkg.module:factory"}}, or leave custom out')  # fmt: skip
        return self


class BuildSpec(Section):
    """How hard to try."""

    max_concurrent: Whole = Field(default=100, ge=1, le=1000)
    """Requests under way at once."""
    retries: Whole = Field(default=3, ge=0, le=20)
    """How often a request that failed for now is tried again."""
    timeout: Timeout = "30s"
    """For one request."""
    on_error: Literal["quarantine", "fail"] = "quarantine"
    """A file that cannot be read: list it and go on, or stop."""
    max_error_rate: Share = 0.05
    """Share of the files that may fail; above it nothing is committed."""
    force: Flag = False
    """Ignore what is cached."""
    allow_private_hosts: Flag = False
    """Let scenes point to loopback and private addresses and to plain http; implied where the STAC API itself is there."""


class SpaceSplit(Section):
    """Cells of the area."""

    grid: Whole = Field(ge=1, le=32)
    """n x n cells."""


class SplitSpec(Section):
    """How a large question is cut into searches; default: chosen from the question."""

    time: PositiveLength | None = None
    """Length of a window, e.g. `P1M`, `P7D`."""
    space: SpaceSplit | None = None
    """Cells of the area."""


class RefreshSpec(Section):
    """What a later run looks at again."""

    lookback: Length | None = None
    """How long after its end a window still changes; default P45D where `dates` has an open end, else nothing."""
    deleted: Literal["keep", "drop"] = "keep"
    """Scenes that the source no longer has."""


class StorageSpec(Section):
    """How the collection is written."""

    partition_by: tuple[Literal["year", "month"], ...] = ("year", "month")
    """Directories; `[]` for one flat directory."""
    compression: Literal["zstd", "snappy", "gzip", "lz4", "none"] = "zstd"
    """Of the Parquet pages."""
    keep_snapshots: Whole = Field(default=10, ge=1, le=10_000)
    """Older ones are collected as garbage."""

    @model_validator(mode="after")
    def _month_below_year(self) -> StorageSpec:
        if self.partition_by not in ((), ("year",), ("year", "month")):
            raise wrong(f"partition_by [{a_list(self.partition_by)}] is none of [], [year], [year, month]", remedy="write [year, month]")
        return self


class FreshnessSpec(Section):
    """How old the newest scene may be."""

    warn_after: PositiveLength | None = None
    """E.g. `P3D`."""
    error_after: PositiveLength | None = None
    """E.g. `P7D`."""

    @model_validator(mode="after")
    def _in_order(self) -> FreshnessSpec:
        if self.warn_after is None and self.error_after is None:
            raise wrong("neither warn_after nor error_after is given", remedy="write {warn_after: P3D, error_after: P7D}")
        if self.warn_after and self.error_after and _longer(self.warn_after, self.error_after):
            raise wrong(f"warn_after {self.warn_after} is longer than error_after {self.error_after}", remedy="warn before it is an error")
        return self


def _longer(a: str, b: str) -> bool:
    start = datetime(2000, 1, 1, tzinfo=UTC)
    return parse_duration(a).after(start) > parse_duration(b).after(start)


class ExportSpec(Section):
    """A copy for others."""

    to: Writable
    """Directory, relative to where the run is started, or prefix: a new or empty one, or an earlier copy of this collection."""
    format: Literal["collection", "stac-geoparquet"] = "collection"
    """A plain collection, or STAC GeoParquet."""


class ScheduleSpec(OneOf):
    """When the collection is brought up to date."""

    one_of = ("cron", "interval", "rrule")

    cron: Cron | None = None
    """`0 6 * * *`."""
    interval: PositiveLength | None = None
    """`P1D`."""
    rrule: RRule | None = None
    """`FREQ=DAILY`."""
    timezone: Zone = "UTC"
    """Of the times in `cron` and `rrule`."""
    active: Flag = True
    """False: registered but paused."""


class RunSpec(Section):
    """Where the work runs."""

    runner: Literal["threads", "processes", "dask", "ray"] = "threads"
    """Where searches and headers run: threads of the run's own process, processes of its machine, or a cluster."""
    address: Text | None = None
    """Of a Dask (`tcp://host:8786`) or Ray (`ray://host:10001`) cluster; default: one that the run starts for itself on its machine."""
    limits: dict[HostName, Annotated[Whole, Field(ge=1, le=1000)]] | None = None
    """Requests under way at once per host (`data.example.org`, with or without port) or bucket (`s3://bucket`), per process."""

    @model_validator(mode="after")
    def _address_of_a_cluster(self) -> RunSpec:
        if self.address is not None and self.runner not in ("dask", "ray"):
            raise wrong(f"an address is that of a cluster, and runner is {self.runner}", remedy="write runner: dask or ray, or remove it")
        return self
