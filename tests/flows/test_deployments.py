"""The files of deployments/: what Prefect itself says of them, and that nothing secret is in them."""

from __future__ import annotations

import os
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import prefect
import pytest
import yaml
from jsonschema import Draft202012Validator
from prefect.cli.deploy._models import DeploymentConfig, PrefectYamlModel, WorkPoolConfig
from prefect.settings import Settings

from rasterloom.flows.build import build
from rasterloom.flows.prefectfile import prefect_file
from rasterloom.specs.loader import load_specs, spec_from
from rasterloom.specs.plan import make_plan

SPECS = ("madrid.yaml", "team.yaml")
"""What deployments/prefect.yaml is written of."""


@pytest.fixture(scope="module")
def document(root: Path) -> dict[str, Any]:
    return yaml.safe_load((root / "deployments/prefect.yaml").read_text())


def test_prefect_takes_its_file_and_ignores_nothing_in_it(document: dict[str, Any]) -> None:
    """By the JSON Schema that Prefect publishes for editors, made here of its own model. It ignores keys that it does not know, so they
    are compared."""
    Draft202012Validator(PrefectYamlModel.model_json_schema()).validate(document)
    model = PrefectYamlModel.model_validate(document)
    assert len(model.deployments) == len(document["deployments"]) == 2
    for deployment in document["deployments"]:
        assert set(deployment) <= set(DeploymentConfig.model_fields)
        assert set(deployment["work_pool"]) <= set(WorkPoolConfig.model_fields)


def test_it_is_what_the_command_writes(root: Path) -> None:
    specs = [spec for name in SPECS for spec in load_specs(root / "specs" / name)]
    assert (root / "deployments/prefect.yaml").read_text() == prefect_file(specs, work_pool="local", label="specs")


def test_every_deployment_runs_our_flow_with_the_spec_of_the_file(document: dict[str, Any], root: Path) -> None:
    specs = [spec for name in SPECS for spec in load_specs(root / "specs" / name)]
    for deployment, spec in zip(document["deployments"], specs, strict=True):
        assert deployment["entrypoint"] == f"{build.fn.__module__}.{build.fn.__name__}"
        assert set(deployment["parameters"]) <= set(build.parameters.properties)
        assert spec_from(deployment["parameters"]["spec"]) == spec
        assert spec.name == deployment["name"]
        assert make_plan(spec, now=datetime(2026, 1, 1, tzinfo=UTC)).shards


def settings_of(root: Path) -> dict[str, str]:
    lines = (root / "deployments/prefect.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_the_settings_are_read_by_prefect_and_close_the_server(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in settings_of(root).items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    known = settings.to_environment_variables(exclude_unset=True)
    assert settings.server.api.csrf_protection_enabled
    assert settings.server.api.cors_allowed_origins == "http://127.0.0.1:4200"
    assert settings.server.api.host == "127.0.0.1"
    assert settings.server.analytics_enabled is False
    assert settings.worker.webserver.host == "127.0.0.1"
    assert settings.server.services.db_vacuum.enabled_vacuum_types >= {"events", "flow_runs"}
    assert settings.results.default_serializer == "json"
    assert settings.client.retry_extra_codes == {500}
    assert settings.server.concurrency.lease_storage.endswith(".filesystem")
    assert not [name for name in settings_of(root) if name.startswith("PREFECT_") and name not in known]


def test_no_password_stands_in_the_files(root: Path) -> None:
    compose = yaml.safe_load((root / "deployments/docker-compose.yaml").read_text())
    for service in compose["services"].values():
        for name, value in service.get("environment", {}).items():
            if re.search("PASSWORD|AUTH|CONNECTION", name):
                assert "${" in value
    for name in settings_of(root):
        assert "AUTH_STRING" not in name


def test_the_server_is_published_on_the_loopback_address_and_everything_is_looked_after(root: Path) -> None:
    compose = yaml.safe_load((root / "deployments/docker-compose.yaml").read_text())
    services = compose["services"]
    assert {address.rsplit(":", 2)[0] for service in services.values() for address in service.get("ports", [])} == {"127.0.0.1"}
    for name, service in services.items():
        assert service["healthcheck"]["test"], name
        assert service["restart"] == "unless-stopped"
        assert {place.partition(":")[0] for place in service.get("volumes", [])} <= set(compose["volumes"])
        assert set(service.get("depends_on", {})) <= set(services)
    assert services["server"]["env_file"] == services["worker"]["env_file"] == "prefect.env"


def test_docker_takes_the_compose_file(root: Path) -> None:
    """Where there is a client; it needs no engine for this."""
    command = next((found for found in (["docker", "compose"], ["docker-compose"]) if _runs([*found, "version"])), None)
    if command is None:
        pytest.skip("no docker compose on this machine")
    secrets = {"POSTGRES_PASSWORD": "x", "PREFECT_AUTH": "x:y"}
    file = root / "deployments/docker-compose.yaml"
    done = subprocess.run([*command, "--file", file, "config", "--quiet"], env=os.environ | secrets, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def _runs(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        return False


def test_the_containers_have_the_prefect_that_the_project_asks_for(root: Path) -> None:
    compose = yaml.safe_load((root / "deployments/docker-compose.yaml").read_text())
    images = {service["image"] for name, service in compose["services"].items() if name in ("server", "worker")}
    (image,) = images
    wanted = re.search(r'"prefect>=([0-9.]+),', (root / "pyproject.toml").read_text())
    assert wanted
    assert image.startswith(f"prefecthq/prefect:{wanted[1]}-")
    assert prefect.__version__ >= wanted[1]
