"""FITS: images, cubes, bands, tables and cut-outs."""
