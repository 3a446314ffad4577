"""Tables of paths: CSV and Parquet."""
