"""Which directories of a file are its overviews and masks, as GDAL sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rasterloom.raster import fields
from rasterloom.raster.header import Level
from rasterloom.raster.ifd import Tags
from rasterloom.raster.levels import Samples, levels_of, samples_of

_REDUCED, _MASK = 1, 4
"""Bits of NewSubfileType."""


@dataclass(frozen=True, slots=True)
class Pyramid:
    """The levels of a file."""

    kept: tuple[int, ...]
    """Numbers of the directories that are levels, the full resolution first."""
    kinds: tuple[int, ...]
    """What each of these is, in bits of NewSubfileType."""
    levels: Sequence[Level]
    full: Level
    overviews: tuple[Level, ...]
    mask: Level | None
    overview_masks: tuple[Level, ...]

    @classmethod
    def of(cls, ifds: Sequence[Tags], samples: Samples, size: int | None) -> Pyramid:
        kept, kinds, wanted = [0], [0], [(ifds[0], samples)]
        for number, tags in enumerate(ifds[1:], 1):
            kind = tags.get(fields.SUBFILE_TYPE, 0) & (_REDUCED | _MASK)
            own = samples_of(tags) if kind else samples
            if kind and (own.bits == own.count == 1 if kind & _MASK else own == samples):
                kept.append(number)
                kinds.append(kind)
                wanted.append((tags, own))
        return cls.arranged(tuple(kept), tuple(kinds), levels_of(wanted, size))

    @classmethod
    def arranged(cls, kept: tuple[int, ...], kinds: tuple[int, ...], levels: Sequence[Level]) -> Pyramid:
        full = levels[0]
        by_kind = list(zip(kinds, levels, strict=True))[1:]
        masks = [level for kind, level in by_kind if kind == _MASK and (level.width, level.height) == (full.width, full.height)]
        return cls(
            kept=kept,
            kinds=kinds,
            levels=levels,
            full=full,
            overviews=_sorted([level for kind, level in by_kind if kind == _REDUCED]),
            mask=masks[0] if masks else None,
            overview_masks=_sorted([level for kind, level in by_kind if kind == _REDUCED | _MASK]),
        )


def _sorted(levels: list[Level]) -> tuple[Level, ...]:
    return tuple(sorted(levels, key=lambda level: -level.width * level.height)) if len(levels) > 1 else tuple(levels)
