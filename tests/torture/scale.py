"""How much of a torture is enough: the whole of it in `scripts/torture`, a part of it among the slow tests."""

from __future__ import annotations

import os

FULL = os.environ.get("TORTURE") == "full"

SECONDS = float(os.environ.get("TORTURE_SECONDS", "inf"))
"""After so many, tortures that go on end with what they have done by then, and say how much that is."""
SEEDS = 10_000 if FULL else 2_000
INSTANTS = 1_000 if FULL else 100
OBJECT_STORE_INSTANTS = 100 if FULL else 20
ROUNDS = 50 if FULL else 15
KILL_EVERY = 1 if FULL else 6
"""Step between the operations before which a build is killed."""
FAIL_EVERY = 1 if FULL else 100
"""Step between the operations at which a disk fails."""
