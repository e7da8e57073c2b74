"""Pixels inside of shapes, against shapely's own answer at the centres."""

from __future__ import annotations

import numpy as np
import shapely
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rasterloom.raster.header import Affine
from rasterloom.raster.rasterize import inside

AFFINE: Affine = (10.0, 0.0, 500_000.0, 0.0, -10.0, 4_000_000.0)
POINT = st.tuples(st.floats(499_900, 500_400), st.floats(3_999_600, 4_000_100))


def centres(affine: Affine, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    a, b, c, d, e, f = affine
    cols, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    return a * cols + b * rows + c, d * cols + e * rows + f


@settings(max_examples=60)
@given(points=st.lists(POINT, min_size=3, max_size=9), hole=st.floats(1, 120), turn=st.sampled_from([0.0, 3.0]))
def test_a_pixel_is_inside_by_its_centre(points: list[tuple[float, float]], hole: float, turn: float) -> None:
    assume(shapely.convex_hull(shapely.MultiPoint(points)).area > 1e-3)
    shape = shapely.convex_hull(shapely.MultiPoint(points)).difference(shapely.Point(500_150, 3_999_850).buffer(hole))
    affine = (10.0, turn, 500_000.0, turn, -10.0, 4_000_000.0)
    x, y = centres(affine, 30, 25)
    found = inside(shape, affine, width=30, height=25)
    assert found.shape == (25, 30)
    clear = shapely.distance(shapely.points(x, y), shape.boundary) > 1e-6
    np.testing.assert_array_equal(found[clear], shapely.contains_xy(shape, x, y)[clear])
    touched = inside(shape, affine, width=30, height=25, all_touched=True)
    assert not (found & ~touched).any()


def test_all_touched_takes_each_pixel_that_the_shape_meets() -> None:
    shape = shapely.Polygon([(500_011, 3_999_989), (500_101, 3_999_955), (500_052, 3_999_911)])
    boxes = shapely.box(*(np.array([x - 5, y - 5, x + 5, y + 5]) for x, y in [centres(AFFINE, 15, 12)]).__next__())
    np.testing.assert_array_equal(inside(shape, AFFINE, width=15, height=12, all_touched=True), shapely.intersects(boxes, shape))


def test_nothing_is_inside_of_nothing() -> None:
    assert not inside(shapely.Polygon(), AFFINE, width=3, height=2).any()
    assert not inside(shapely.box(0, 0, 1, 1), AFFINE, width=3, height=2).any()
    assert inside(shapely.box(0, 0, 1, 1), AFFINE, width=0, height=2).shape == (2, 0)
