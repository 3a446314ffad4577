"""What an encoder is worth: frozen features, small probes, few labels, honest intervals."""
