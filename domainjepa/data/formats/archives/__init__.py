"""Tar and ZIP archives of pictures."""
