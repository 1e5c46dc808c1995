"""What an endpoint is asked for: its whole metrics page, or the few metrics that are read.

Servers of ``prometheus_client``, vLLM's among them, give those that a query names. That spares
the server the writing of 60 KB five times a second, and everyone the rest. Others give the
whole page, an error, or nothing of it (a vLLM with several API server processes, SGLang): after
an answer that lacks what the whole page had, or none, the whole page is asked for. Called by the
scraper.
"""

from typing import Final

from collectors.metrics_page import CACHE_CONFIG, LORA, SIGNALS, MetricsPage

_NAMES: Final = (*(name for one in SIGNALS.values() for name in one.names), CACHE_CONFIG, LORA)
QUERY: Final = "?" + "&".join(f"name%5B%5D={name.decode()}" for name in _NAMES)
"""Asks for the metrics that are read, under all names they have had."""

_TRIES: Final = 3
"""More than one: a server that begins may not yet have what it had before."""


class PageQuery:
    """Choose what to ask of one endpoint.

    Attributes:
        text: What follows the path, with its question mark; empty for the whole page.
    """

    __slots__ = ("_tries", "_whole", "text")

    def __init__(self) -> None:
        self.text = ""
        self._whole: frozenset[str] = frozenset()
        self._tries = _TRIES  # in a row

    def saw_whole(self, page: MetricsPage) -> None:
        """Take in what the whole page carries, and ask for that alone from now on."""
        self._whole = _carried(page)
        self.text = QUERY if self._whole and self._tries else ""

    def satisfied_by(self, page: MetricsPage) -> bool:
        """Take in an answer by name, and say whether it carries what the whole page did."""
        if self._whole <= _carried(page):
            self._tries = _TRIES
            return True
        self.failed()
        return False

    def failed(self) -> None:
        """Ask for the whole page next, and in the end for nothing else."""
        self._tries -= 1
        self.text = ""


def _carried(page: MetricsPage) -> frozenset[str]:
    """Name the quantities of a page; adapters come and go."""
    quantities = (*SIGNALS, "kv_capacity_tokens", "block_size")
    return frozenset(name for name in quantities if getattr(page, name) is not None)
