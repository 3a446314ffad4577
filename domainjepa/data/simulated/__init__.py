"""A simulated survey of galaxies."""
