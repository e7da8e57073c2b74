"""Instants as STAC items spell them: RFC 3339, and what the wild adds to it."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_RFC3339 = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)(?:[Tt ](?P<time>\d\d:\d\d)(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,12}))?)?"
    r"\s?(?P<zone>[Zz]|[+-]\d\d:?\d\d)?)?"
)


def instant_of(text: object) -> datetime | None:
    """UTC instant of an RFC 3339 text; without a zone it is UTC, a day alone is its first instant. None where it is no such text.

    Fractions are cut to microseconds; a leap second (RFC 3339 5.7) is the last microsecond of its minute.
    """
    found = _RFC3339.fullmatch(text.strip()) if isinstance(text, str) else None
    if found is None:
        return None
    second, fraction = found["second"] or "00", (found["fraction"] or "").ljust(6, "0")[:6]
    if second == "60":
        second, fraction = "59", "999999"
    zone = (found["zone"] or "Z").upper().replace("Z", "+00:00")
    try:
        return datetime.fromisoformat(f"{found['day']}T{found['time'] or '00:00'}:{second}.{fraction}{zone}").astimezone(UTC)
    except (ValueError, OverflowError):
        return None
