"""What sharing brings to several routers: ``python -m benchmarks.routers``."""
