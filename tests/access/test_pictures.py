"""Pictures of what was made: what is on them, read back from the PNG."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from matplotlib.image import imread

from rasterloom.access.reads.pictures import Panel, colours_of, quicklook
from rasterloom.raster.layers import Layer

EMPTY = (230, 234, 237)
"""What is painted where nothing is valid."""


def layer(data: np.ndarray, valid: np.ndarray | bool = True) -> Layer:
    return Layer(data, np.broadcast_to(np.asarray(valid), data.shape).copy())


def pixels_of(png: bytes) -> np.ndarray:
    """Shape (height, width, 3), uint8."""
    assert png.startswith(b"\x89PNG")
    return np.rint(imread(BytesIO(png))[..., :3] * 255).astype(np.uint8)


def share(image: np.ndarray, colour: tuple[int, int, int]) -> float:
    """Of the pixels that are within a step of the colour."""
    return float((np.abs(image.astype(int) - colour).max(axis=-1) <= 1).mean())


def test_red_is_red_and_what_is_not_valid_is_blank() -> None:
    high, low = np.full((40, 40), 3000, "u2"), np.full((40, 40), 200, "u2")
    half = np.arange(40) < 20
    image = pixels_of(
        quicklook([Panel(title="", layers={"B04": layer(high, half), "B03": layer(low, half), "B02": layer(low, half)})], title="red")
    )
    assert share(image, (255, 0, 0)) == pytest.approx(share(image, EMPTY), rel=0.02)
    assert share(image, (255, 0, 0)) > 0.3


def test_a_class_band_has_a_colour_per_class_and_no_scale() -> None:
    classes = np.repeat(np.array([[4, 6, 11]], "u1"), 10, axis=1).repeat(30, axis=0)
    image = pixels_of(quicklook([Panel(title="", layers={"SCL": layer(classes)})], title="classes"))
    for colour in ((79, 124, 172), (227, 162, 59), (95, 158, 110)):
        assert 0.2 < share(image, colour) < 0.33


@pytest.mark.slow
def test_a_mask_is_two_classes() -> None:
    image = pixels_of(quicklook([Panel(title="", layers={"water": layer(np.arange(400).reshape(20, 20) < 200)})], title="mask"))
    assert share(image, (47, 111, 143)) > 0.3
    assert share(image, (201, 210, 217)) > 0.3


@pytest.mark.slow
def test_numbers_on_both_sides_of_zero_have_their_middle_at_zero() -> None:
    index = np.linspace(-0.8, 0.9, 10_000, dtype="f4").reshape(100, 100)
    assert share(pixels_of(quicklook([Panel(title="", layers={"ndvi": layer(index)})], title="ndvi")), (255, 255, 190)) > 0.001
    image = pixels_of(quicklook([Panel(title="", layers={"dem": layer(index + 1)})], title="dem"))
    assert share(image, (255, 255, 190)) == 0


@pytest.mark.slow
def test_outliers_do_not_leave_the_rest_dark() -> None:
    ground = np.tile(np.linspace(100, 400, 100), (100, 1)).astype("u2")
    ground[0, :] = 60_000
    panel = Panel(title="", layers={code: layer(ground) for code in ("B04", "B03", "B02")})
    image = pixels_of(quicklook([panel], title="clouds", pixel=10))
    assert np.median(image[image.shape[0] // 3 : -image.shape[0] // 3]) > 100


def test_nothing_at_all_is_a_picture_too() -> None:
    image = pixels_of(quicklook([Panel(title="2024-06", layers={"B04": layer(np.zeros((9, 9), "u1"), False)})], title="empty", pixel=10))
    assert share(image, EMPTY) > 0.4


@pytest.mark.slow
def test_panels_are_coloured_alike_and_many_of_them_still_fit() -> None:
    panels = [Panel(title=f"{number}", layers={"b": layer(np.full((30, 40), number, "f4"))}) for number in range(30)]
    image = pixels_of(quicklook(panels, title="many"))
    assert max(image.shape) < 2200
    # The first is the darkest of viridis, the last its lightest.
    assert share(image, (68, 1, 84)) > 0.02
    assert share(image, (253, 231, 37)) > 0.02


@pytest.mark.slow
def test_a_large_image_is_thinned_and_the_same_picture_twice_is_the_same_bytes() -> None:
    panel = Panel(title="", layers={"b": layer(np.arange(6_000_000, dtype="f4").reshape(2000, 3000))})
    first = quicklook([panel], title="large", pixel=10)
    assert first == quicklook([panel], title="large", pixel=10)
    assert max(pixels_of(first).shape) < 1400


def test_true_colour_is_found_by_the_names_of_the_bands() -> None:
    assert colours_of(["B02", "B03", "B04", "B08"]) == ("B04", "B03", "B02")
    assert colours_of(["ndvi", "R", "G", "B"]) == ("R", "G", "B")
    assert colours_of(["ndvi", "B04"]) == ("ndvi",)
