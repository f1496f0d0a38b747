"""A study file on several processes and machines: its tasks, on Dask or as jobs of a queue."""
