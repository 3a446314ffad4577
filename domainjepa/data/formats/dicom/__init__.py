"""DICOM: slices and volumes of series."""
