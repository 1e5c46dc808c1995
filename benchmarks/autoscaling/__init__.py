"""Scaling a fleet by predicted room against scaling it by queue length."""
