"""A build knows which of the two it is."""

import proxy.relay
from foretoken.kind import kind


def test_what_is_said_is_what_is_imported() -> None:
    compiled = not str(proxy.relay.__file__).endswith(".py")

    assert kind() == ("compiled" if compiled else "interpreted")
