"""What lies on a disk: folders, their files, which are samples, whether they are the same."""
