"""The benchmark: each line of its table is one module, and each figure a ratio of two things measured in one run."""
