"""Zarr: arrays, groups, OME images and plates, local and remote."""
