"""Parts of samples as samples: slices of volumes, tiles of mosaics, regions for 3-D views."""
