"""YAML files, texts and mappings to specs. Every error of a file at once, each with its line, value and remedy."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from rasterloom.errors import Problem, SpecError
from rasterloom.specs.kinds import NAME
from rasterloom.specs.model import CollectionSpec
from rasterloom.specs.plain import plain
from rasterloom.specs.problems import problems
from rasterloom.specs.wrong import shown
from rasterloom.specs.yamltext import MAX_BYTES, Document, Stop, documents, dotted, read_text
from rasterloom.specs.yamltext import Path as Path_

MAX_PROBLEMS = 100
"""As many are told; who reads more?"""
OVERRIDE = "--set"
"""What stands for the file name in problems of overrides."""


AreaReader = Callable[[Path | str], Mapping[str, Any]]
"""GeoJSON of the geometries of a GeoParquet file, or of what stands at an http(s) address; raises `SpecError`. Arrow and the network are
not for this room: who has them brings the reader."""
PARQUET = b"PAR1"
MAX_TABLE = 64 * 1024 * 1024
"""Bytes of a GeoParquet file."""


def load_specs(path: str | Path, *, read_area: AreaReader | None = None) -> tuple[CollectionSpec, ...]:
    """All specs of one YAML file. Raises `SpecError` with every problem of it."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
            text = read_text(data if len(data) <= MAX_BYTES else data + file.read(MAX_BYTES), file=str(path))
    except Stop as stop:
        raise _error([stop.problem]) from stop
    except OSError as error:
        raise _error(
            [Problem(message=f"cannot be read: {error.strerror}", file=str(path), remedy=_near_file(path, what="YAML"))]
        ) from error
    return parse_specs(text, file=str(path), root=path.parent, read_area=read_area)


def parse_specs(
    text: str, *, file: str = "<spec>", root: Path | None = None, read_area: AreaReader | None = None
) -> tuple[CollectionSpec, ...]:
    """All specs of a YAML text. Files that it names are looked for below `root` alone; None: it may name none."""
    parsed, refusals = documents(text, file=file)
    specs: list[CollectionSpec] = []
    found: list[Problem] = []
    if not parsed and not refusals:
        found.append(Problem(message="the file holds no spec", file=file, line=1, column=1, remedy="begin with `rasterloom init`"))
    for document in (one for one in parsed if one.whole):
        try:
            specs.append(_validated(document, file=file, root=root, read_area=read_area))
        except ValidationError as error:
            found.extend(problems(error, file=file, document=document))
        except Stop as stop:
            found.append(stop.problem)
    found.extend(_same_names(parsed, file=file))
    if found or refusals:
        raise _error(sorted([*refusals, *found], key=lambda problem: (problem.line, problem.column)))
    return tuple(specs)


def spec_from(mapping: Mapping[str, Any]) -> CollectionSpec:
    """A spec of a mapping: of the parameters of a flow, or of a program, with dates, paths, arrays and shapes of its own.

    Raises `SpecError` with every problem.
    """
    try:
        return CollectionSpec.model_validate(plain(mapping))
    except ValidationError as error:
        raise _error(problems(error)) from error


def with_overrides(spec: CollectionSpec, overrides: Mapping[str, str]) -> CollectionSpec:
    """`spec` with values at dotted paths, each written as in YAML: `{"dates": "2024-06", "build.retries": "5"}`."""
    mapping = spec.model_dump(mode="json", exclude_none=True)
    found: list[Problem] = []
    for path, text in overrides.items():
        try:
            _set(mapping, path, _override(path, text))
        except Stop as stop:
            found.append(stop.problem)
    try:
        changed = CollectionSpec.model_validate(mapping)
    except ValidationError as error:
        raise _error([*found, *problems(error, file=OVERRIDE)]) from error
    if found:
        raise _error(found)
    return changed


def yaml_value(key: str, text: str) -> Any:
    """One value as it is written in YAML, e.g. of an option of the command line. Raises `SpecError`."""
    try:
        return _override(key, text)
    except Stop as stop:
        raise _error([stop.problem]) from stop


