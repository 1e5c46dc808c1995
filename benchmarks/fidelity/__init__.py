"""How well the simulated endpoint fits recorded vLLM: one module per data set."""
