"""A stand-in for the pipeline's package: counts that move by the clock, as a file says."""
