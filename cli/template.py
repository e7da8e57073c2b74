"""The commented spec that `rasterloom init` writes."""

from __future__ import annotations

from rasterloom.specs.catalog import Dataset

_TEMPLATE = """\
# {title}
# Check it offline:  rasterloom validate FILE      What a run would do:  rasterloom plan FILE
# Build it:          rasterloom run FILE           For your editor:      rasterloom schema > spec.schema.json
version: 1

# A label: lower-case letters, digits and dashes. What the collection is stands below, and any change of it is noticed.
name: {name}

# One of the built-in datasets (see `rasterloom datasets`), or any STAC API:
#   stac: {{url: https://example.com/stac, collection: some-collection}}
dataset: {dataset}

# west, south, east, north in degrees; or instead of it `intersects: area.geojson`
bbox: {bbox}

# Both days are included. An open end keeps the collection fresh: [2024-06-01, ..]
dates: {dates}

# Only these bands (default: all of the dataset): {bands}
# bands: [{two}]

# Only scenes with these properties
# query: {{"eo:cloud_cover": {{lt: 20}}}}

# How hard to try. Nothing below changes what the collection holds.
# build:
#   max_concurrent: 100      # requests at once
#   max_error_rate: 0.05     # share of files that may fail before nothing is committed
# workspace: ./workspace     # or s3://bucket/prefix; default: RASTERLOOM_WORKSPACE, else ~/rasterloom_workspace
"""


def spec_text(source: Dataset, *, name: str) -> str:
    """YAML text that asks for the dataset's example area and dates."""
    codes = list(source.bands)
    return _TEMPLATE.format(
        title=source.title,
        name=name,
        dataset=source.id,
        bbox=_flow(source.example_bbox or (-122.5, 37.7, -122.3, 37.9)),
        dates=_dates(source.example_dates),
        bands=", ".join(codes),
        two=", ".join(codes[:2]),
    )


def _flow(numbers: tuple[float, ...]) -> str:
    return f"[{', '.join(f'{number:g}' for number in numbers)}]"


def _dates(example: tuple[str, ...] | str | None) -> str:
    if isinstance(example, str):
        return example
    return f"[{', '.join(example or ('2024-06-01', '2024-07-15'))}]"
