"""Published runs of llm-d played again: see ``__main__``."""
