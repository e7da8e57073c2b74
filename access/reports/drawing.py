"""What drawings share: elements of SVG as text, everything foreign escaped, and axes with round numbers."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

WIDTH = 720
"""Of every drawing, in its own units."""

_ALONE = (
    "text{font:12px system-ui,sans-serif;fill:#3d4852}.back{fill:#fff}.sea{fill:#f3f6f8}.grid{stroke:#d5dde3;fill:none}"
    ".foot{stroke:#12687f;fill:#1a86a3}.area{stroke:#b3430b;fill:none}.bar,.cell{fill:#1a86a3}.range{stroke:#8794a0}.dot{fill:#3d4852}"
    ".axis{stroke:#77838e;fill:none}"
)
"""Colours where no page gives any: a picture on white."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """A picture and the words for those who do not see it."""

    height: int
    body: tuple[str, ...]
    """Elements."""
    alt: str

    def inline(self, identity: str) -> str:
        """As a part of a page, which gives the colours."""
        return (
            f'<svg viewBox="0 0 {WIDTH} {self.height}" role="img" aria-labelledby="{identity}">'
            f'<title id="{identity}">{html.escape(self.alt)}</title>{"".join(self.body)}</svg>'
        )

    def alone(self) -> str:
        """As a file of its own."""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{self.height}" viewBox="0 0 {WIDTH} {self.height}">'
            f"<title>{html.escape(self.alt)}</title><style>{_ALONE}</style>"
            f'<rect class="back" width="{WIDTH}" height="{self.height}"/>{"".join(self.body)}</svg>'
        )


def number(value: float) -> str:
    """A tenth of a unit is finer than a screen shows."""
    text = f"{value:.1f}"
    return text[:-2] if text.endswith(".0") else text


def line(x1: float, y1: float, x2: float, y2: float, kind: str, extra: str = "") -> str:
    return f'<path class="{kind}" d="M{number(x1)} {number(y1)}L{number(x2)} {number(y2)}"{extra}/>'


def rect(x: float, y: float, width: float, height: float, kind: str, extra: str = "") -> str:
    return f'<rect class="{kind}" x="{number(x)}" y="{number(y)}" width="{number(width)}" height="{number(height)}"{extra}/>'


def text(x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text x="{number(x)}" y="{number(y)}" text-anchor="{anchor}">{html.escape(words)}</text>'


def titled(element: str, words: str) -> str:
    """The element with words that show where a pointer rests on it."""
    return f"<g><title>{html.escape(words)}</title>{element}</g>"


def closed_path(rings: Iterable[Sequence[tuple[float, float]]]) -> str:
    """The rings as the data of one path."""
    return "".join("M" + "L".join(f"{number(x)} {number(y)}" for x, y in ring) + "Z" for ring in rings)


def ticks(low: float, high: float, most: int, steps: Sequence[float] = ()) -> list[float]:
    """Round numbers between two, at most `most`: 1, 2 or 5 times a power of ten, or of `steps`, in ascending order."""
    wanted = max(high - low, 1e-9) / most
    power = 10.0 ** math.floor(math.log10(wanted))
    choice = [*(step * power for step in (1.0, 2.0, 5.0, 10.0)), *steps]
    step = min(step for step in choice if step >= wanted * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(step * at, 9) for at in range(first, math.floor(high / step + 1e-9) + 1)]


def round_below(value: float) -> float:
    """The largest of 1, 2 or 5 times a power of ten that is not above `value`, which is positive."""
    power = 10.0 ** math.floor(math.log10(value))
    return max(step * power for step in (1.0, 2.0, 5.0) if step * power <= value * (1 + 1e-9))


def decimals(values: Sequence[float]) -> int:
    """Digits after the point that tell the values apart."""
    gaps = [abs(b - a) for a, b in pairwise(values)]
    return max(0, math.ceil(-math.log10(min(gaps)) - 1e-9)) if gaps else 2
