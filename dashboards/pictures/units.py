"""Write values as Grafana writes them, for the units that our panels use."""

import math
from collections.abc import Sequence
from typing import Final

_SECONDS: Final = (
    (86_400.0, "days"),
    (3600.0, "hours"),
    (60.0, "mins"),
    (1.0, "s"),
    (1e-3, "ms"),
    (1e-6, "µs"),
    (1e-9, "ns"),
)
_THOUSANDS: Final = ((1e9, " Bil"), (1e6, " Mil"), (1e3, " K"), (1.0, ""))
_BINARY: Final = ((2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "B"))
_DECIMAL: Final = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))


def written(value: float, unit: str, decimals: int | None = None) -> str:
    """Write a value with its unit.

    >>> written(0.0123, "s"), written(0.934, "percentunit", 1), written(1234, "short")
    ('12.3 ms', '93.4%', '1.23 K')
    >>> written(12.0, "reqps"), written(2048, "bytes"), written(1500, "si:tok/s")
    ('12 req/s', '2 KiB', '1.5 ktok/s')
    """
    if not math.isfinite(value):
        return "No data" if math.isnan(value) else ("∞" if value > 0 else "-∞")
    if unit == "percentunit":
        return f"{_digits(value * 100, decimals)}%"
    if unit in {"bytes", "Bps"}:
        number, prefix = _scaled(value, _BINARY, decimals)
        return f"{number} {prefix}{'/s' if unit == 'Bps' else ''}"
    if unit == "s":
        number, name = _scaled(value, _SECONDS, decimals)
        return f"{number} {name if value else 's'}"
    if unit.startswith("si:"):
        number, prefix = _scaled(value, _DECIMAL, decimals)
        return f"{number} {prefix}{unit.removeprefix('si:')}"
    number, prefix = _scaled(value, _THOUSANDS, decimals)
    suffix = {"reqps": " req/s", "cps": " c/s"}.get(unit, "")
    return f"{number}{prefix}{suffix}"


def _scaled(
    value: float, scales: Sequence[tuple[float, str]], decimals: int | None
) -> tuple[str, str]:
    for factor, name in scales:
        if abs(value) >= factor:
            return _digits(value / factor, decimals), name
    factor, name = scales[-1]
    return _digits(value / factor, decimals), name


def _digits(value: float, decimals: int | None) -> str:
    if decimals is not None:
        return f"{value:.{decimals}f}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
