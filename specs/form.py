"""The form of a run: what somebody changes of a deployed spec in the Prefect UI, and what the spec is then.

What stands in a field wins over the spec; an empty field is as the spec says. So a call that sends a spec alone gets that spec.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, time, timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, Strict
from pydantic.json_schema import SkipJsonSchema

from rasterloom.errors import Problem, SpecError
from rasterloom.specs.area import is_number
from rasterloom.specs.dates import OPEN, parse_dates
from rasterloom.specs.loader import spec_from
from rasterloom.specs.model import CollectionSpec
from rasterloom.specs.question import Interval
from rasterloom.specs.resolve import resolve
from rasterloom.specs.sections import Section
from rasterloom.specs.wrong import a_list, shown, wrong

CLOUD = "eo:cloud_cover"


def _day(value: Any) -> Any:
    if value is None or type(value) is date:
        return value
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise wrong(f"{shown(value)} is not a day of the calendar", remedy="write it as 2024-06-01") from error


def _degrees(limit: int) -> Any:
    def check(value: float) -> float:
        if not -limit <= value <= limit:
            raise wrong(f"{value:g} is outside of -{limit}..{limit} degrees", remedy="write longitude or latitude in degrees")
        return value

    return AfterValidator(check)


def _percent(value: float) -> float:
    if not 0 <= value <= 100:
        raise wrong(f"{value:g} is outside of 0..100 percent", remedy="write e.g. 20")
    return value


# SkipJsonSchema: with null as a second type the form would show tabs in place of the field.
Day = Annotated[date | SkipJsonSchema[None], BeforeValidator(_day)]
Longitude = Annotated[float, Strict(), _degrees(180), Field(json_schema_extra={"minimum": -180, "maximum": 180})]
Latitude = Annotated[float, Strict(), _degrees(90), Field(json_schema_extra={"minimum": -90, "maximum": 90})]
Percent = Annotated[float, Strict(), AfterValidator(_percent), Field(json_schema_extra={"minimum": 0, "maximum": 100})]


class DateRange(Section):
    """Days in UTC, both included."""

    start: Day = Field(default=None, title="First day")
    """Empty: open, from the first scene on."""
    end: Day = Field(default=None, title="Last day")
    """Empty: open, each run brings what is new."""


class BBox(Section):
    """Degrees of longitude and latitude."""

    west: Longitude | SkipJsonSchema[None] = None
    """Degrees of longitude; greater than east: across the antimeridian."""
    south: Latitude | SkipJsonSchema[None] = None
    """Degrees of latitude."""
    east: Longitude | SkipJsonSchema[None] = None
    """Degrees of longitude."""
    north: Latitude | SkipJsonSchema[None] = None
    """Degrees of latitude."""


def changed(
    spec: CollectionSpec,
    *,
    dates: DateRange | None = None,
    bbox: BBox | None = None,
    bands: Sequence[str] | None = None,
    cloud_cover: float | None = None,
    save_as: str | None = None,
) -> CollectionSpec:
    """The spec with what the fields say. Where they say what the spec says, it is the spec itself, and nothing is built anew.

    Raises `SpecError` with every problem, also of fields that do not fit together.
    """
    values: dict[str, Any] = {
        **(_dates(spec, dates) if dates else {}),
        **(_bbox(spec, bbox) if bbox else {}),
        **(_bands(spec, bands) if bands else {}),
        **(_query(spec, cloud_cover) if cloud_cover is not None else {}),
        **({"name": save_as} if save_as else {}),
    }
    kept = spec.model_dump(mode="json", exclude_none=True, exclude={"intersects"} if "bbox" in values else None)
    return spec_from(kept | values) if values else spec


def band_codes(spec: CollectionSpec) -> tuple[str, ...]:
    """Every band that a spec of this source can ask for, in the order of a collection that has them all."""
    nameless = spec.collection is not None or (spec.catalog is not None and spec.band_map is None)
    every = () if nameless else resolve(spec.model_copy(update={"bands": None})).bands
    return tuple(band.code for band in every) or spec.bands or ()


def whole_days(spec: CollectionSpec) -> DateRange | None:
    """The days of a spec as the form shows them; None where an end is within a day, which days cannot say."""
    interval = Interval(start=None, end=None) if spec.dates is None else parse_dates(spec.dates)
    if any(end is not None and end.time() != time.min for end in (interval.start, interval.end)):
        return None
    last = interval.end - timedelta(days=1) if interval.end else None
    return DateRange(start=interval.start.date() if interval.start else None, end=last.date() if last else None)


def cloud_limit(spec: CollectionSpec) -> float | None:
    """The most cloud that the query of a spec lets through, in percent."""
    conditions = (spec.query or {}).get(CLOUD, {})
    value = conditions.get("lt", conditions.get("lte"))
    return float(value) if isinstance(value, int | float) and is_number(value) and 0 <= value <= 100 else None


def _dates(spec: CollectionSpec, dates: DateRange) -> dict[str, Any]:
    if dates == DateRange() or dates == whole_days(spec):
        return {}
    return {"dates": [end.isoformat() if end else OPEN for end in (dates.start, dates.end)]}


def _bbox(spec: CollectionSpec, bbox: BBox) -> dict[str, Any]:
    sides = bbox.model_dump()
    empty = [side for side, value in sides.items() if value is None]
    if len(empty) == len(sides) or tuple(sides.values()) == spec.bbox:
        return {}
    if empty:
        message, remedy = f"{a_list(empty)} of the area is empty", "fill in all four sides, or none for the area of the spec"
        raise SpecError("the form is wrong: 1 problem", problems=[Problem(path="bbox", message=message, remedy=remedy)])
    return {"bbox": list(sides.values())}


def _bands(spec: CollectionSpec, bands: Sequence[str]) -> dict[str, Any]:
    """A selection has no order of its own: that of the spec, or of the dataset, stays."""
    known = band_codes(spec)
    if set(bands) == set(spec.bands or known):
        return {}
    return {"bands": sorted(bands, key=lambda code: known.index(code) if code in known else len(known))}


def _query(spec: CollectionSpec, cloud_cover: float) -> dict[str, Any]:
    if cloud_cover == cloud_limit(spec):
        return {}
    given = (spec.query or {}).get(CLOUD, {})
    kept = {operator: value for operator, value in given.items() if operator not in ("lt", "lte")}
    limit = int(cloud_cover) if float(cloud_cover).is_integer() else cloud_cover
    return {"query": {**(spec.query or {}), CLOUD: kept | {"lte" if "lte" in given else "lt": limit}}}
