"""What is wrong with data: bad files, blank and repeated samples, spoilt experiments."""
