"""Who else is told of a run: experiment trackers, and the protocol that makes one."""
