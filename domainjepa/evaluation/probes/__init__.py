"""What reads labels out of features, and how it is fitted."""
