"""Whether promises are kept: goodput by tier, and what happens under overload."""
