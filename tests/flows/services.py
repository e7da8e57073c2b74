"""A Prefect server and workers as processes of their own, which tests start, kill and start again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from tests.servers import free_port
from tests.waiting import logs_shown, until

ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


@dataclass
class Services:
    """One server on a free port, with its database in `home`, and workers of the pool `local`."""

    home: Path
    workers: tuple[str, ...]
    port: int = field(default_factory=free_port)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict[str, subprocess.Popen[bytes]])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    @property
    def workspace(self) -> Path:
        return self.home / "workspace"

    def get(self, path: str) -> Any:
        return self.asked("GET", path).raise_for_status().json()

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self.asked("POST", path, json=body).raise_for_status().json()

    def asked(self, method: str, path: str, **more: Any) -> httpx.Response:
        return asked_until_answered(method, self.url + path, **more)

    def start_server(self) -> None:
        self._start("server", "server", "start", "--host", "127.0.0.1", "--port", str(self.port))
        until(lambda: self._answers("server", "/health"))

    def _answers(self, process: str, path: str) -> bool:
        assert self._is_up(process), f"the {process} has ended"
        return answers(self.url + path)

    def start_worker(self, name: str) -> None:
        self._start(name, "worker", "start", "--pool", "local", "--type", "process", "--name", name, "--limit", "1")

    def _start(self, name: str, *command: str) -> None:
        env = os.environ | {
            "PREFECT_HOME": str(self.home / "prefect"),
            "PREFECT_API_URL": self.url,
            "PREFECT_SERVER_API_PORT": str(self.port),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",  # as deployments/prefect.env
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "RASTERLOOM_WORKSPACE": str(self.workspace),
        }
        with (self.home / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "prefect", *command], env=env, cwd=self.home, stdout=log, stderr=log
            )

    def kill(self, name: str) -> None:
        """SIGKILL, to that process alone."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def stop(self) -> None:
        for process in reversed(self.processes.values()):
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for pid in flow_processes(self.url):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def restore(self) -> None:
        """As it was at the start: server and workers up; no run that goes on, no deployment or automation, an empty workspace."""
        if not self._is_up("server"):
            self.start_server()
        until(self._nothing_runs)
        for kind in ("automations", "deployments"):
            for found in self.post(f"/{kind}/filter", {}):
                self.asked("DELETE", f"/{kind}/{found['id']}")
        until(self._nothing_runs)
        shutil.rmtree(self.workspace, ignore_errors=True)
        for name in self.workers:
            if not self._is_up(name):
                self.start_worker(name)

    def _is_up(self, name: str) -> bool:
        return name in self.processes and self.processes[name].poll() is None

    def _nothing_runs(self) -> bool:
        """Ends what runs; a worker may be about to start one more."""
        unfinished = self.post("/flow_runs/filter", {"flow_runs": {"state": {"type": {"not_any_": ENDED}}}})
        for run in unfinished:
            self.post(f"/flow_runs/{run['id']}/set_state", {"state": {"type": "CANCELLED"}, "force": True})
        running = list(flow_processes(self.url))
        for pid in running:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not unfinished and not running

    def run(self, deployment: str, **parameters: Any) -> str:
        """Id of a new run."""
        found = self.get(f"/deployments/name/{deployment}")
        return self.post(f"/deployments/{found['id']}/create_flow_run", {"parameters": parameters, "idempotency_key": str(uuid4())})["id"]

    def state(self, run: str) -> str:
        return self.get(f"/flow_runs/{run}")["state"]["type"]

    def running(self, run: str) -> str:
        """The run, when it runs and its process is known."""
        until(lambda: self.state(run) in ("RUNNING", *ENDED))
        assert self.state(run) == "RUNNING", self.get(f"/flow_runs/{run}")["state"]
        self.process_of(run)
        return run

    def ended(self, run: str) -> str:
        until(lambda: self.state(run) in ENDED)
        return self.state(run)

    def process_of(self, run: str) -> int:
        """Of a flow run. Its worker stores it some time after it has started it: the run may be under way by then."""
        found: str = until(lambda: self.get(f"/flow_runs/{run}")["infrastructure_pid"])
        return int(found.rpartition(":")[2])

    def worker_of(self, run: str) -> str:
        """Whose child the process of the run is. Two may have told that they submit it: the server lets one of them."""
        workers = {process.pid: name for name, process in self.processes.items() if name != "server"}
        pid = self.process_of(run)
        while pid not in workers:
            pid = parent_of(pid)
        return workers[pid]


def asked_until_answered(method: str, url: str, **more: Any) -> httpx.Response:
    """Again while the server has an error of its own: a database that is locked by its services, or has just come back."""

    def answer() -> httpx.Response | None:
        with suppress(httpx.TransportError):
            return httpx.request(method, url, timeout=60, **more)
        return None

    return until(lambda: found if (found := answer()) is not None and found.status_code < 500 else None)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def flow_processes(url: str) -> Iterator[int]:
    """Of flow runs on the server at `url`, also those that their worker has left behind."""
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            names = (entry / "environ").read_bytes().split(b"\0")
            if f"PREFECT_API_URL={url}".encode() in names and any(name.startswith(b"PREFECT__FLOW_RUN_ID=") for name in names):
                yield int(entry.name)


@contextmanager
def services(home: Path, *workers: str) -> Iterator[Services]:
    made = Services(home, workers)
    with logs_shown(home):
        try:
            made.start_server()
            for name in workers:
                made.start_worker(name)
            until(lambda: answers(f"{made.url}/work_pools/local"))
            yield made
        finally:
            made.stop()


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False
