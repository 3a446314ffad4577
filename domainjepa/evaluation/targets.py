"""What probes have to tell, by the name that scripts know; it is read where the data are."""

from domainjepa.data.metadata.targets import Kind, Target, target_of

__all__ = ["Kind", "Target", "target_of"]
