"""What another policy or fleet would have done with recorded traffic: ``foretoken replay``."""
