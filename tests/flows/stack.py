"""What `deployments/server` makes of an empty directory: a Prefect server on PostgreSQL and a worker, as a user has them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from rasterloom.specs.model import CollectionSpec
from rasterloom.specs.writer import to_yaml
from tests.flows.services import ENDED, asked_until_answered
from tests.servers import free_port
from tests.waiting import LONG, logs_shown, until

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Stack:
    home: Path
    """The directory of `deployments/server`."""
    env: Mapping[str, str]
    """Of a shell that has read `client.env`."""
    script: int
    """Process of `deployments/server`."""

    @property
    def api(self) -> str:
        return self.env["PREFECT_API_URL"]

    @property
    def ui(self) -> str:
        return self.api.removesuffix("/api")

    @property
    def auth(self) -> tuple[str, str]:
        user, _, password = self.env["PREFECT_API_AUTH_STRING"].partition(":")
        return user, password

    @property
    def workspace(self) -> str:
        return str(self.home / "workspace")

    def get(self, path: str) -> Any:
        return self._asked("GET", path).raise_for_status().json()

    def post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        """With the token that the server wants against forged requests."""
        client = "tests"
        token = self._asked("GET", "/csrf-token", params={"client": client}).raise_for_status().json()["token"]
        headers = {"Prefect-Csrf-Token": token, "Prefect-Csrf-Client": client}
        return self._asked("POST", path, json=body, headers=headers)

    def found(self, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        """What a filter finds."""
        return self.post(path, body).raise_for_status().json()

    def _asked(self, method: str, path: str, **more: Any) -> httpx.Response:
        return asked_until_answered(method, self.api + path, auth=self.auth, **more)

    @contextmanager
    def without_database(self) -> Generator[None]:
        """SIGKILL to PostgreSQL; for the block, its script does not start it again. Back when the API answers again."""
        os.kill(self.script, signal.SIGSTOP)
        try:
            os.kill(int((self.home / "postgres/data/postmaster.pid").read_text().split()[0]), signal.SIGKILL)
            until(lambda: self.status("/work_pools/local") not in (0, 200))
            yield
        finally:
            os.kill(self.script, signal.SIGCONT)
        until(lambda: self.status("/work_pools/local") == 200)

    def status(self, path: str) -> int:
        """0 where there is no answer."""
        try:
            return httpx.get(self.api + path, auth=self.auth, timeout=60).status_code
        except httpx.TransportError:
            return 0

    def shell(self, script: str, *, cwd: Path) -> str:
        """What the lines print; they must all succeed."""
        done = subprocess.run(["bash", "-euc", script], cwd=cwd, env=dict(self.env), capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def deployment(self, name: str) -> dict[str, Any]:
        return self.get(f"/deployments/name/build-collection/{name}")

    def start(self, name: str, **parameters: Any) -> str:
        """The id of a new run."""
        body = {"parameters": parameters, "idempotency_key": str(uuid4())}
        answer = self.post(f"/deployments/{self.deployment(name)['id']}/create_flow_run", body)
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    def ended(self, run: str, *, seconds: float = LONG) -> dict[str, Any]:
        """The run when it has ended."""

        def record() -> dict[str, Any] | None:
            found = self.get(f"/flow_runs/{run}")
            return found if found["state"]["type"] in ENDED else None

        return until(record, seconds=seconds)

    def told(self, run: str) -> str:
        """The logs of a run."""
        rows = self.found("/logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}, "sort": "TIMESTAMP_ASC"})
        return "\n".join(row["message"] for row in rows)


def deployed(stack: Stack, tmp_path: Path, *specs: CollectionSpec) -> None:
    """Deploy these specs, as files of a folder, by the command line."""
    folder = tmp_path / "specs"
    folder.mkdir(exist_ok=True)
    for spec in specs:
        (folder / f"{spec.name}.yaml").write_text(to_yaml(spec))
    stack.shell("rasterloom deploy specs/*.yaml", cwd=tmp_path)


@contextmanager
def started(**more: str) -> Generator[Stack]:
    """The server and its worker; all of it is gone afterwards."""
    if shutil.which("postgres") is None and not list(Path("/usr/lib/postgresql").glob("*/bin/postgres")):
        pytest.skip("no PostgreSQL on this machine")
    home = Path(tempfile.mkdtemp(prefix="rasterloom-server-"))
    home.chmod(0o755)  # PostgreSQL is another user
    port = str(free_port())
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    quick = {"PREFECT_WORKER_QUERY_SECONDS": "1", "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "1"}
    kept = {name: value for name, value in os.environ.items() if name not in ("PREFECT_HOME", "RASTERLOOM_WORKSPACE", "PREFECT_API_URL")}
    env = kept | quick | more | {"PATH": path, "PREFECT_SERVER_API_PORT": port}
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [ROOT / "deployments/server", home], env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        with logs_shown(home):
            until(lambda: _is_up(process, home / "log"))
            client = dict(line.split("=", 1) for line in (home / "client.env").read_text().splitlines())
            yield Stack(home, kept | {"PATH": path, "HOME": str(home), "PREFECT_HOME": str(home / "client")} | client, process.pid)
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(60)
        for name in ("worker", "server", "postgres"):
            _kill_left(home, name)
        shutil.rmtree(home, ignore_errors=True)


def _is_up(process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, "deployments/server has ended"
    return " runs; " in log.read_text()


def _kill_left(home: Path, name: str) -> None:
    """Programs of this directory that the script has left, which it should not: by the file that they write to."""
    log = str(home / f"{name}.log")
    for entry in Path("/proc").glob("[0-9]*/fd/1"):
        with contextlib.suppress(OSError):
            if os.readlink(entry) == log:
                os.kill(int(entry.parts[2]), signal.SIGKILL)
