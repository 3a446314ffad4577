"""Who is compared: baselines, anyone's network, published weights, and their features."""
