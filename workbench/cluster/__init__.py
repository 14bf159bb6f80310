"""Runs on the workers of a Dask cluster: the queue is in the process that runs the experiment, and workers carry out parts of the run."""
