"""What training on a trace larger than memory costs, and what it gains."""
