"""Commands about specs: `validate`, `schema`, `datasets`, `init`. None of them needs a network, Prefect or Arrow."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rasterloom.cli.output import answer, complain, error_document, note, pairs, table
from rasterloom.cli.template import item_text, spec_text
from rasterloom.errors import SpecError
from rasterloom.specs.catalog import Dataset, dataset
from rasterloom.specs.catalog import datasets as all_datasets
from rasterloom.specs.fromitem import draft
from rasterloom.specs.loader import load_specs, parse_specs, with_overrides
from rasterloom.specs.model import CollectionSpec
from rasterloom.specs.plan import make_plan
from rasterloom.specs.resolve import effort, resolve
from rasterloom.specs.schema import json_schema

FIRST_DATASET = "earthsearch/sentinel-2-l2a"
"""What `rasterloom init` begins with."""


def specs_of(args: Namespace) -> tuple[CollectionSpec, ...]:
    """All documents of all files, with --set applied. Raises SpecError, also where two have one name."""
    overrides = dict(_override(text) for text in args.overrides)
    found = [(path, spec) for path in args.specs for spec in load_specs(Path(path), read_area=_area_of)]
    found = [(path, with_overrides(spec, overrides)) for path, spec in found] if overrides else found
    return _different(found)


def _area_of(place: Path | str) -> Mapping[str, Any]:
    from rasterloom.access.sources.areas import area_of  # Arrow and the network are for this alone

    return area_of(place)


def validate(args: Namespace) -> int:
    """Checks every file, also after one that is wrong; 2 where any is. With --online also what a run would meet: the worst exit code."""
    found = [_checked(path) for path in args.specs]
    wrong = [error for outcome in found for error in outcome.errors]
    if not wrong:
        _different([(outcome.path, spec) for outcome in found for spec in outcome.specs])
    for outcome in found if not args.json else ():
        if not outcome.errors:
            print(f"{outcome.path}: {', '.join(spec.name for spec in outcome.specs)}: valid", flush=True)
    for error in wrong:
        complain(error)
    codes = [SpecError.exit_code] if wrong else [0]
    documents = [outcome.document() for outcome in found]
    if args.online:
        from rasterloom.cli.online import check  # the network is for this alone

        for outcome, document in zip(found, documents, strict=True):
            document["online"] = check(args, outcome.specs) if not outcome.errors else []
            codes += [each["exit_code"] for each in document["online"]]
    answer(args, {"valid": not wrong, "exit_code": max(codes), "files": documents}, "")
    return max(codes)


def schema(args: Namespace) -> int:
    """The JSON Schema; the same with and without --json."""
    document = json_schema()
    answer(args, document, json.dumps(document, indent=2, ensure_ascii=False))
    return 0


def datasets(args: Namespace) -> int:
    if args.action == "info":
        return _dataset_info(args)
    if args.id:
        raise SpecError(f"`datasets list` takes no ID, and got {args.id!r}", remedy=f"rasterloom datasets info {args.id}")
    found = all_datasets()
    rows = [
        (each.id, len(each.bands), each.title if each.status == "supported" else f"{each.title} (not yet: {each.status})") for each in found
    ]
    answer(args, {"datasets": [_summary(each) for each in found]}, table(rows, ("ID", "BANDS", "TITLE")))
    return 0


def init(args: Namespace) -> int:
    """Writes a commented spec. Raises SpecError where the file exists."""
    if args.from_item:
        return _init_from_item(args)
    source = dataset(args.dataset or FIRST_DATASET)
    name = args.name or _name_of(source)
    return _write_spec(args, name, spec_text(source, name=name))


def _init_from_item(args: Namespace) -> int:
    if args.dataset:
        raise SpecError("--dataset and --from-item stand together", remedy="leave one of them out: the item says what it belongs to")
    from rasterloom.access.sources.oneitem import item_at  # the network is for this alone

    found = draft(*item_at(args.from_item), name=args.name)
    for each in found.bands.left_out:
        note(f"left out: asset {each.asset}: {each.why}")
    return _write_spec(
        args, found.name, item_text(found), left_out=[{"asset": each.asset, "why": each.why} for each in found.bands.left_out]
    )


def _write_spec(args: Namespace, name: str, text: str, **more: Any) -> int:
    """Writes a spec that is whole, or raises SpecError and writes nothing."""
    for spec in parse_specs(text, file=args.path or f"{name}.yaml"):
        resolve(spec)
    if args.path == "-":
        answer(args, {"path": None, "name": name, "text": text, **more}, text.rstrip())
        return 0
    path = Path(args.path or f"{name}.yaml")
    _write_new(path, text)
    answer(args, {"path": str(path), "name": name, "text": text, **more}, f"wrote {path}; try: rasterloom plan {path}")
    return 0


class _Outcome:
    """What came of one file."""

    def __init__(self, path: str, specs: tuple[CollectionSpec, ...] = (), errors: tuple[SpecError, ...] = ()) -> None:
        self.path = path
        self.specs = specs
        self.errors = errors

    def document(self) -> dict[str, Any]:
        names = [spec.name for spec in self.specs]
        return {"file": self.path, "valid": not self.errors, "names": names, "errors": [error_document(error) for error in self.errors]}


def _checked(path: str) -> _Outcome:
    try:
        specs = load_specs(Path(path), read_area=_area_of)
    except SpecError as error:
        return _Outcome(path, errors=(error,))
    return _Outcome(path, specs, tuple(error for spec in specs if (error := _executable(path, spec))))


def _executable(path: str, spec: CollectionSpec) -> SpecError | None:
    """What stands in the way of running a spec that is well-formed: an unknown dataset or band, a split that is too fine."""
    try:
        make_plan(spec, now=datetime.now(UTC))
        effort(spec)
    except SpecError as error:
        problems = [problem if problem.file else replace(problem, file=path) for problem in error.problems]
        return SpecError(f"{path}: {error.message}", problems=problems, remedy=error.remedy)
    return None


def _different(found: Sequence[tuple[str, CollectionSpec]]) -> tuple[CollectionSpec, ...]:
    """The specs of all files. Raises SpecError where two have one name."""
    files: dict[str, list[str]] = {}
    for path, spec in found:
        files.setdefault(spec.name, []).append(path)
    for name, paths in sorted(files.items()):
        if len(paths) > 1:
            places = " and ".join(dict.fromkeys(paths))
            raise SpecError(f"{len(paths)} specs of {places} share the name {name}", remedy="give every collection a name of its own")
    return tuple(spec for _, spec in found)


def _override(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key.strip() or not equals:
        raise SpecError(f"--set {text[:60]!r} is not KEY=VALUE", remedy="write e.g. --set dates=2024-06 or --set build.retries=5")
    return key.strip(), value


def _dataset_info(args: Namespace) -> int:
    if not args.id:
        raise SpecError("`datasets info` needs the ID of a dataset", remedy="see `rasterloom datasets` for all of them")
    found = dataset(args.id)
    bands = table([(code, band.asset, band.index) for code, band in found.bands.items()], ("BAND", "ASSET", "INDEX"))
    answer(args, _summary(found), f"{pairs(_facts(found), parts='; ')}\n\n{bands}\n\nstart with: rasterloom init --dataset {found.id}")
    return 0


def _facts(found: Dataset) -> dict[str, object]:
    return {
        "id": found.id,
        "title": found.title,
        "provider": found.provider,
        "status": found.status,
        "url": found.url,
        "collection": found.collection,
        "auth": found.auth.provider,
        "license": found.license,
        "quirks": found.quirks,
        "notes": found.notes,
    }


def _summary(found: Dataset) -> dict[str, Any]:
    bands = {code: {"asset": band.asset, "index": band.index} for code, band in found.bands.items()}
    return {**_facts(found), "example_bbox": found.example_bbox, "example_dates": found.example_dates, "bands": bands}


def _name_of(source: Dataset) -> str:
    return source.id.rpartition("/")[2].replace("_", "-").replace(".", "-").lower()


def _write_new(path: Path, text: str) -> None:
    """Raises SpecError where the file exists or its directory does not."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise SpecError(f"{path} exists, and is not overwritten", remedy="name another file, e.g. rasterloom init other.yaml") from None
    except OSError as error:
        raise SpecError(f"cannot write {path}: {error.strerror}", remedy="name a file in a directory that exists and is yours") from None
