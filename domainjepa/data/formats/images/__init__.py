"""Image files: JPEG, PNG, TIFF."""
