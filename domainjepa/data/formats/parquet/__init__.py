"""Parquet and Arrow files with the pictures inside."""
