"""Specs as deployments: what is registered, without a server."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule, RRuleSchedule
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.utilities.schema_tools.validation import validate

from rasterloom.errors import SpecError, Unavailable
from rasterloom.flows.build import build
from rasterloom.flows.deploy import deploy, deployments_of, described, serve
from rasterloom.specs.loader import parse_specs, spec_from
from rasterloom.specs.model import CollectionSpec

SPEC = {
    "version": 1,
    "name": "sf-bay",
    "dataset": "earthsearch/sentinel-2-l2a",
    "bbox": [-122.5, 37.7, -122.3, 37.9],
    "dates": "2024-06-01/..",
}


def spec(**more: Any) -> CollectionSpec:
    return spec_from(SPEC | more)


def made(value: CollectionSpec) -> Any:
    return made_all(value)[0]


def made_all(value: CollectionSpec) -> tuple[Any, ...]:
    return deployments_of(value, work_pool="local", workspace=None, tags=("mine",))


def test_a_deployment_is_named_after_its_spec_and_found_by_module() -> None:
    deployment = made(spec())
    assert deployment.name == "sf-bay"
    assert deployment.entrypoint == "rasterloom.flows.build.build"
    assert deployment.concurrency_limit == 1
    assert deployment.tags == ["rasterloom", "mine"]
    assert deployment.schedules == []


def test_the_parameter_is_the_whole_spec() -> None:
    value = spec(query={"eo:cloud_cover": {"lt": 20}}, build={"retries": 5})
    parameters = json.loads(json.dumps(made(value).parameters))
    assert spec_from(parameters["spec"]) == value


def test_the_form_has_fields_and_no_others() -> None:
    form = made(spec()).form
    assert form["additionalProperties"] is False
    assert form["required"] == ["spec"]
    assert set(form["properties"]) <= set(build.parameters.properties)
    inner = form["definitions"]["CollectionSpec"]["properties"]
    assert set(inner) == set(CollectionSpec.model_fields)


@pytest.mark.parametrize(
    ("schedule", "kind", "check"),
    [
        (
            {"cron": "0 6 * * *", "timezone": "Europe/Madrid"},
            CronSchedule,
            lambda s: s.cron == "0 6 * * *" and s.timezone == "Europe/Madrid",
        ),
        ({"interval": "P1D"}, IntervalSchedule, lambda s: s.interval == timedelta(days=1)),
        ({"interval": "6h"}, IntervalSchedule, lambda s: s.interval == timedelta(hours=6)),
        ({"interval": "P2M"}, RRuleSchedule, lambda s: "FREQ=MONTHLY" in s.rrule and "INTERVAL=2" in s.rrule),
        ({"rrule": "FREQ=DAILY"}, RRuleSchedule, lambda s: "FREQ=DAILY" in s.rrule),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_schedules(schedule: dict[str, str], kind: type, check: Any) -> None:
    (made_schedule,) = made(spec(schedule=schedule)).schedules
    assert isinstance(made_schedule.schedule, kind)
    assert check(made_schedule.schedule)
    assert made_schedule.active


def test_an_inactive_schedule_stays_inactive() -> None:
    (made_schedule,) = made(spec(schedule={"cron": "0 6 * * *", "active": False})).schedules
    assert made_schedule.active is False


def test_an_interval_that_no_calendar_has_is_refused() -> None:
    with pytest.raises(SpecError, match="P1M1D"):
        made(spec(schedule={"interval": "P1M1D"}))


def test_a_spec_that_cannot_run_is_not_registered() -> None:
    with pytest.raises(SpecError, match="catalog"):
        made(spec_from({"version": 1, "name": "later", "catalog": {"path": "https://a.example/catalog.json"}}))


def test_the_description_is_the_spec_as_yaml() -> None:
    value = spec(query={"eo:cloud_cover": {"lt": 20}}, schedule={"cron": "0 6 * * *"}, storage={"partition_by": []})
    text = described(value).removeprefix("```yaml\n").removesuffix("```")
    assert parse_specs(text) == (value,)


def test_references_travel_and_values_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN_OF_MINE", "v3ry-s3cret")
    value = spec(auth={"provider": "earthdata", "token": "${TOKEN_OF_MINE}"})
    deployment = made(value)
    assert "${TOKEN_OF_MINE}" in json.dumps(deployment.parameters)
    assert "v3ry-s3cret" not in deployment.model_dump_json() + str(deployment.description)


def test_each_read_is_a_deployment_beside_the_build() -> None:
    value = spec(reads={"mean": {"kind": "composite", "bands": ["B04"]}}, schedule={"cron": "0 6 * * *"})
    built, mean = made_all(value)
    assert (built.full_name, mean.full_name) == ("build-collection/sf-bay", "read/sf-bay.mean")
    assert mean.entrypoint == "rasterloom.flows.read.read"
    assert mean.parameters["read"] == "mean"
    assert spec_from(mean.parameters["spec"]) == value
    assert set(mean.form["properties"]) == {"force", "read", "spec"}
    assert (len(built.schedules), len(mean.schedules)) == (1, 0)
    validate(mean.parameters, mean.form, raise_on_error=True)


@pytest.mark.parametrize("register", [lambda: deploy([spec()], work_pool="local"), lambda: serve([spec()])])
def test_without_a_server_there_is_nothing_to_register_with(register: Any) -> None:
    # The other tests of the session may have one: without this, serve() would serve.
    for settings in (temporary_settings(restore_defaults={PREFECT_API_URL}), temporary_settings({PREFECT_API_URL: ""})):
        with settings, pytest.raises(Unavailable, match="no Prefect server is named"):
            register()
