"""Simulated fleets driven by the production scheduler in virtual time, and what comes of it."""
