"""Know which endpoints have a LoRA adapter in their memory.

An endpoint tells the adapters of its running and waiting requests; those that are idle
but still loaded it does not tell. So what was last sent there counts too, as many
adapters as it has slots for, the longest unused going first, as in vLLM. An endpoint
that tells no slots loads no adapters: other names it answers to are aliases. Called by
:mod:`scheduler.affinity` only.
"""

from collections import OrderedDict

from predictor.types import EndpointState


class Adapters:
    """Hold the adapters believed loaded at each endpoint.

    >>> adapters = Adapters()
    >>> adapters.see(EndpointState(endpoint="a:1", url="http://a:1", max_adapters=2))
    >>> adapters.sent("french", "a:1")
    >>> adapters.holds("french", "a:1"), adapters.holds("french", "b:1")
    (True, False)
    """

    def __init__(self) -> None:
        self._loaded: dict[str, _Loaded] = {}

    def sent(self, adapter: str, endpoint: str) -> None:
        """Note that a request for an adapter goes to an endpoint."""
        loaded = self._loaded.get(endpoint)
        if loaded is not None:
            loaded.sent[adapter] = None
            loaded.sent.move_to_end(adapter)
            while len(loaded.sent) > loaded.slots:
                loaded.sent.popitem(last=False)

    def see(self, state: EndpointState) -> None:
        """Take in what an endpoint tells."""
        if state.max_adapters is None:
            return
        loaded = self._loaded.setdefault(state.endpoint, _Loaded())
        loaded.slots = state.max_adapters
        loaded.told = frozenset(state.active_adapters)

    def holds(self, adapter: str, endpoint: str) -> bool:
        """Say whether an adapter is believed to be loaded at an endpoint."""
        loaded = self._loaded.get(endpoint)
        return loaded is not None and (adapter in loaded.told or adapter in loaded.sent)

    def forget(self, endpoint: str) -> None:
        """Forget an endpoint that has left or restarted."""
        self._loaded.pop(endpoint, None)


class _Loaded:
    """Hold what one endpoint told, and the adapters last sent there, the latest last."""

    __slots__ = ("sent", "slots", "told")

    def __init__(self) -> None:
        self.slots = 0
        self.told: frozenset[str] = frozenset()
        self.sent: OrderedDict[str, None] = OrderedDict()
