"""Seconds, shares and counts as people read them at the prompt; unknown is a dash.

Takes what came as JSON, so that anything but a number is unknown.
"""

from datetime import UTC, datetime
from typing import Final

UNKNOWN: Final = "-"


def number(value: object) -> float | None:
    """Give a number as it is and anything else as unknown.

    >>> number(2), number(None), number(True), number("2")
    (2.0, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value)


def seconds(value: object) -> str:
    """Give seconds in the unit that suits them.

    >>> [seconds(one) for one in (0.00042, 0.0421, 0.4213, 12.34, 4321, None)]
    ['0.42 ms', '42.1 ms', '421 ms', '12.3 s', '4,321 s', '-']
    """
    amount = number(value)
    if amount is None:
        return UNKNOWN
    if abs(amount) >= 100:
        return f"{amount:,.0f} s"
    if abs(amount) >= 1:
        return f"{amount:.3g} s"
    millis = amount * 1e3
    return f"{millis:.0f} ms" if abs(millis) >= 100 else f"{millis:.{_places(millis)}f} ms"


def _places(millis: float) -> int:
    if not millis:
        return 0
    return 1 if abs(millis) >= 1 else 2


def ratio(value: object) -> str:
    """Give a share in percent.

    >>> ratio(0.4213), ratio(0.0421), ratio(None)
    ('42%', '4.2%', '-')
    """
    amount = number(value)
    if amount is None:
        return UNKNOWN
    return f"{amount:.0%}" if abs(amount) >= 0.1 or not amount else f"{amount:.1%}"


def count(value: object) -> str:
    """Give a count.

    >>> count(12345), count(None)
    ('12,345', '-')
    """
    amount = number(value)
    return UNKNOWN if amount is None else f"{amount:,.0f}"


def signed_ratio(value: object) -> str:
    """Give an error in percent with its sign.

    >>> signed_ratio(-0.042), signed_ratio(0.3)
    ('-4.2%', '+30%')
    """
    amount = number(value)
    if amount is None:
        return UNKNOWN
    return f"{amount:+.0%}" if abs(amount) >= 0.1 else f"{amount:+.1%}"


def moment(value: object) -> str:
    """Give a Unix time.

    >>> moment(1_790_000_000.25)
    '2026-09-21 14:13:20.250 UTC'
    """
    amount = number(value)
    if amount is None:
        return UNKNOWN
    at = datetime.fromtimestamp(amount, tz=UTC)
    return f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d} UTC"
