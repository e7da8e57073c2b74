"""A log: numbered files that are created once, never rewritten and never deleted.

The create-only put of `<home>/_commits/<number>.json` is the one linearization point, on every store. Any failure of it is ambiguous
until it is read back: obstore reports our own file as taken when the answer was lost, and a 409 with nothing stored as taken too.
A file is never deleted: a freed number could be created again by a slow writer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rasterloom.access.workspace.clock import SYSTEM, Clock
from rasterloom.access.workspace.files import Occupied, Workspace
from rasterloom.errors import RasterloomError, Unavailable

COMMITS = "_commits"
CHECKSUM = "checksum"
"""Key of a file of a log: SHA-256 of all its other keys."""
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Log:
    """The log below one directory of a workspace."""

    workspace: Workspace
    home: str
    """Key of the directory."""

    def key(self, number: int) -> str:
        return f"{self.home}/{COMMITS}/{number:020d}.json"

    @property
    def hint_key(self) -> str:
        return f"{self.home}/_latest.json"

    def newest(self) -> int:
        """Number of the newest file, 0 where there is none. The hint is only a lower bound to start from."""
        number = self._hint() or self._listed()
        while number and self.workspace.size(self.key(number + 1)) is not None:
            number += 1
        return number

    def read(self, number: int) -> bytes | None:
        return self.workspace.read(self.key(number))

    def create(self, number: int, data: bytes, *, clock: Clock = SYSTEM) -> RasterloomError | None:
        """Try until the number is taken, by us or by another: read it back to see. The last error, where it is still free."""
        error: RasterloomError | None = None
        for attempt in range(_TRIES):
            try:
                self.workspace.create(self.key(number), data)
                return None
            except (Occupied, Unavailable) as caught:
                error = caught
            if self.read(number) is not None:
                return error
            clock.sleep(clock.jitter(0, 0.1 * 2**attempt))
        message = f"{self.home}: the commit could not be written: {error}"
        return Unavailable(message, remedy="check the workspace, then run again") if error else None

    def write_hint(self, number: int) -> None:
        self.workspace.write(self.hint_key, hint_of(number))

    def _hint(self) -> int:
        """Number of the hint where its file is there, else 0: a hint is never believed unseen."""
        data = self.workspace.read(self.hint_key)
        try:
            hint: Mapping[str, Any] = json.loads(data) if data else {}
            number = int(hint["version"])
        except (ValueError, KeyError, TypeError):
            return 0
        return number if number > 0 and self.workspace.size(self.key(number)) is not None else 0

    def _listed(self) -> int:
        numbers = [entry.key.rsplit("/", 1)[-1].removesuffix(".json") for entry in self.workspace.list(f"{self.home}/{COMMITS}")]
        return max((int(number) for number in numbers if number.isdigit()), default=0)


def hint_of(version: int) -> bytes:
    """The content of the hint: a lower bound of the newest number."""
    return json.dumps({"version": version}).encode()


def sealed(mapping: Mapping[str, Any]) -> bytes:
    """A mapping as JSON in one fixed form, with the checksum of its other keys: any changed byte is found."""
    plain = {key: value for key, value in mapping.items() if key != CHECKSUM}
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
    return json.dumps({**plain, CHECKSUM: digest}, sort_keys=True, indent=1).encode()


def unsealed(data: bytes) -> dict[str, Any]:
    """Inverse of `sealed`. Raises ValueError where it is not as it was written."""
    mapping: dict[str, Any] = json.loads(data)
    if sealed(mapping) != data:
        raise ValueError("its checksum does not fit")
    return mapping
