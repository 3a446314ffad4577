"""From encoder to discovery: what is alike, what is odd, what to label, and a page to look at."""
