"""What the tests of lanes ask for, and what comes of it."""

from __future__ import annotations

from rasterloom.access.network.lane import Lane
from rasterloom.access.network.wire import Outcome

DATA = bytes(range(251)) * 4000
"""Of every file."""


def outcomes(lane: Lane[str]) -> dict[str, Outcome]:
    found: dict[str, Outcome] = {}
    while lane.busy:
        found |= dict(lane.wait())
    return found
