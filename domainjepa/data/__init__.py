"""From files on disk to arrays of one sample: sources, their loaders, and the order of samples."""
