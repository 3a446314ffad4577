"""Which units are scored: samples, patients or volumes; those of elsewhere, and each site apart."""
