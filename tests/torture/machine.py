"""A machine that can be switched off: a process with everything imported, which forks a victim for each order and reports its end.

    python -m tests.torture.machine     orders and reports are JSON, one per line

An order has `steps` (each `{"step", "workspace", "arguments"}`) and `faults`. The victim leads a process group of its own, and that is
what dies. Forking a warm process costs milliseconds where starting one costs seconds; it has no threads when it forks.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from rasterloom.errors import RasterloomError
from tests.torture import interpose, work

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = 120.0
"""Seconds after which a victim hangs, and that is a defect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One victim: what it does and what befalls it."""

    step: str
    workspace: str
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])
    watch: str | None = None
    """Directory whose operations count; None: the workspace."""
    kill_at: int | None = None
    """Die before this changing operation."""
    kill_at_commit: bool = False
    """Die before the operation that would commit."""
    tear_at: tuple[int, int] | None = None
    """(operation, seed): as `kill_at`, and what was not synced is cut."""
    fail_at: tuple[int, str, bool] | None = None
    """(operation, errno's name, whether all later ones fail too); looking operations count as well."""
    kill_after: float | None = None
    """Die after so many seconds."""
    log: str | None = None
    """File that gets every operation."""
    no_fsync: bool = False
    """A planted defect: no fsync is seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    killed: bool
    operations: int = 0
    result: Mapping[str, Any] | None = None
    """What the step returned, where it ended well."""
    error: str = ""
    """Class of the error that it ended with."""
    message: str = ""
    remedy: str = ""
    ours: bool = False
    """Whether the error is one of `rasterloom.errors`."""
    seconds: float = 0.0


class Machine:
    """The forking process, as a context manager."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore::DeprecationWarning", "-m", "tests.torture.machine"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)

    def run(self, order: Order) -> Report:
        return self.run_all([order])[0]

    def run_all(self, orders: Sequence[Order]) -> list[Report]:
        """Several victims at once; reports in the order of the orders."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([vars_of(order) for order in orders]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the machine itself died"
        return [Report(**report) for report in json.loads(line)]


def vars_of(order: Order) -> dict[str, Any]:
    return {name: getattr(order, name) for name in Order.__dataclass_fields__}


# --- inside the machine -----------------------------------------------------------------------------------------------------------


def main() -> None:
    reports = os.dup(1)
    os.dup2(2, 1)
    for line in sys.stdin:
        orders = [Order(**order) for order in json.loads(line)]
        answer = json.dumps([vars(report) if hasattr(report, "__dict__") else report for report in attended(orders)])
        os.write(reports, answer.encode() + b"\n")


@dataclass(slots=True)
class Victim:
    pid: int
    pipe: int
    order: Order
    began: float
    said: bytes = b""
    killed: bool = False


def attended(orders: Sequence[Order]) -> list[dict[str, Any]]:
    """Start all, watch over all, bury all."""
    victims = [born(order) for order in orders]
    waiting = {victim.pipe: victim for victim in victims}
    while waiting:
        now = time.monotonic()
        due = (
            min(victim.began + (victim.order.kill_after or TIMEOUT) for victim in waiting.values() if not victim.killed)
            if any(not victim.killed for victim in waiting.values())
            else now + 1.0
        )
        ready, _, _ = select.select(list(waiting), [], [], max(0.0, due - now))
        for pipe in ready:
            victim = waiting[pipe]
            data = os.read(pipe, 1 << 16)
            victim.said += data
            if not data:
                os.close(waiting.pop(pipe).pipe)
        for victim in waiting.values():
            if not victim.killed and time.monotonic() - victim.began >= (victim.order.kill_after or TIMEOUT):
                victim.killed = True
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(victim.pid, signal.SIGKILL)
    return [report_of(victim) for victim in victims]


def born(order: Order) -> Victim:
    pipe, mouth = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(pipe)
        status = 70
        try:
            os.setpgid(0, 0)
            live(order, mouth)
            status = 0
        finally:
            os._exit(status)
    with contextlib.suppress(OSError):  # it may have done so itself already
        os.setpgid(pid, pid)
    os.close(mouth)
    return Victim(pid, pipe, order, time.monotonic())


def report_of(victim: Victim) -> dict[str, Any]:
    _, status = os.waitpid(victim.pid, 0)
    seconds = time.monotonic() - victim.began
    if os.WIFSIGNALED(status):
        return {"killed": True, "seconds": seconds}
    return {"killed": False, "seconds": seconds, **json.loads(victim.said or b'{"error": "silence"}')}


def live(order: Order, mouth: int) -> None:
    interposer = armed(order)
    try:
        end: dict[str, Any] = {"result": work.perform(order.step, order.workspace, order.arguments)}
    except BaseException as error:  # noqa: BLE001 -- whatever a victim dies of is told
        ours = isinstance(error, RasterloomError)
        end = {
            "error": type(error).__name__,
            "message": str(error),
            "remedy": getattr(error, "remedy", ""),
            "ours": ours,
        }
    os.write(mouth, json.dumps({**end, "operations": interposer.count}).encode())


def armed(order: Order) -> interpose.Interposer:
    kinds = interpose.CHANGING if order.fail_at is None else interpose.kinds_that_fail(order.fail_at[1])
    interposer = interpose.Interposer(order.watch or order.workspace, kinds)
    if order.no_fsync:
        interposer.kinds = tuple(kind for kind in interposer.kinds if kind != "fsync")
    if order.kill_at is not None:
        interpose.kill_at(interposer, order.kill_at)
    if order.kill_at_commit:
        interpose.kill_when(interposer, lambda operation: operation.name == "link" and "/_commits/" in operation.path)
    if order.tear_at is not None:
        interpose.tear_at(interposer, *order.tear_at)
    if order.fail_at is not None:
        number, code, lasting = order.fail_at
        interpose.fail_at(interposer, number, code, lasting=lasting)
    if order.log is not None:
        interpose.log_to(interposer, Path(order.log))
    interposer.install()
    return interposer


if __name__ == "__main__":
    main()
