"""A fleet under steady load through every fault it may meet, and what became of each request."""
