"""NIfTI: volumes, and their slices."""
