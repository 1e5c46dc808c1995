"""How far ``foretoken replay`` may be believed, where the truth is known."""
