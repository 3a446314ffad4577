"""A source looked at: what is in it, and what would spoil an experiment on it."""
