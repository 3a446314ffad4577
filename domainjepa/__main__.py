"""python -m domainjepa, so that torchrun can start it."""

from domainjepa.cli import main

main()
