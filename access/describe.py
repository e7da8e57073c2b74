"""A summary that is a mapping for programs and a table for people."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from typing import Any

_WIDTH = 96


class Description(Mapping[str, Any]):
    """Facts by name, in order. `str()` and the notebook display are tables; `data` is the plain dict."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = dict(data)

    def __getitem__(self, key: str) -> Any:
        return self.data[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.data)

    def __len__(self) -> int:
        return len(self.data)

    def __repr__(self) -> str:
        width = max(len(key) for key in self.data)
        return "\n".join(f"{key:<{width}}  {_text(value)}" for key, value in self.data.items())

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><th>{html.escape(key)}</th><td>{html.escape(_text(value))}</td></tr>" for key, value in self.data.items())
        return f"<table>{rows}</table>"


def size_text(size: float) -> str:
    """Bytes for people: `312 B`, `4.2 kB`, `17.0 MB`."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def _text(value: object) -> str:
    """One short line; an address, at the end of a text or alone, is never cut: it would lead nowhere."""
    if value is None:
        return "-"
    if isinstance(value, str) and "/" in value.rpartition(" ")[2]:
        return value
    parts = [_part(part) for part in value] if isinstance(value, (list, tuple)) else [_part(value)]
    text = ", ".join(parts)
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 20]}... ({len(parts)})" if len(parts) > 1 else f"{text[: _WIDTH - 3]}..."


def _part(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
