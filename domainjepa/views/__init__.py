"""Source -> intensity -> V views of a sample, each a pure function of its key."""
