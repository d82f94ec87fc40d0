"""Recorded datasets: Parquet files of one stretch each, and how they are read."""
