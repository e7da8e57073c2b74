"""Committed versions of a collection: the log, the Parquet files, history, verification, garbage."""
