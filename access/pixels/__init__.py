"""From rows of a collection to pixels: which bytes, their decoding, grids and reprojection. Neither Prefect nor a STAC API."""
