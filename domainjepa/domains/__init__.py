"""What is known of one kind of image: its intensity, and which changes leave its meaning alone."""
