"""JSON Schema of a deployment's parameters: what the Prefect UI renders as a form, and what its server checks before a run begins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, TypeAdapter

from rasterloom.specs.form import BBox, DateRange, Percent, band_codes, cloud_limit, whole_days
from rasterloom.specs.kinds import NAME
from rasterloom.specs.model import CollectionSpec
from rasterloom.specs.rules import SOURCES
from rasterloom.specs.writer import short

Schema = dict[str, Any]

PINNED = (*SOURCES, "auth", "workspace", "export", "reads", "run")
"""Keys of the spec that a run takes from the deployment as they are: they say whom the worker asks, with which credentials, what it
imports and where it writes, and the form is open to everybody who reaches the server."""
_HINT = "Empty: as in the spec."


def form_schema(spec: CollectionSpec, *, workspace: str | None = None) -> Schema:
    """The parameters of `rasterloom.flows.build.build` for the deployment of `spec`, filled in with what it says.

    `workspace` is a parameter only where the deployment has one, and then the only value.
    """
    fields: dict[str, Schema] = {
        "dates": _section(DateRange, whole_days(spec), "Dates", "Days in UTC, both included. Both empty: as in the spec."),
        "bbox": _section(BBox, _box(spec), "Area", "Degrees of longitude and latitude. All empty: as in the spec."),
        "bands": _bands(spec),
        "cloud_cover": _filled(
            TypeAdapter(Percent).json_schema(),
            cloud_limit(spec),
            title="Cloud cover below",
            description=f"Percent; scenes that do not tell theirs are left out. {_HINT}",
        ),
        "force": _switch("Build again", "Also where nothing has changed, and answer nothing from memory."),
        "save_as": {
            "type": "string",
            "pattern": f"^{NAME.pattern}$",
            "title": "Save as",
            "description": f"Another collection, which leaves {spec.name} as it is. "
            f"Empty: {spec.name} becomes what is asked here, until its next scheduled run.",
        },
        "retry_failed": _switch("Failed files only", "Ask again for the files that failed, and for nothing else that is remembered."),
        **_workspace(workspace),
        "spec": _spec(spec),
    }
    if not band_codes(spec):
        del fields["bands"]
    return _parameters(fields, required=["spec"])


def read_form_schema(spec: CollectionSpec, read: str, *, workspace: str | None = None) -> Schema:
    """The parameters of `rasterloom.flows.read.read` for the deployment of one read job of `spec`."""
    fields = {
        "force": _switch("Read again", "Every scene, and commit a new output."),
        "read": {"type": "string", "enum": [read], "title": "Read", "description": "Name of the read."},
        **_workspace(workspace),
        "spec": _spec(spec),
    }
    return _parameters(fields, required=["spec", "read"])


def _parameters(fields: Mapping[str, Schema], *, required: list[str]) -> Schema:
    return {
        "title": "Parameters",
        "type": "object",
        "properties": {name: field | {"position": position} for position, (name, field) in enumerate(fields.items())},
        "required": required,
        "additionalProperties": False,
        "definitions": _definitions(),
    }


def _workspace(workspace: str | None) -> dict[str, Schema]:
    field: Schema = {"type": "string", "enum": [workspace], "title": "Workspace", "description": "Where the collection is kept."}
    return {} if workspace is None else {"workspace": field}


def _section(model: type[BaseModel], values: BaseModel | None, title: str, description: str) -> Schema:
    """A box of fields. Inline, because a reference could not carry the values of this deployment."""
    schema = model.model_json_schema()
    filled = values.model_dump(mode="json") if values else {}
    properties = {name: _filled(field, filled.get(name)) for name, field in schema["properties"].items()}
    return {"type": "object", "title": title, "description": description, "properties": properties, "additionalProperties": False}


def _filled(field: Mapping[str, Any], value: Any, **more: Any) -> Schema:
    empty = {key: inner for key, inner in field.items() if key != "default"}
    return empty | more | ({} if value is None else {"default": value})


def _box(spec: CollectionSpec) -> BBox | None:
    return BBox(**dict(zip(BBox.model_fields, spec.bbox, strict=True))) if spec.bbox else None


def _bands(spec: CollectionSpec) -> Schema:
    codes = band_codes(spec)
    items = {"type": "string", "enum": list(codes)}
    described = {"title": "Bands", "description": f"Which are indexed. {_HINT}"}
    return {"type": "array", "items": items, "uniqueItems": True, "default": list(spec.bands or codes), **described}


def _switch(title: str, description: str) -> Schema:
    return {"type": "boolean", "default": False, "title": title, "description": description}


def _spec(spec: CollectionSpec) -> Schema:
    given, whole = short(spec), spec.model_dump(mode="json", exclude_none=True)
    needed = [key for key in given if key in PINNED]
    pins: Schema = {key: _one_of(given.get(key), whole.get(key)) for key in PINNED}
    pins["build"] = {"properties": {"allow_private_hosts": {"const": spec.build.allow_private_hosts}}}
    return {
        "type": "object",
        "title": "Spec",
        "description": f"The rest of the spec, as JSON. Where a field above says something else, the field wins. "
        f"{', '.join(PINNED)} stay as they are deployed.",
        # Behind `then` the server checks it, and the UI shows one editor in place of two hundred fields.
        "if": True,
        "then": {"allOf": [{"$ref": "#/definitions/CollectionSpec"}, {"properties": pins, "required": needed}]},
    }


def _one_of(short: Any, whole: Any) -> Schema:
    return {"const": whole} if short == whole else {"enum": [short, whole]}


def _definitions() -> Schema:
    schema = CollectionSpec.model_json_schema(ref_template="#/definitions/{model}")
    inner = schema.pop("$defs", {})
    return {**inner, "CollectionSpec": schema}
