"""Arrays in files: which variable is meant, and what its axes are."""
