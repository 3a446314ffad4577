"""Masks beside the images: which files they are, and a class for every pixel by index."""
