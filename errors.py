"""The errors that cross a room's door, sorted by what the reader does about them.

Every error that leaves a public function is one of these. Foreign errors (obstore, requests, OSError, ...) are
translated in one table, `rasterloom.access.network.translate`, and a test checks that the table is complete.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


class RasterloomError(Exception):
    """Base of all errors. `exit_code` is what the command line ends with."""

    exit_code = 1

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n  remedy: {self.remedy}" if self.remedy else self.message


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong with a spec, where it stands, and what would be right.

    `line` and `column` are 1-based; both are 0 where the spec did not come from a text.
    """

    message: str
    path: str = ""
    """Dotted path of keys, e.g. `build.max_concurrent`."""
    value: str = ""
    """The offending value as it was written, shortened, never a secret."""
    remedy: str = ""
    file: str = ""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        where = f"{self.file or '<spec>'}:{self.line}:{self.column}: " if self.line else (f"{self.file}: " if self.file else "")
        path = f"{self.path}: " if self.path else ""
        remedy = f"\n    remedy: {self.remedy}" if self.remedy else ""
        return f"{where}{path}{self.message}{remedy}"


class SpecError(RasterloomError):
    """The spec or the command line is wrong: edit it. Carries every problem found, not only the first."""

    exit_code = 2

    def __init__(self, message: str, *, problems: Iterable[Problem] = (), remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return "\n".join([super().__str__(), *map(str, self.problems)])


class AccessDenied(RasterloomError):
    """Credentials are missing, wrong or not enough: fix them. Never retried."""

    exit_code = 3


class Unavailable(RasterloomError):
    """A service or a disk did not do its work: try again later. Retried."""

    exit_code = 4

    def __init__(self, message: str, *, remedy: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after = retry_after
        """Seconds the service asked us to wait, where it said so."""


class Unreadable(RasterloomError):
    """One file or document that we cannot decode. In a build it becomes a row of the failures table.

    `reason` is a short, stable class name for that table, e.g. `not-a-tiff`, `ifd-cycle`, `jpeg2000`.
    """

    exit_code = 4

    def __init__(self, message: str, *, reason: str, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.reason = reason


class Refused(RasterloomError):
    """The error budget or a check failed: nothing was committed and the old snapshot stands."""

    exit_code = 5
