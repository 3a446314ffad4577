"""What is known of one kind of image: its intensity, and which changes leave its meaning alone."""

import os

# albumentations asks the network for a newer release when it is imported, unless told not to.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
