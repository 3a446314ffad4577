"""Channels that lie in files of their own: one sample of them, by the names of the files."""
