"""`prepare`: slow data packed once into one fast, checksummed file; and what such a file says."""
