"""A DuckDB query of a GeoParquet index, as the source of a collection. Copy it, and put its directory on PYTHONPATH where the work runs.

table:
  object: aef_index:embeddings
  params: {index: "s3://...", years: [2022, 2023]}
"""

from __future__ import annotations

import duckdb

QUERY = """
SELECT fid AS id, geom AS geometry, year AS datetime, path
FROM read_parquet($index)
WHERE list_contains($years, year)
QUALIFY row_number() OVER (PARTITION BY path ORDER BY fid) = 1
"""


def embeddings(index: str, years: list[int]) -> duckdb.DuckDBPyRelation:
    """One row a file of these years. DuckDB reads `s3://` and `https://` itself (its httpfs extension)."""
    return duckdb.sql(QUERY, params={"index": index, "years": years})
