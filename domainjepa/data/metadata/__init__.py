"""What is known of samples: labels, groups, ids, split, columns; what probes tell."""
