"""JSON Schema of the spec for editors; `specs/schema.json` is its committed output."""

from __future__ import annotations

from typing import Any

from rasterloom.specs.model import CollectionSpec


def json_schema() -> dict[str, Any]:
    """As the models say it, plus what only a file may write: `dates: 2024` and the path of a GeoJSON file."""
    schema = CollectionSpec.model_json_schema()
    properties = schema["properties"]
    for name, field in CollectionSpec.model_fields.items():  # pydantic leaves it out of sections that have a default
        properties[name].setdefault("description", field.description)
    properties["dates"]["anyOf"].insert(0, {"type": "integer"})
    properties["intersects"]["anyOf"].insert(0, {"type": "string"})
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
