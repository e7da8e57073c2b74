"""A spec as YAML text that the loader reads to an equal spec."""

from __future__ import annotations

from typing import Any

import yaml

from rasterloom.specs.model import CollectionSpec
from rasterloom.specs.yamltext import scalar

_TAGS = {str: "str", int: "int", float: "float", bool: "bool", type(None): "null"}


class _Dumper(yaml.SafeDumper):
    """Quotes by the loader's own rules: `2024-06-01` and `NO` stand plain, the text `1e3` in quotes."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        if kind is yaml.ScalarNode and implicit[0]:
            kind_of = "merge" if value == "<<" else _TAGS[type(scalar(value))]  # a property of that name stands in quotes
            return f"tag:yaml.org,2002:{kind_of}"
        return super().resolve(kind, value, implicit)

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the name is PyYAML's
        return True


def to_yaml(spec: CollectionSpec) -> str:
    """What differs from the defaults, in the order of the keys; `version` and `name` first."""
    return yaml.dump(short(spec), Dumper=_Dumper, sort_keys=False, default_flow_style=None, allow_unicode=True, width=120)


def short(spec: CollectionSpec) -> dict[str, Any]:
    """The spec as a JSON-able mapping of what differs from the defaults, `version` and `name` first."""
    return {"version": spec.version, "name": spec.name, **spec.model_dump(mode="json", exclude_none=True, exclude_defaults=True)}


def one_line(value: Any) -> str:
    """A value as YAML in one line, to stand behind a key."""
    text = yaml.dump([value], Dumper=_Dumper, sort_keys=False, default_flow_style=True, allow_unicode=True, width=1 << 20)
    return text.strip().removeprefix("[").removesuffix("]")


class _Plain(yaml.SafeDumper):
    """Quotes by YAML 1.1, as other programs read it; texts of several lines stand as such."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the name is PyYAML's
        return True

    def represent_text(self, text: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Plain.add_representer(str, _Plain.represent_text)


def plain_yaml(value: Any) -> str:
    """JSON-able values as YAML for programs of others."""
    return yaml.dump(value, Dumper=_Plain, sort_keys=False, default_flow_style=None, allow_unicode=True, width=120)
