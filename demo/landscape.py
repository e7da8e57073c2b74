"""An invented coast made of noise: reflectances as Sentinel-2 would see them, the same ground on every date, other clouds.

Everything here is fields on one longitude/latitude grid that scenes of any projection sample, so that neighbours agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.floating[Any]]

BANDS = ("B02", "B03", "B04", "B08")
"""Blue, green, red, near infrared, as the last axis of what `reflectance` gives."""

_WATER = (0.052, 0.046, 0.026, 0.012)
_SHALLOWS = (0.085, 0.110, 0.070, 0.022)
_BEACH = (0.200, 0.240, 0.280, 0.330)
_FOREST = (0.024, 0.042, 0.026, 0.260)
_CROP = (0.036, 0.074, 0.042, 0.420)
_SOIL = (0.085, 0.115, 0.150, 0.230)
_ROCK = (0.130, 0.150, 0.165, 0.210)
_CLOUD = (0.620, 0.610, 0.600, 0.580)
_SHAPE = (768, 1280)
_PARCEL = 0.0042


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """Longitude and latitude in degrees that a landscape fills."""

    west: float
    south: float
    east: float
    north: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Landscape:
    """Fields of shape (768, 1280), row 0 in the north, about 30 m a cell for a third of a degree."""

    extent: Extent
    seed: int
    height: Field
    """0 at the shore, about 1 at the highest hill, negative under water."""
    wetness: Field
    """0..1: where forest grows."""
    grain: Field
    """Small differences of the ground, about -1..1."""


def make_landscape(extent: Extent, *, seed: int) -> Landscape:
    ramp = np.linspace(1.1, -1.25, _SHAPE[0], dtype=np.float32)[:, None]
    height = ramp * 0.75 + _noise(seed, roughness=1.75) * 0.42
    return Landscape(
        extent=extent,
        seed=seed,
        height=height,
        wetness=_unit(_noise(seed + 1, roughness=1.5) + height * 0.8),
        grain=_noise(seed + 2, roughness=0.6) * 0.4,
    )


def clouds(landscape: Landscape, *, day: int, cover: float) -> Field:
    """Opacity 0..1 of that day's clouds; about `cover` (0..1) of the cells are under them."""
    field = _noise(landscape.seed + 100 + day, roughness=1.3)
    edge = np.quantile(field, 1 - cover) if cover > 0 else float(field.max()) + 1
    return np.clip((field - edge) * 1.6 + 0.25, 0, 0.95).astype(np.float32) * (field > edge - 0.15)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ground:
    """The landscape where the pixels of one scene are: the same on every date. Arrays of one shape."""

    lon: Field
    """Degrees, of the pixels' centres."""
    lat: Field
    height: Field
    wetness: Field
    grain: Field
    parcels: Field
    """0..1, one value per field of the cadastre."""
    light: Field
    """About 1: brighter towards the sun."""


def ground_at(landscape: Landscape, lon: Field, lat: Field) -> Ground:
    def seen(field: Field) -> Field:
        return _sample(landscape, field, lon, lat)

    return Ground(
        lon=lon,
        lat=lat,
        height=seen(landscape.height),
        wetness=seen(landscape.wetness),
        grain=seen(landscape.grain),
        parcels=_parcels(lon, lat, landscape.seed),
        light=np.clip(1 + seen(_slope(landscape.height)) * 14, 0.45, 1.5),
    )


def reflectance(landscape: Landscape, ground: Ground, opacity: Field, *, greenness: float) -> Field:
    """Reflectance 0..1 of the ground below clouds of `opacity`; `greenness` 0..1 is the season. Adds an axis of 4 bands."""
    seen = _land(ground, greenness=greenness) * ground.light[..., None]
    seen = _mixed(seen, _sea(ground.height), _step(-ground.height, at=0.0, width=0.012))
    # The shadow lies north-west of its cloud: the sun stands in the south-east in the morning.
    seen *= 1 - 0.55 * _sample(landscape, opacity, ground.lon + 0.006, ground.lat - 0.005)[..., None]
    return _mixed(seen, _flat(_CLOUD, ground.height), _sample(landscape, opacity, ground.lon, ground.lat))


