"""Prediction in the simulator: accuracy, cold start, an odd endpoint, coverage."""
