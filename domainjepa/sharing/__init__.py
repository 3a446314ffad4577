"""A run as a folder for others: `domainjepa share`."""

from domainjepa.sharing.folder import push, share

__all__ = ["push", "share"]
