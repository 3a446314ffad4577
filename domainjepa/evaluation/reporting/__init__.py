"""What is shown of an evaluation: tables, pictures, a page, lines in a terminal."""
