"""Nothing that a commit names is unsynced when the commit appears, and the commit itself is not when its builder hears of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.torture.audit import TRACED, Audit, audited, steps_in_log, steps_in_trace
from tests.torture.machine import ROOT, Machine, Order
from tests.torture.upstream import Upstream

Fresh = Callable[[bool], str]


@pytest.fixture
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Outside of what is watched."""
    return tmp_path_factory.mktemp("log") / "operations"


def watched(machine: Machine, upstream: Upstream, workspace: str, log: Path, *, no_fsync: bool = False) -> Audit:
    above = os.path.dirname(workspace)  # the name of the workspace itself must last too
    order = Order(step="build", workspace=workspace, arguments={"spec": upstream.spec()}, watch=above, log=str(log), no_fsync=no_fsync)
    report = machine.run(order)
    assert report.result is not None, report
    return audited(above, steps_in_log(log))


@pytest.mark.parametrize("refresh", [False, True], ids=["build", "refresh"])
def test_nothing_is_unsynced_at_a_commit(machine: Machine, upstream: Upstream, fresh: Fresh, log: Path, refresh: bool) -> None:
    workspace = fresh(refresh)
    upstream.become(1)
    audit = watched(machine, upstream, workspace, log)
    assert audit.faults == []
    assert len(audit.commits) == 1


def test_the_audit_sees_a_missing_fsync(machine: Machine, upstream: Upstream, fresh: Fresh, log: Path) -> None:
    audit = watched(machine, upstream, fresh(False), log, no_fsync=True)
    assert any("bytes of" in fault for fault in audit.faults)
    assert any("the name" in fault for fault in audit.faults)
    assert any("acknowledged" in fault for fault in audit.faults)


@pytest.mark.slow
def test_the_kernel_saw_the_same(upstream: Upstream, fresh: Fresh, tmp_path: Path) -> None:
    """What Python does not see, as a library that writes by itself, strace sees."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    workspace, trace = fresh(True), tmp_path / "trace"
    upstream.become(1)
    script = "import json, sys; from tests.torture import work; work.build(sys.argv[1], json.loads(sys.argv[2]))"
    command = [strace, "-f", "-y", "-s", "4096", "-qq", "-e", f"trace={TRACED}", "-o", str(trace)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    victim = [sys.executable, "-c", script, workspace, json.dumps(upstream.spec())]
    done = subprocess.run([*command, *victim], cwd=ROOT, env=environment, capture_output=True, text=True)
    if "ptrace" in done.stderr and done.returncode:
        pytest.skip("this machine does not let strace trace")
    assert done.returncode == 0, done.stderr
    audit = audited(workspace, steps_in_trace(trace, os.path.realpath(workspace)))
    assert audit.faults == []
    assert len(audit.commits) == 1