def area_in(path: Path, *, read_area: AreaReader | None = None) -> Any:
    """The GeoJSON of a file, or what `read_area` makes of a GeoParquet file. Raises `SpecError`."""
    try:
        return _parsed(path, _beginning(path), read_area)
    except (OSError, ValueError, RecursionError) as error:
        raise SpecError(f"{path} cannot be read as an area: {error}", remedy="give a GeoJSON or GeoParquet file, or W,S,E,N") from error


def _override(path: str, text: str) -> Any:
    parsed, found = documents(text, file=OVERRIDE)
    if found or len(parsed) > 1:
        message = found[0].message if found else "holds several documents"
        raise Stop(Problem(message=message, path=path, value=shown(text), file=OVERRIDE, remedy="write one value as in YAML"))
    return parsed[0].value if parsed else None


def _set(mapping: dict[str, Any], path: str, value: Any) -> None:
    *sections, key = path.split(".", 1) if path.split(".")[0] in ("query", "band_map", "band_index_map") else path.split(".")
    for section in sections:
        inner = mapping.setdefault(section, {})
        if not isinstance(inner, dict):
            raise Stop(Problem(message=f"{section} holds no keys", path=path, file=OVERRIDE, remedy=f"set {section} as a whole"))
        mapping = cast(dict[str, Any], inner)
    if value is None:
        mapping.pop(key, None)
    else:
        mapping[key] = value


def _validated(document: Document, *, file: str, root: Path | None, read_area: AreaReader | None) -> CollectionSpec:
    value = document.value
    if value is None or not isinstance(value, dict):
        what = "is empty" if value is None else f"holds {shown(value)}, not a mapping of keys"
        remedy = "remove the `---` line" if value is None else "write `key: value` lines"
        at = document.start
        raise Stop(Problem(message=f"the document {what}", file=file, line=at.line, column=at.column, remedy=remedy))
    mapping = cast(dict[str, Any], value)
    for at, name in _area_files(mapping):
        mapping = _with(mapping, at, _geojson(name, at, document, file=file, root=root, read_area=read_area))
    return CollectionSpec.model_validate(mapping if root is None else mapping | _anchored(mapping, root))


def _area_files(mapping: Mapping[str, Any]) -> list[tuple[Path_, str]]:
    """Where an area is the path of a file: in the question, and in reads."""
    reads = mapping.get("reads")
    places: list[tuple[Path_, Any]] = [(("intersects",), mapping.get("intersects"))]
    for name, read in cast(dict[Any, Any], reads).items() if isinstance(reads, dict) else ():
        places.append((("reads", name, "area"), cast(dict[str, Any], read).get("area") if isinstance(read, dict) else None))
    return [(at, text) for at, text in places if isinstance(text, str)]


def _with(mapping: dict[str, Any], at: Path_, value: Any) -> dict[str, Any]:
    """A copy of the mapping that has `value` at a path."""
    key, *rest = at
    return mapping | {str(key): _with(mapping[str(key)], tuple(rest), value) if rest else value}


