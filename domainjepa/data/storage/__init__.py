"""How arrays lie in files: their layout, what a read costs, what is declared of values."""
