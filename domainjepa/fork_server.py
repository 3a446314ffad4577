"""What the fork server of multiprocessing imports first: it ends with the run that started it.

It would notice by itself, but not before all of the imports that make workers quick to start.
"""

from domainjepa.lifeline import end_with_starter

end_with_starter(watch=False)  # a process that forks has no threads
