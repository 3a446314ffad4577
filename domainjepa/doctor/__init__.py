"""`domainjepa doctor`: what this machine has, whether it computes right, and what slows it down."""
