"""The commented specs that `rasterloom init` writes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from rasterloom.specs.catalog import Dataset
from rasterloom.specs.fromitem import Draft
from rasterloom.specs.itembands import Bands
from rasterloom.specs.writer import one_line

_TEMPLATE = """\
# {title}
# Check it offline:  rasterloom validate FILE      What a run would do:  rasterloom plan FILE
# Build it:          rasterloom run FILE           For your editor:      rasterloom schema > spec.schema.json
version: 1

# A label: lower-case letters, digits and dashes. What the collection is stands below, and any change of it is noticed.
name: {name}

{source}

# west, south, east, north in degrees; or instead of it `intersects: area.geojson`
{bbox}

# Both days are included. An open end keeps the collection fresh: [2024-06-01, ..]
{dates}

{bands}

# Only scenes with these properties
# query: {{"eo:cloud_cover": {{lt: 20}}}}

# How hard to try. Nothing below changes what the collection holds.
# build:
#   max_concurrent: 100      # requests at once
#   max_error_rate: 0.05     # share of files that may fail before nothing is committed
# workspace: ./workspace     # or s3://bucket/prefix; default: RASTERLOOM_WORKSPACE, else ~/rasterloom_workspace
"""
_ONE_OF_MANY = """\
# One of the built-in datasets (see `rasterloom datasets`), or any STAC API:
#   stac: {url: https://example.com/stac, collection: some-collection}"""
_MOST_COMMENTS = 40
"""Lines about assets that were left out."""


def spec_text(source: Dataset, *, name: str) -> str:
    """YAML text that asks for the dataset's example area and dates."""
    return _TEMPLATE.format(
        title=source.title,
        name=name,
        source=f"{_ONE_OF_MANY}\ndataset: {source.id}",
        bbox=_bbox(source.example_bbox or (-122.5, 37.7, -122.3, 37.9)),
        dates=_dates(source.example_dates or ("2024-06-01", "2024-07-15")),
        bands=_dataset_bands(source, ()),
    )


def item_text(found: Draft) -> str:
    """YAML text that asks for what is like the item, where and when it is."""
    bands = _dataset_bands(found.dataset, found.bands.chosen) if found.dataset else _band_map(found.bands)
    return _TEMPLATE.format(
        title=f"Scenes like {_comment(found.id)}",
        name=found.name,
        source=_source(found),
        bbox="# bbox: [-122.5, 37.7, -122.3, 37.9]   (the item does not say where it lies)" if found.bbox is None else _bbox(found.bbox),
        dates="# dates: [2024-06-01, 2024-07-15]   (the item does not say of when it is)" if found.dates is None else _dates(found.dates),
        bands="\n".join([bands, *_left_out(found.bands)]),
    )


def _source(found: Draft) -> str:
    if found.dataset:
        return f"{_ONE_OF_MANY}\ndataset: {found.dataset.id}"
    if found.stac:
        url, collection = found.stac
        return f"# The STAC API that the item is from\nstac: {one_line({'url': url, 'collection': collection})}"
    path, collection = found.catalog or ("", None)
    static = {"path": path, "collection": collection} if collection else {"path": path}
    return f"# The static catalog that the item is from\ncatalog: {one_line(static)}"


def _dataset_bands(source: Dataset, chosen: tuple[str, ...]) -> str:
    codes = list(source.bands)
    lines = [f"# Only these bands (default: all of the dataset): {', '.join(codes)}"]
    if chosen:
        lines.append(f"# The item has no {', '.join(code for code in codes if code not in chosen)}.")
    return "\n".join([*lines, f"bands: {one_line(list(chosen))}" if chosen else f"# bands: [{', '.join(codes[:2])}]"])


def _band_map(bands: Bands) -> str:
    lines = ["# Band code: asset that holds it", "band_map:"]
    lines += [f"  {one_line(code)}: {one_line(band.asset)}" for code, band in bands.found.items()]
    if bands.indexed:
        indexes = {code: band.index for code, band in bands.found.items()}
        lines += ["# Which sample of the asset a band is, counted from 0", f"band_index_map: {one_line(indexes)}"]
    return "\n".join(lines)


def _left_out(bands: Bands) -> Iterator[str]:
    if bands.left_out:
        yield "# Left out:"
        yield from (f"#   {_comment(each.asset)}: {_comment(each.why)}" for each in bands.left_out[:_MOST_COMMENTS])
        more = len(bands.left_out) - _MOST_COMMENTS
        yield from [f"#   and {more} more"] if more > 0 else ()


def _comment(text: str) -> str:
    """In one line whatever it holds: YAML has more ends of lines than one."""
    return json.dumps(text)[1:-1].replace('\\"', '"')[:200]


def _bbox(numbers: Iterable[float]) -> str:
    return f"bbox: {_flow(f'{number:.10g}' for number in numbers)}"


def _dates(example: tuple[str, ...] | str) -> str:
    return f"dates: {example if isinstance(example, str) else _flow(example)}"


def _flow(parts: Iterable[Any]) -> str:
    return f"[{', '.join(parts)}]"
