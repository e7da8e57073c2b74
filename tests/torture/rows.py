"""The rows that a collection of some generation has. Standard library alone: readers of other environments import it too."""

from __future__ import annotations

from collections.abc import Mapping

NAME = "torture"
SCENES = 3
"""Of each month."""
LATE = "july-late"


def expected(generation: int) -> dict[str, int]:
    """Scene -> generation, of a collection that was built while the catalog was of this generation."""
    rows = {f"june-{number}": 0 for number in range(SCENES)} | {f"july-{number}": generation for number in range(SCENES)}
    return rows | ({LATE: generation} if generation else {})


def generation_of(rows: Mapping[str, int]) -> int | None:
    """The generation that rows are a whole collection of; None for a mix, a part, or nothing."""
    generation = rows.get("july-0")
    return generation if generation is not None and dict(rows) == expected(generation) else None
