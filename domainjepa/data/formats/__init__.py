"""One file or package a format, each with its loader."""
