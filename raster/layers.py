"""Pixels with their validity, as band maths, masks and composites hand them on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """One band, or what was made of some, on a grid."""

    data: NDArray[Any]
    """Shape (height, width)."""
    valid: NDArray[np.bool_]
    """True = valid, shape (height, width); what `data` holds elsewhere means nothing."""
