"""A Prefect server and workers as processes of their own, which tests start, kill and start again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.servers import free_port

ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


@dataclass
class Services:
    """One server on a free port, with its database in `home`, and workers of the pool `local`."""

    home: Path
    port: int = field(default_factory=free_port)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict[str, subprocess.Popen[bytes]])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    @property
    def workspace(self) -> Path:
        return self.home / "workspace"

    def get(self, path: str) -> Any:
        return self._asked("GET", path).json()

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self._asked("POST", path, json=body).json()

    def _asked(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Again while SQLite is locked by the server's own services."""
        while (answer := httpx.request(method, self.url + path, timeout=60, **more)).status_code == 503:
            time.sleep(1)
        return answer.raise_for_status()

    def delete(self, path: str) -> None:
        """What `path` names."""
        kind = path.split("/")[1]
        self._asked("DELETE", f"/{kind}/{self.get(path)['id']}")

    def start_server(self) -> None:
        self._start("server", "server", "start", "--host", "127.0.0.1", "--port", str(self.port))
        until(lambda: answers(f"{self.url}/health"))

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

    def run(self, deployment: str, **parameters: Any) -> str:
        """Id of a new run."""
        found = self.get(f"/deployments/name/{deployment}")
        return self.post(f"/deployments/{found['id']}/create_flow_run", {"parameters": parameters})["id"]

    def state(self, run: str) -> str:
        return self.get(f"/flow_runs/{run}")["state"]["type"]

    def ended(self, run: str) -> str:
        until(lambda: self.state(run) in ENDED)
        return self.state(run)

    def worker_of(self, run: str) -> str:
        """Which one took it."""
        return next(name for name in self.processes if name != "server" and f"submitting flow run '{run}'" in self.told_by(name))

    def told_by(self, name: str) -> str:
        return (self.home / f"{name}.log").read_text()

    def kill_flow(self, run: str) -> None:
        """SIGKILL to the process of a flow run."""
        os.kill(int(self.get(f"/flow_runs/{run}")["infrastructure_pid"].rpartition(":")[2]), signal.SIGKILL)


@contextmanager
def services(home: Path, *workers: str) -> Iterator[Services]:
    made = Services(home)
    try:
        made.start_server()
        for name in workers:
            made.start_worker(name)
        until(lambda: answers(f"{made.url}/work_pools/local"))
        yield made
    finally:
        made.stop()


def until(condition: Callable[[], bool], *, seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s"
        time.sleep(0.2)


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False