def _land(ground: Ground, *, greenness: float) -> Field:
    height, grain, parcels = ground.height, ground.grain, ground.parcels
    crop = np.clip(greenness * 1.25 - 0.35 + (parcels - 0.5) * 1.5, 0, 1)
    fields = _mixed(_flat(_SOIL, height) * (0.75 + 0.5 * parcels[..., None]), _flat(_CROP, height), crop)
    wild = _mixed(fields, _flat(_FOREST, height), _step(ground.wetness + 0.10 * grain + 0.35 * height, at=0.66, width=0.05))
    high = _mixed(wild, _flat(_ROCK, height), _step(height + 0.08 * grain, at=1.12, width=0.25))
    return _mixed(high, _flat(_BEACH, height), _step(0.012 - height, at=0.0, width=0.010) * 0.8) * (1 + 0.16 * grain[..., None])


def _sea(height: Field) -> Field:
    return _mixed(_flat(_WATER, height), _flat(_SHALLOWS, height), np.exp(height * 22).clip(0, 1) * 0.9)


def _slope(height: Field) -> Field:
    rows, cols = np.gradient(height)
    return np.subtract(cols, rows)


def _parcels(lon: Field, lat: Field, seed: int) -> Field:
    """0..1, one value per field of a crooked cadastre."""
    bend = 0.0011 * np.sin(lat * 260) + 0.0006 * np.sin(lon * 410)
    col = np.floor((lon + bend + 0.35 * lat) / _PARCEL).astype(np.int64)
    row = np.floor((lat + 0.0009 * np.sin(lon * 190) - 0.2 * lon + (col % 3) * 0.0011) / (_PARCEL * 0.62)).astype(np.int64)
    mixed = (row * 73856093) ^ (col * 19349663) ^ (seed * 83492791)
    return ((mixed * 2654435761 >> 7) % 1024 / 1023).astype(np.float32)


def _flat(spectrum: tuple[float, ...], like: Field) -> Field:
    return np.broadcast_to(np.array(spectrum, np.float32), (*like.shape, len(spectrum)))


def _mixed(a: Field, b: Field, share: Field) -> Field:
    """`b` where `share` is 1, `a` where it is 0; `share` has no band axis."""
    return a + (b - a) * share[..., None]


def _step(value: Field, *, at: float, width: float) -> Field:
    return np.clip((value - at) / width + 0.5, 0, 1)


def _noise(seed: int, *, roughness: float) -> Field:
    """Fractal noise with mean 0 and standard deviation 1: white noise under a spectrum that falls with `frequency ** -roughness`."""
    rows, cols = _SHAPE
    white = np.fft.rfft2(np.random.default_rng(seed).standard_normal(_SHAPE, dtype=np.float32))
    frequency = np.hypot(np.fft.fftfreq(rows)[:, None] * rows, np.fft.rfftfreq(cols)[None, :] * cols * 0.7)
    frequency[0, 0] = np.inf
    field = np.fft.irfft2(white * (frequency**-roughness).astype(np.float32), s=_SHAPE)
    return (field / field.std()).astype(np.float32)


def _unit(field: Field) -> Field:
    return ((field - field.min()) / (field.max() - field.min())).astype(np.float32)


def _sample(landscape: Landscape, field: Field, lon: Field, lat: Field) -> Field:
    """Bilinear, clamped at the edge of the landscape."""
    extent, (rows, cols) = landscape.extent, field.shape
    x = np.clip((lon - extent.west) / (extent.east - extent.west) * (cols - 1), 0, cols - 1.001)
    y = np.clip((extent.north - lat) / (extent.north - extent.south) * (rows - 1), 0, rows - 1.001)
    col, row = x.astype(np.int32), y.astype(np.int32)
    right, down = (x - col).astype(np.float32), (y - row).astype(np.float32)
    upper = field[row, col] * (1 - right) + field[row, col + 1] * right
    lower = field[row + 1, col] * (1 - right) + field[row + 1, col + 1] * right
    return upper * (1 - down) + lower * down
