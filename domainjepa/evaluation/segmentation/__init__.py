"""Segmentation: what an encoder's patch features are worth pixel by pixel, told by masks."""
