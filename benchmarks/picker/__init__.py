"""What picking endpoints for Envoy costs."""
