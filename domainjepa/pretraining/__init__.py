"""One whole pretraining run: `run.py` reads top to bottom, the rest are its parts."""
