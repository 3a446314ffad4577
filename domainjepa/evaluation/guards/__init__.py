"""What would make a score say something else than it seems to."""
