"""What endpoints tell of themselves beside their numbers: model cards and a version.

Only what is asked for is read. Called by the scraper.
"""

import msgspec


class Card(msgspec.Struct):
    """Hold one entry of ``/v1/models``; an adapter has a parent."""

    id: str
    parent: str | None = None
    root: str | None = None
    max_model_len: int | None = None


class _Cards(msgspec.Struct):
    data: list[Card]


class _Version(msgspec.Struct):
    version: str


_decode_cards = msgspec.json.Decoder(_Cards).decode
_decode_version = msgspec.json.Decoder(_Version).decode


def cards_of(body: bytes) -> list[Card] | None:
    """Read the answer of ``/v1/models``, ``None`` where it is none.

    >>> [card.id for card in cards_of(b'{"data": [{"id": "m"}]}')], cards_of(b"[]")
    (['m'], None)
    """
    try:
        return _decode_cards(body).data
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def version_of(body: bytes) -> str | None:
    """Read the answer of ``/version``, ``None`` where it is none.

    >>> version_of(b'{"version": "0.32.1"}')
    '0.32.1'
    """
    try:
        return _decode_version(body).version
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
