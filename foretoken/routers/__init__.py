"""Several routers in front of the same endpoints, connected by Redis or Valkey."""
