"""The kinds of values that the keys of a spec hold: annotated types that check themselves with messages of ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, cast
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BeforeValidator, Field, Strict

from rasterloom.errors import SpecError
from rasterloom.specs import area, dates
from rasterloom.specs.durations import parse_duration
from rasterloom.specs.references import substitute
from rasterloom.specs.wrong import a_list, shown, wrong

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_CODE = re.compile(r"[\w.:+-]{1,64}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_IMPORT = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_HOST = re.compile(r"(?:(?:s3|gs)://[a-z0-9._-]+|az://[a-z0-9]+/[a-z0-9$-]+|[a-z0-9_](?:[a-z0-9._-]*[a-z0-9])?(?::[0-9]{1,5})?)")
_CRON_FIELD = re.compile(r"(\*|[0-9A-Za-z]+)(-[0-9A-Za-z]+)?(/[0-9]+)?")
_FREQUENCY = re.compile(r"^(RRULE:|[A-Z0-9=,;]*;)?FREQ=(YEARLY|MONTHLY|WEEKLY|DAILY|HOURLY|MINUTELY)(;[A-Z]+=[A-Z0-9,+-]+)*$")
_CRON_LIMITS = (("minute", 0, 59), ("hour", 0, 23), ("day of month", 1, 31), ("month", 1, 12), ("day of week", 0, 7))
_NAMES_OF = {
    "month": ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    "day of week": ("sun", "mon", "tue", "wed", "thu", "fri", "sat"),
}


def _name(text: str) -> str:
    if not NAME.fullmatch(text):
        slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:63] or "my-collection"
        raise wrong(f"{shown(text)} is not a name: a-z, 0-9 and '-', at most 63, never a path", remedy=f"write {slug}")
    return text


def _plain(text: str) -> str:
    if not text.strip() or len(text) > 2048 or _CONTROL.search(text):
        raise wrong(f"{shown(text)} is empty, longer than 2048 characters, or holds control characters", remedy="write plain text")
    return text


def _code(text: str) -> str:
    if not _CODE.fullmatch(text):
        raise wrong(f"{shown(text)} is not a band code: letters, digits and . : + _ -, at most 64", remedy="choose a code such as B04")
    return text


def _import(text: str) -> str:
    if not _IMPORT.fullmatch(text):
        raise wrong(f"{shown(text)} names no importable object", remedy="write pkg.module:callable")
    return text


def _web(text: str) -> str:
    return _url(text, "https", "http")


def place(text: str) -> str:
    """A path or a URL of a store."""
    _plain(text)
    return _url(text, "s3", "gs", "az", "https", "http", "file") if "://" in text else text


def _writable(text: str) -> str:
    """A directory or a prefix that can be written to; may hold references, one that it begins with may be the whole URL."""
    _plain(text)
    if "://" in text and not text.startswith("${"):
        _url(_filled(text), "s3", "gs", "az", "file")
    return text


def _filled(text: str) -> str:
    """With something in place of every reference; as it is where one is malformed, which `rasterloom.specs.leaks` tells."""
    try:
        return substitute(text, lambda _: "x")
    except SpecError:
        return "s3://x"


def _url(text: str, *schemes: str) -> str:
    _plain(text)
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise wrong(f"{shown(text)} is not a URL", remedy=f"write {schemes[0]}://host/path") from error
    if parts.scheme.lower() not in schemes:
        message = f"{shown(text)} has {f'the scheme {shown(parts.scheme)}' if parts.scheme else 'no scheme'}, allowed are {a_list(schemes)}"
        raise wrong(message, remedy=f"write {schemes[0]}://host/path")
    if not host and parts.scheme.lower() != "file":
        raise wrong(f"{shown(text)} names no host or bucket", remedy=f"write {schemes[0]}://host/path")
    return text


def _api(text: str) -> str:
    _web(text)
    parts = urlsplit(text)
    if parts.query or parts.fragment:
        raise wrong(f"{shown(text)} has a query or a fragment", remedy="write the landing page of the API alone")
    if parts.path.rstrip("/").endswith("/search"):
        raise wrong(f"{shown(text)} is the search endpoint", remedy=f"write the landing page: {text.rstrip('/').removesuffix('/search')}")
    return text


def _no_number(value: Any) -> Any:
    """`timeout: 30` is meant as text, but in quotes it is no length either."""
    if area.is_number(value):
        raise wrong(f"{shown(value)} is a number, wanted is a length of time", remedy="write it as 30s, 5m, 2h, 7d, P1M, P45D or PT30S")
    return value


def _length(text: str) -> str:
    parse_duration(text)
    return text


def _positive_length(text: str) -> str:
    found = parse_duration(text)
    if not found.months and not found.seconds:
        raise wrong(f"{shown(text)} is no time at all", remedy="write a length above zero, e.g. P1D")
    return text


def _timeout(text: str) -> str:
    found = parse_duration(text)
    if found.months or not 0 < found.seconds <= 3600:
        raise wrong(f"{shown(text)} is not in the limits above 0s up to 1h", remedy="write e.g. 30s")
    return text


def _host(text: str) -> str:
    if not _HOST.fullmatch(text.lower()):
        raise wrong(f"{shown(text)} is no host and no bucket", remedy="write e.g. data.example.org, data.example.org:8443 or s3://bucket")
    return text


def _zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (ValueError, OSError, LookupError) as error:
        near = get_close_matches(text, available_timezones(), n=1, cutoff=0.5)
        remedy = f"write {near[0]}" if near else "write a name such as Europe/Berlin or UTC"
        raise wrong(f"{shown(text)} is not a time zone", remedy=remedy) from error
    return text


def _cron(text: str) -> str:
    fields = text.split()
    if len(fields) != 5:
        raise wrong(f"{shown(text)} has {len(fields)} fields, cron has 5", remedy="write minute hour day month weekday, e.g. '0 6 * * *'")
    for field, (name, low, high) in zip(fields, _CRON_LIMITS, strict=True):
        for part in field.split(","):
            _cron_part(text, part, name, low, high)
    return text


def _cron_part(text: str, part: str, name: str, low: int, high: int) -> None:
    match = _CRON_FIELD.fullmatch(part)
    numbers = [word for word in (match[1], (match[2] or "").lstrip("-")) if word not in ("", "*")] if match else [part]
    names = _NAMES_OF.get(name, ())
    for word in numbers:
        fits = word.lower() in names or (word.isascii() and word.isdigit() and low <= int(word[:9]) <= high)
        if match is None or not fits or (match[3] and int(match[3][1:10]) == 0):
            message = f"{shown(part)} is not a {name} ({low} to {high}) in {shown(text)}"
            raise wrong(message, remedy="write e.g. '0 6 * * 1-5' for 6:00 on weekdays")


def _rrule(text: str) -> str:
    if not _FREQUENCY.search(text):
        raise wrong(f"{shown(text)} has no FREQ of minutes, hours, days, weeks, months or years", remedy="write e.g. FREQ=DAILY;BYHOUR=6")
    return text


def json_value(value: Any) -> Any:
    """`value` as JSON holds it: tuples become lists; anything else that JSON has no word for is refused."""
    if isinstance(value, Mapping):
        return {str(key): json_value(inner) for key, inner in cast(Mapping[Any, Any], value).items()}
    if isinstance(value, list | tuple):
        return [json_value(inner) for inner in cast(list[Any], value)]
    if value is None or isinstance(value, str | bool) or area.is_number(value):
        return value
    remedy = "use text, finite numbers, true, false, lists and mappings"
    raise wrong(f"{shown(value)} of type {type(value).__name__} is not a JSON value", remedy=remedy)


Text = Annotated[str, Strict(), AfterValidator(_plain)]
Name = Annotated[str, Strict(), AfterValidator(_name)]
Code = Annotated[str, Strict(), AfterValidator(_code)]
Importable = Annotated[str, Strict(), AfterValidator(_import)]
Place = Annotated[str, Strict(), AfterValidator(place)]
Writable = Annotated[str, Strict(), AfterValidator(_writable)]
Api = Annotated[str, Strict(), AfterValidator(_api)]
Length = Annotated[str, Strict(), BeforeValidator(_no_number), AfterValidator(_length)]
PositiveLength = Annotated[str, Strict(), BeforeValidator(_no_number), AfterValidator(_positive_length)]
HostName = Annotated[str, Strict(), AfterValidator(_host)]
Timeout = Annotated[str, Strict(), BeforeValidator(_no_number), AfterValidator(_timeout)]
Zone = Annotated[str, Strict(), AfterValidator(_zone)]
Cron = Annotated[str, Strict(), AfterValidator(_cron)]
RRule = Annotated[str, Strict(), AfterValidator(_rrule)]
Flag = Annotated[bool, Strict()]
Whole = Annotated[int, Strict()]
Share = Annotated[float, Strict(), Field(ge=0, le=1)]
Json = Annotated[dict[str, Any], BeforeValidator(json_value)]


def _parsed_dates(value: str | tuple[str, str]) -> str | tuple[str, str]:
    dates.parse_dates(value)
    return value


BBox = Annotated[tuple[float, float, float, float], BeforeValidator(area.checked_box)]
Geometry = Annotated[dict[str, Any], BeforeValidator(area.checked_geometry)]
Dates = Annotated[tuple[str, str] | str, BeforeValidator(dates.as_text), AfterValidator(_parsed_dates)]
