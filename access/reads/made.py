"""What a read asks for, out of what its files hold: bands as they are, expressions of scaled values, both under the masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rasterloom.access.reads.scenes import output_bands
from rasterloom.raster.expressions import evaluate
from rasterloom.raster.header import Header
from rasterloom.raster.layers import Layer
from rasterloom.raster.masks import MaskRule, kept
from rasterloom.specs.expressions import parse_expression
from rasterloom.specs.reads import Read


def output_names(read: Read, known: Sequence[str]) -> tuple[str, ...]:
    """Bands, then expressions. Raises SpecError for a band that the collection (`known`) does not have."""
    return *output_bands(read, known), *(read.expressions or {})


def bands_of(read: Read, name: str) -> tuple[str, ...]:
    """The bands that one output is made of."""
    text = (read.expressions or {}).get(name)
    return (name,) if text is None else tuple(parse_expression(text).bands)


def mask_bands(read: Read) -> tuple[str, ...]:
    return tuple(dict.fromkeys(mask.band for mask in read.mask or ()))


def outputs_of(
    read: Read, names: Sequence[str], raw: Mapping[str, Layer], headers: Mapping[str, Header], masks: Mapping[str, Layer]
) -> dict[str, Layer]:
    """Those of the outputs `names` whose bands are all in `raw`; all layers are of one shape, `headers` say how bands are scaled.

    None where a band of the mask is not in `masks`: nothing is left unmasked. Pixels that are NaN are not valid.
    """
    if any(band not in masks for band in mask_bands(read)):
        return {}
    there = [name for name in names if all(band in raw for band in bands_of(read, name))]
    made = {name: _output(read, name, raw, headers) for name in there}
    for mask in read.mask or () if made else ():
        stays = kept(MaskRule(band=mask.band, values=mask.values or (), keep=mask.keep, bits=mask.bits or ()), masks[mask.band])
        made = {name: Layer(layer.data, layer.valid & stays) for name, layer in made.items()}
    return made


def _output(read: Read, name: str, raw: Mapping[str, Layer], headers: Mapping[str, Header]) -> Layer:
    text = (read.expressions or {}).get(name)
    if text is not None:
        expression = parse_expression(text)
        return evaluate(expression.root, {band: scaled(raw[band], headers[band]) for band in expression.bands})
    layer = raw[name]
    return Layer(layer.data, layer.valid & ~np.isnan(layer.data)) if layer.data.dtype.kind == "f" else layer


def scaled(layer: Layer, header: Header) -> Layer:
    """In the units of the quantity, float64; as it is where the file names no scale."""
    if not header.scales and not header.offsets:
        return layer
    scale, offset = header.scales[0] if header.scales else 1.0, header.offsets[0] if header.offsets else 0.0
    return Layer(layer.data.astype(np.float64) * scale + offset, layer.valid)