def _anchored(mapping: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """Sources with the paths that they name seen from the directory of the spec: where the work runs, another one is current."""
    found: dict[str, Any] = {}
    for key, place in (("catalog", "path"), ("table", "uri"), ("collection", "uri")):
        section = mapping.get(key)
        text = cast(dict[str, Any], section).get(place) if isinstance(section, dict) else None
        if isinstance(text, str) and text and "://" not in text and not (key == "collection" and NAME.fullmatch(text)):
            found[key] = cast(dict[str, Any], section) | {place: os.path.join(root.resolve(), os.path.expanduser(text))}
    return found | _anchored_reads(mapping, root)


def _anchored_reads(mapping: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """As `_anchored`, for the files of zones and points."""
    found = mapping
    for name, read in cast(dict[str, Any], mapping.get("reads") or {}).items() if isinstance(mapping.get("reads"), dict) else ():
        for key in ("zones", "points"):
            text = cast(dict[str, Any], read).get(key) if isinstance(read, dict) else None
            if isinstance(text, str) and text and "://" not in text:
                found = _with(dict(found), ("reads", name, key), os.path.join(root.resolve(), os.path.expanduser(text)))
    return {"reads": found["reads"]} if found is not mapping else {}


def _geojson(name: str, at: Path_, document: Document, *, file: str, root: Path | None, read_area: AreaReader | None) -> Any:
    """The file that an area names, parsed. It must lie in the directory of the spec or below."""
    mark = document.mark(at)

    def refuse(message: str, remedy: str) -> Stop:
        where = {"path": dotted(at), "value": shown(name), "file": file, "line": mark.line, "column": mark.column}
        return Stop(Problem(message=message, remedy=remedy, **where))  # pyright: ignore[reportArgumentType]

    if root is None:
        raise refuse(f"{shown(name)} is a file, and this text has no directory", "write the GeoJSON inline")
    if name.lower().startswith(("http://", "https://")):
        return _from_web(name, refuse, read_area)
    try:
        path = (root / name).resolve()
        inside = path.is_relative_to(root.resolve())
        data = _beginning(path) if inside and path.is_file() else None
        limit = MAX_TABLE if data is not None and data[:4] == PARQUET else MAX_BYTES
        small = data is not None and path.stat().st_size <= limit
    except (OSError, ValueError) as error:
        raise refuse(f"{shown(name)} cannot be read", "write the path of a GeoJSON file beside the spec") from error
    if not inside:
        raise refuse(f"{shown(name)} leaves the directory of the spec", "put the file beside the spec")
    if data is None:
        raise refuse(f"there is no file {shown(name)} beside the spec", _near_file(path, what="GeoJSON"))
    if not small:
        raise refuse(
            f"{shown(name)} has {path.stat().st_size:,} bytes, the limit is {limit:,}", "simplify the area, or write it as GeoParquet"
        )
    try:
        return _parsed(path, data, read_area)
    except SpecError as error:
        raise refuse(f"{shown(name)}: {error.message}", error.remedy) from error
    except (ValueError, RecursionError) as error:
        raise refuse(f"{shown(name)} is not JSON", "write a GeoJSON file") from error


def _from_web(address: str, refuse: Callable[[str, str], Stop], read_area: AreaReader | None) -> Any:
    if read_area is None:
        raise refuse(f"{shown(address)} is read by nothing here", "load the spec with rasterloom.load_specs, or write the GeoJSON inline")
    try:
        return read_area(address)
    except SpecError as error:
        raise refuse(error.message, error.remedy) from error


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_BYTES)


def _parsed(path: Path, data: bytes, read_area: AreaReader | None) -> Any:
    if data[:4] != PARQUET:
        return json.loads(data)
    if read_area is None:
        raise SpecError("it is GeoParquet, and nothing here reads it", remedy="load the spec with rasterloom.load_specs")
    return read_area(path)


def _same_names(parsed: list[Document], *, file: str) -> list[Problem]:
    """Two specs of one file must not fill the same collection."""
    lines: dict[str, int] = {}
    found: list[Problem] = []
    for document in parsed:
        name = cast(dict[str, Any], document.value).get("name") if isinstance(document.value, dict) else None
        mark = document.mark(("name",))
        if not isinstance(name, str):
            continue
        if (first := lines.setdefault(name, mark.line)) != mark.line:
            message = f"the name {shown(name)} stands in line {first} and in line {mark.line}"
            found.append(Problem(message=message, path="name", value=shown(name), file=file, line=mark.line, column=mark.column,
                                 remedy="give every document of a file its own name"))  # fmt: skip
    return found


def _near_file(path: Path, *, what: str) -> str:
    try:
        near = get_close_matches(path.name, [other.name for other in path.parent.iterdir()], n=1, cutoff=0.6)
    except OSError:
        return f"{path.parent} is no directory"
    return f"did you mean {path.parent / near[0]}?" if near and near[0] != path.name else f"give the path of a {what} file"


def _error(found: Iterable[Problem]) -> SpecError:
    every = tuple(found)
    count = "1 problem" if len(every) == 1 else f"{len(every)} problems"
    more = f", the first {MAX_PROBLEMS} are" if len(every) > MAX_PROBLEMS else ""
    return SpecError(f"the spec is wrong: {count}{more}", problems=every[:MAX_PROBLEMS])
