"""How the rules of a spec say no: one error type for all of them, so that one table can translate it."""

from __future__ import annotations

import json
from typing import Any

from pydantic_core import PydanticCustomError

from rasterloom.specs.shapes import HIDDEN, has_secret_shape

KIND = "rasterloom"
"""Error type of every rule of ours, beside pydantic's own types."""

SHOWN = 80
"""Characters of a value that a message repeats."""
LISTED = 20
"""Members of a list that a message repeats."""


def wrong(message: str, *, remedy: str) -> PydanticCustomError:
    """An error for pydantic to collect. `message` names the value and the limit, `remedy` what to write instead."""
    return PydanticCustomError(KIND, "{message} (remedy: {remedy})", {"message": message, "remedy": remedy})


def shown(value: Any) -> str:
    """The value as it was written, more or less, in one line of at most `SHOWN` characters; never one that looks secret."""
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    if has_secret_shape(text):
        return HIDDEN
    text = json.dumps(text, ensure_ascii=False)[1:-1].replace('\\"', '"') if isinstance(value, str) else text
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def a_list(words: Any) -> str:
    """`a, b, c` of any iterable, in its order; of a long one the beginning."""
    parts = [str(word) for word in words]
    return ", ".join(parts[:LISTED]) + (f", ... ({len(parts)} in all)" if len(parts) > LISTED else "")
