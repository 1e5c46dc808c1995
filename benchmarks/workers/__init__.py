"""What several workers cost and lose against one: ``python -m benchmarks.workers``."""
