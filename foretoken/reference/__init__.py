"""The reference pages that are made of the code: ``python -m foretoken.reference``."""

from foretoken.reference.pages import pages, write_pages

__all__ = ["pages", "write_pages"]
