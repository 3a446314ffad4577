"""The random changes of views, a file for what makes them: sky, k-space, echo, stain and others."""
