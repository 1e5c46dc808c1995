"""Every policy on every workload and fleet: see ``__main__``."""
