"""A fleet that goes through trouble while a real Prometheus watches it."""
