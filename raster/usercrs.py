"""CRS that no EPSG code names: GeoKeys spelled as WKT, the way GDAL's GeoTIFF driver does, and handed to PROJ.

The table of projections is that of libgeotiff and of GDAL's `gt_wkt_srs.cpp`: which key holds which parameter, and what WKT 1
calls it. PROJ reads the WKT 1 and gives WKT 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pyproj import CRS
from pyproj.crs import CoordinateOperation, Datum, Ellipsoid, ProjectedCRS  # pyright: ignore[reportPrivateImportUsage]
from pyproj.database import get_units_map
from pyproj.exceptions import ProjError

from rasterloom.raster.keys import KeyValue

Keys = Mapping[int, KeyValue]

MODEL_TYPE, CITATION = 1024, 1026
GEODETIC_CRS, GEODETIC_CITATION, DATUM, PRIME_MERIDIAN = 2048, 2049, 2050, 2051
ANGULAR_UNIT, ANGULAR_SIZE = 2054, 2055
ELLIPSOID, SEMI_MAJOR, SEMI_MINOR, INVERSE_FLATTENING, PRIME_MERIDIAN_LONGITUDE = 2056, 2057, 2058, 2059, 2061
PROJECTED_CRS, PROJECTED_CITATION, PROJECTION, METHOD, LINEAR_UNIT, LINEAR_SIZE = 3072, 3073, 3074, 3075, 3076, 3077
USER_DEFINED = 32767
PROJECTED, GEOGRAPHIC = 1, 2
"""Model types."""

_EASTING = (3082, 3090, 3086)
_NORTHING = (3083, 3091, 3087)
_LONGITUDE = (3080, 3084, 3088, 3095)
_LATITUDE = (3081, 3085, 3089)
_SCALE = (3092, 3093)


@dataclass(frozen=True, slots=True)
class _Method:
    """A coordinate transformation code in WKT 1."""

    name: str
    latitude: str = ""
    """Name of the parameter that takes the latitude of the origin; empty: none."""
    longitude: str = "central_meridian"
    parallels: int = 0
    """How many standard parallels it takes."""
    scale: bool = False
    azimuth: bool = False


def _natural(name: str, *, scale: bool = False, parallels: int = 0) -> _Method:
    return _Method(name, "latitude_of_origin", scale=scale, parallels=parallels)


def _centred(name: str, *, parallels: int = 0) -> _Method:
    return _Method(name, "latitude_of_center", "longitude_of_center", parallels)


_METHODS: Mapping[int, _Method] = {
    1: _natural("Transverse_Mercator", scale=True),
    3: _Method("Hotine_Oblique_Mercator", "latitude_of_center", "longitude_of_center", scale=True, azimuth=True),
    7: _natural("Mercator_1SP", scale=True),
    8: _natural("Lambert_Conformal_Conic_2SP", parallels=2),
    9: _natural("Lambert_Conformal_Conic_1SP", scale=True),
    10: _centred("Lambert_Azimuthal_Equal_Area"),
    11: _centred("Albers_Conic_Equal_Area", parallels=2),
    12: _centred("Azimuthal_Equidistant"),
    13: _centred("Equidistant_Conic", parallels=2),
    14: _natural("Stereographic", scale=True),
    15: _natural("Polar_Stereographic", scale=True),
    16: _natural("Oblique_Stereographic", scale=True),
    17: _natural("Equirectangular", parallels=1),
    18: _natural("Cassini_Soldner"),
    19: _natural("Gnomonic"),
    20: _centred("Miller_Cylindrical"),
    21: _natural("Orthographic"),
    22: _natural("Polyconic"),
    23: _Method("Robinson", longitude="longitude_of_center"),
    24: _Method("Sinusoidal", longitude="longitude_of_center"),
    25: _Method("VanDerGrinten"),
    26: _natural("New_Zealand_Map_Grid"),
    27: _natural("Transverse_Mercator_South_Orientated", scale=True),
    28: _Method("Cylindrical_Equal_Area", parallels=1),
    9815: _Method("Hotine_Oblique_Mercator_Azimuth_Center", "latitude_of_center", "longitude_of_center", scale=True, azimuth=True),
}


@dataclass(frozen=True, slots=True)
class Crs:
    epsg: int | None
    text: str | None
    """`EPSG:n`, else WKT2, else None."""


UNKNOWN = Crs(None, None)


def crs_of_keys(keys: Keys) -> Crs:
    """The CRS that GeoKeys describe; `UNKNOWN` where they describe none that PROJ understands (never a made-up code)."""
    try:
        return _coded(keys) or _described(keys)
    except ProjError:
        return UNKNOWN


def _coded(keys: Keys) -> Crs | None:
    """The CRS whose EPSG code stands in the keys, if PROJ knows it."""
    code = keys.get(PROJECTED_CRS, keys.get(GEODETIC_CRS))
    if PROJECTED_CRS in keys and keys.get(MODEL_TYPE) == GEOGRAPHIC:
        code = keys.get(GEODETIC_CRS)
    if not isinstance(code, int) or code in (0, USER_DEFINED):
        return None
    try:
        CRS.from_epsg(code)
    except ProjError:
        return None
    return Crs(code, f"EPSG:{code}")


def _described(keys: Keys) -> Crs:
    wkt = _esri_text(keys)
    if wkt:
        crs = CRS.from_wkt(wkt)
    elif keys.get(MODEL_TYPE) == PROJECTED:
        crs = _projected(keys)
    elif keys.get(MODEL_TYPE) == GEOGRAPHIC:
        crs = CRS.from_wkt(_geographic(keys))
    else:
        crs = None
    if crs is None:
        return UNKNOWN
    text = crs.to_wkt("WKT2_2019")
    # 70 is the confidence from which rasterio names a code: same method and parameters, perhaps another name.
    code = CRS.from_wkt(text).to_epsg(min_confidence=70)
    return Crs(code, f"EPSG:{code}") if code else Crs(None, text)


def _esri_text(keys: Keys) -> str:
    """WKT that GDAL and ArcGIS leave in a citation when no method code fits."""
    for key in (PROJECTED_CITATION, CITATION, GEODETIC_CITATION):
        text = keys.get(key)
        if isinstance(text, str) and text.startswith("ESRI PE String = "):
            return text.removeprefix("ESRI PE String = ")
    return ""


def _projected(keys: Keys) -> CRS | None:
    conversion = keys.get(PROJECTION, USER_DEFINED)
    name = _quoted(keys.get(PROJECTED_CITATION, keys.get(CITATION, "unnamed")))
    if isinstance(conversion, int) and conversion != USER_DEFINED:
        return _with_unit(ProjectedCRS(CoordinateOperation.from_epsg(conversion), name, geodetic_crs=CRS.from_wkt(_geographic(keys))), keys)
    code = keys.get(METHOD)
    method = _METHODS.get(code) if isinstance(code, int) else None
    if method is None:
        return None
    parameters = [f'PARAMETER["{name}",{value!r}]' for name, value in _parameters(method, keys).items()]
    projection = f'PROJECTION["{_mercator_2sp(method, keys)}"]'
    unit, metres = _linear_unit(keys)
    parts = [f'PROJCS["{name}"', _geographic(keys), projection, *parameters, f'UNIT["{unit}",{metres!r}]']
    return CRS.from_wkt(",".join(parts) + "]")


def _mercator_2sp(method: _Method, keys: Keys) -> str:
    return "Mercator_2SP" if method.name == "Mercator_1SP" and 3078 in keys else method.name


def _parameters(method: _Method, keys: Keys) -> dict[str, float]:
    found: dict[str, float] = {}
    parallels = max(method.parallels, int(_mercator_2sp(method, keys) == "Mercator_2SP"))
    for at in range(parallels):
        found[f"standard_parallel_{at + 1}"] = _first(keys, (3078 + at,), 0.0)
    if method.latitude and not (method.name == "Mercator_1SP" and parallels):
        found[method.latitude] = _first(keys, _LATITUDE, 0.0)
    longitude = (3095, *_LONGITUDE[:3]) if method.name == "Polar_Stereographic" else _LONGITUDE
    found[method.longitude] = _first(keys, longitude, 0.0)
    if method.azimuth:
        found["azimuth"] = _first(keys, (3094,), 0.0)
        found["rectified_grid_angle"] = _first(keys, (3096,), 90.0)
    if method.scale and not (method.name == "Mercator_1SP" and parallels):
        found["scale_factor"] = _first(keys, _SCALE, 1.0)
    found["false_easting"] = _first(keys, _EASTING, 0.0)
    found["false_northing"] = _first(keys, _NORTHING, 0.0)
    return found


def _geographic(keys: Keys) -> str:
    """WKT 1 of the geographic CRS: by code, else by datum code, else by ellipsoid."""
    code = keys.get(GEODETIC_CRS, USER_DEFINED)
    if isinstance(code, int) and code != USER_DEFINED:
        return CRS.from_epsg(code).to_wkt("WKT1_GDAL")
    names = _citation_names(keys)
    datum, major, inverse = _quoted(names.get("Datum", "unknown")), _first(keys, (SEMI_MAJOR,), 0.0), _inverse_flattening(keys)
    code = keys.get(DATUM, USER_DEFINED)
    if isinstance(code, int) and code != USER_DEFINED:
        known = Datum.from_epsg(code)
        datum, ellipsoid = known.name.replace(" ", "_"), known.ellipsoid
        major, inverse = (ellipsoid.semi_major_metre, ellipsoid.inverse_flattening) if ellipsoid else (major, inverse)
    elif not major:
        ellipsoid = Ellipsoid.from_epsg(int(_first(keys, (ELLIPSOID,), 0)))
        major, inverse = ellipsoid.semi_major_metre, ellipsoid.inverse_flattening
    spheroid = f'SPHEROID["{_quoted(names.get("Ellipsoid", "unknown"))}",{major!r},{inverse!r}]'
    meridian = f'PRIMEM["{_quoted(names.get("Primem", "Greenwich"))}",{_first(keys, (PRIME_MERIDIAN_LONGITUDE,), 0.0)!r}]'
    name = _quoted(names.get("GCS Name", "unknown"))
    return f'GEOGCS["{name}",DATUM["{datum}",{spheroid}],{meridian},UNIT["degree",0.0174532925199433]]'


def _inverse_flattening(keys: Keys) -> float:
    """0 is a sphere."""
    if INVERSE_FLATTENING in keys:
        return _first(keys, (INVERSE_FLATTENING,), 0.0)
    major, minor = _first(keys, (SEMI_MAJOR,), 0.0), _first(keys, (SEMI_MINOR,), 0.0)
    return major / (major - minor) if minor and minor != major else 0.0


def _citation_names(keys: Keys) -> dict[str, str]:
    """GDAL writes `GCS Name = a|Datum = b|Ellipsoid = c|Primem = d`; others write the name alone."""
    text = keys.get(GEODETIC_CITATION)
    if not isinstance(text, str):
        return {}
    pairs = [part.split(" = ", 1) for part in text.split("|") if " = " in part]
    return {pair[0]: pair[1] for pair in pairs} or {"GCS Name": text}


def _linear_unit(keys: Keys) -> tuple[str, float]:
    """Name and length in metres."""
    code = keys.get(LINEAR_UNIT, 9001)
    if code == USER_DEFINED:
        return "unknown", _first(keys, (LINEAR_SIZE,), 1.0)
    units = {unit.code: unit for unit in get_units_map(auth_name="EPSG", category="linear").values()}
    unit = units.get(str(code), units["9001"])
    return unit.name, unit.conv_factor


def _with_unit(crs: CRS, keys: Keys) -> CRS:
    """`crs` with axes in the unit of the keys: a conversion's code says nothing of the axes."""
    name, metres = _linear_unit(keys)
    if metres == 1:
        return crs
    document = crs.to_json_dict()
    for axis in document["coordinate_system"]["axis"]:
        axis["unit"] = {"type": "LinearUnit", "name": name, "conversion_factor": metres}
    return CRS.from_json_dict(document)


def _first(keys: Keys, wanted: tuple[int, ...], default: float) -> float:
    """The first number among the keys `wanted`."""
    for key in wanted:
        value = keys.get(key)
        if isinstance(value, tuple) and value:
            return float(value[0])
        if isinstance(value, int):
            return float(value)
    return default


def _quoted(text: KeyValue) -> str:
    return str(text).replace('"', "'") or "unknown"
